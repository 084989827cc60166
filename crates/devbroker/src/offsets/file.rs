//! The file of the committed offsets: written anew, synced, kept where it is damaged.
//!
//! It promises that commits go to the file that has the name, and that what a sync left in doubt is
//! written anew before anything counts as synced.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Inner, Line};
use crate::files;

/// The file is rewritten when it is larger than this and than eight times its content.
pub(super) const COMPACT_AT: u64 = 4 << 20;
const COMPACT_RATIO: u64 = 8;

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    pub(super) live: u64,
    pub(super) synced: u64,
    /// A sync failed: what the file will hold is not known any more, and another sync of it would
    /// not say so. It is written anew before anything counts as synced.
    pub(super) doubtful: bool,
    /// Counts rewrites, so that a sync of the file before does not count for the new one.
    pub(super) generation: u64,
}

/// Notes the outcome itself: whoever waits may go away, and a failed sync says so only once.
pub(super) fn sync_now(inner: &Mutex<Inner>) -> io::Result<()> {
    let (file, size, generation) = {
        let mut inner = inner.lock();
        inner.rewrite_if_doubtful()?;
        match &inner.disk {
            Some(disk) if disk.synced < disk.size => {
                (Arc::clone(&disk.file), disk.size, disk.generation)
            }
            _ => return Ok(()),
        }
    };
    let result = file.sync_data();
    let mut inner = inner.lock();
    if let Some(disk) = &mut inner.disk
        && disk.generation == generation
    {
        match result {
            Ok(()) => disk.synced = disk.synced.max(size),
            Err(_) => disk.doubtful = true,
        }
    }
    result
}

impl Inner {
    pub(super) fn compact_if_due(&mut self) {
        let Some(disk) = &self.disk else {
            return;
        };
        if disk.size > COMPACT_AT && disk.size > disk.live * COMPACT_RATIO {
            let path = disk.path.clone();
            if let Err(error) = self.rewrite(&path) {
                tracing::warn!(file = %path.display(), %error, "committed offsets not compacted");
            }
        }
    }

    /// Writes the file anew, with the current commits only.
    pub(super) fn rewrite(&mut self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (group, commits) in &self.groups {
            for (place, kept) in commits {
                let committed = Some(kept.committed.clone());
                let line = Line::commit(group, place.clone(), committed, kept.at);
                line.print(&mut bytes)?;
            }
            if let Some(members) = self.members.get(group) {
                Line::members(group, *members).print(&mut bytes)?;
            }
        }
        let (file, named) = files::exchange(path, &bytes)?;
        self.adopt(path, file, bytes.len() as u64, named.is_err());
        named
    }

    /// Goes on in the very file that was renamed, whatever else failed: the one before has no name
    /// any more, and what is written to it is gone with the process.
    pub(super) fn adopt(&mut self, path: &Path, file: File, size: u64, doubtful: bool) {
        self.disk = Some(Disk {
            path: path.to_owned(),
            file: Arc::new(file),
            size,
            live: size,
            synced: size,
            doubtful,
            generation: self.disk.as_ref().map_or(0, |before| before.generation + 1),
        });
    }

    pub(super) fn rewrite_if_doubtful(&mut self) -> io::Result<()> {
        match &self.disk {
            Some(disk) if disk.doubtful => {
                let path = disk.path.clone();
                self.rewrite(&path)
            }
            _ => Ok(()),
        }
    }
}

/// Says that the file at `path`, which holds `bytes`, is unsound from `position` on, and keeps it,
/// unless only its last line is torn.
pub(super) fn keep_damaged(path: &Path, position: usize, bytes: &[u8]) -> io::Result<()> {
    let file = path.display();
    if !bytes[position..].contains(&b'\n') {
        let cut_bytes = bytes.len() - position;
        tracing::warn!(%file, position, cut_bytes, "the last of the committed offsets is torn, and cut off");
        return Ok(());
    }
    tracing::warn!(%file, position, "committed offsets are damaged there: sound lines behind are read, and a copy is kept");
    files::keep_cut(path, position as u64, bytes)
}
