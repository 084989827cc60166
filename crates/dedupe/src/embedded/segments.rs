//! The files of a store: one that is written to, older ones that are only kept.
//!
//! In: encoded records. Out: that they are on the disk, or why not. Promises: what
//! [`Segments::commit`] answered Ok to is in a file that was synced without an error, in a
//! directory that was. After an error nothing is written to that file any more: the system may
//! have dropped what it could not write, and would say so only once. It is cut to what was
//! synced, and the next commit begins another file. Files go oldest first, and only when nothing
//! that is known lies in them.

use super::block::{FILE_HEADER_BYTES, file_header, put_blocks};
use super::clock::Moment;
use crate::tables::micros;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a file becomes.
const SEGMENT_BYTES: u64 = 16 << 20;
/// A file is written to for this part of the window, so about as much is kept beyond it.
const SEGMENTS_A_WINDOW: u64 = 16;
const ENDING: &str = ".marks";

/// A file, written or to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// When its newest block was written, by the store's time.
    pub(super) newest: u64,
}

#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    window: u64,
    /// Oldest first; the open one is the last.
    kept: VecDeque<Segment>,
    open: Option<Open>,
    /// The number of the next file.
    next: u64,
    /// Blocks on their way; its room is used again.
    blocks: Vec<u8>,
    /// Whether the last commit failed.
    failing: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    /// Bytes that were synced.
    synced: u64,
    began: u64,
}

// === names ===

/// The file of a segment.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}{ENDING}"))
}

/// The numbers of all segments, in order. Other files are nobody's here.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(ENDING));
        let number = number.filter(|it| it.len() == 20 && it.bytes().all(|b| b.is_ascii_digit()));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a directory's entries durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

// === impl Segments ===

impl Segments {
    /// Goes on behind `kept`, in a file of its own.
    pub(super) fn new(directory: &Path, window: Duration, kept: VecDeque<Segment>) -> Self {
        Self {
            directory: directory.to_owned(),
            window: micros(window),
            next: kept.back().map_or(0, |last| last.number + 1),
            kept,
            open: None,
            blocks: Vec::new(),
            failing: false,
        }
    }

    /// Makes `records` durable; without any, that it is this late. Out: whether a file was begun,
    /// so that an older one may have become needless.
    pub(super) fn commit(&mut self, at: Moment, records: &[u8]) -> Result<bool, String> {
        self.blocks.clear();
        put_blocks(&mut self.blocks, at, records);
        let done = self.write(at.time);
        if self.blocks.capacity() > 4 * self.blocks.len().max(1 << 20) {
            self.blocks = Vec::new();
        }
        match done {
            Ok(begun) => {
                if self.failing {
                    self.failing = false;
                    let directory = self.directory.display();
                    tracing::info!(%directory, "marks reach the disk again");
                }
                Ok(begun)
            }
            Err(why) => {
                self.give_up();
                if !self.failing {
                    self.failing = true;
                    tracing::error!(%why, "marks do not reach the disk; none counts as set until they do");
                }
                Err(why)
            }
        }
    }

    fn write(&mut self, now: u64) -> Result<bool, String> {
        let full = |open: &Open| {
            open.synced >= SEGMENT_BYTES
                || now.saturating_sub(open.began) >= self.window / SEGMENTS_A_WINDOW
        };
        if self.open.as_ref().is_some_and(full) {
            self.open = None;
        }
        let begun = self.open.is_none();
        if begun {
            self.begin(now)?;
        }
        let Some(open) = self.open.as_mut() else {
            return Err("no file is open".to_owned());
        };
        let written = open.file.write_all(&self.blocks);
        written
            .and_then(|()| open.file.sync_data())
            .map_err(|error| said("write", &open.path, &error))?;
        if begun {
            // Only now: what is never seen again needs no name.
            sync(&self.directory).map_err(|error| said("sync", &self.directory, &error))?;
        }
        open.synced += self.blocks.len() as u64;
        if let Some(last) = self.kept.back_mut() {
            last.newest = last.newest.max(now);
        }
        Ok(begun)
    }

    fn begin(&mut self, now: u64) -> Result<(), String> {
        let path = path(&self.directory, self.next);
        let failed = |error| said("make", &path, &error);
        let mut file = File::create_new(&path).map_err(failed)?;
        let number = self.next;
        self.next += 1;
        self.kept.push_back(Segment {
            number,
            newest: now,
        });
        let written = file.write_all(&file_header());
        let failed = |error| said("write", &path, &error);
        let result = written.map_err(failed);
        self.open = Some(Open {
            file,
            path,
            synced: 0,
            began: now,
        });
        result?;
        if let Some(open) = self.open.as_mut() {
            open.synced = FILE_HEADER_BYTES as u64;
        }
        Ok(())
    }

    /// Leaves the open file as it was when it was synced last, and never writes to it again.
    fn give_up(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        if open.synced > FILE_HEADER_BYTES as u64 {
            // What this does not cut is passed over when the store is opened.
            let _cut = open.file.set_len(open.synced).is_ok();
            return;
        }
        // Nothing was ever told of it; its number is free again, so that none is missing.
        if fs::remove_file(&open.path).is_ok()
            && let Some(gone) = self.kept.pop_back()
        {
            self.next = gone.number;
        }
    }

    /// Removes the files that hold nothing any more: all of whose blocks are beyond the window, or
    /// older than the `oldest` mark that is known (`None`: none is).
    pub(super) fn drop_needless(&mut self, now: u64, oldest: Option<u64>) {
        let written = usize::from(self.open.is_some());
        while self.kept.len() > written
            && let Some(segment) = self.kept.front()
        {
            let over = now.saturating_sub(segment.newest) > self.window;
            if !over && oldest.is_none_or(|oldest| segment.newest >= oldest) {
                return;
            }
            let path = path(&self.directory, segment.number);
            // Synced one by one: a file that says that an id was forgotten must not go before the
            // one that says that it was done.
            let gone = fs::remove_file(&path).and_then(|()| sync(&self.directory));
            if let Err(error) = gone
                && error.kind() != io::ErrorKind::NotFound
            {
                let file = path.display();
                tracing::warn!(%file, %error, "a file that nobody needs stays");
                return;
            }
            self.kept.pop_front();
        }
    }

    /// Whether the newest block is so old that a restart would not know how late it is.
    pub(super) fn is_behind(&self, now: u64) -> bool {
        let newest = self.kept.back().map(|last| last.newest);
        newest.is_some_and(|newest| now.saturating_sub(newest) > self.window / SEGMENTS_A_WINDOW)
    }
}

fn said(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const WINDOW: Duration = Duration::from_secs(160);

    fn at(second: u64) -> Moment {
        Moment {
            time: second * SECOND,
            wall: second * 1_000,
        }
    }

    fn numbers(segments: &Segments) -> Vec<u64> {
        let kept: Vec<u64> = segments.kept.iter().map(|it| it.number).collect();
        assert_eq!(list(&segments.directory).unwrap(), kept);
        kept
    }

    #[test]
    fn files_go_when_the_window_or_the_table_has_passed_them() {
        let directory = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(directory.path(), WINDOW, VecDeque::new());
        for second in [0, 5, 10, 15, 20, 30] {
            let begun = segments.commit(at(second), &[0; 37]).unwrap();
            assert_eq!(
                begun,
                second % 10 == 0,
                "one for each sixteenth of the window"
            );
        }
        assert_eq!(numbers(&segments), [0, 1, 2, 3]);
        segments.drop_needless(31 * SECOND, Some(5 * SECOND));
        assert_eq!(
            numbers(&segments),
            [0, 1, 2, 3],
            "the first one holds a mark of second 5"
        );
        segments.drop_needless(31 * SECOND, Some(5 * SECOND + 1));
        assert_eq!(numbers(&segments), [1, 2, 3]);
        segments.drop_needless(15 * SECOND + 160 * SECOND, None);
        assert_eq!(numbers(&segments), [1, 2, 3], "for the whole window");
        segments.drop_needless(15 * SECOND + 160 * SECOND + 1, None);
        assert_eq!(numbers(&segments), [2, 3]);
        segments.drop_needless(1_000 * SECOND, None);
        assert_eq!(numbers(&segments), [3], "never the one that is written to");
    }

    #[test]
    fn after_an_error_another_file_is_begun() {
        let directory = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(directory.path(), WINDOW, VecDeque::new());
        segments.commit(at(0), &[1; 37]).unwrap();
        let first = path(directory.path(), 0);
        let sound = fs::read(&first).unwrap();
        // From here on the file can be read, not written to: every write fails.
        let open = segments.open.as_mut().unwrap();
        open.file = File::open(&first).unwrap();
        let why = segments.commit(at(1), &[2; 37]).unwrap_err();
        assert!(
            why.starts_with("cannot write ") && why.contains("0.marks: "),
            "{why}"
        );
        assert_eq!(segments.commit(at(2), &[3; 37]), Ok(true));
        assert_eq!(numbers(&segments), [0, 1]);
        assert_eq!(fs::read(&first).unwrap(), sound);

        // One that nothing was told of goes, and leaves no gap.
        segments.give_up();
        segments.begin(3 * SECOND).unwrap();
        segments.give_up();
        assert_eq!(segments.commit(at(3), &[4; 37]), Ok(true));
        assert_eq!(numbers(&segments), [0, 1, 2]);

        // Without its directory nothing can be begun, and nothing counts as written.
        segments.give_up();
        let elsewhere = directory.path().with_extension("elsewhere");
        fs::rename(directory.path(), &elsewhere).unwrap();
        assert!(segments.commit(at(3), &[4; 37]).is_err());
        fs::rename(&elsewhere, directory.path()).unwrap();
        assert_eq!(segments.commit(at(3), &[4; 37]), Ok(true));
        assert_eq!(numbers(&segments), [0, 1, 2, 3]);
    }
}
