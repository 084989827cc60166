//! Everything that is wrong, counted; the first of it by name, and all of it on disk for whoever
//! mends it.
//!
//! In: findings, id by id. Out: [`Found`]. Promises: every finding is counted; so many are named
//! that memory stays small; what is kept for mending is bounded, and it is said when that cuts.

use super::VerifyError;
use super::entry::{ENTRY_BYTES, Entry, Place, Places};
use super::judge::{Finding, Kind, judge};
use super::scope::{LogScope, Scope};
use super::work::{Fault, Tally, Work};
use crate::settings::WriteMode;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Most findings that are named; all are counted.
pub const NAMED: usize = 1_000;
/// Most records of one chain, or of one destination in `record` mode, that one repair mends.
const MENDED: u64 = 1_000_000;
/// Bytes of a [`Fix`].
const FIX_BYTES: usize = 1 + 2 * ENTRY_BYTES;

/// How many records of a destination are what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// It shall have them and has not.
    pub missing: u64,
    /// It has them and shall not.
    pub extra: u64,
    /// They are not what was sent.
    pub altered: u64,
    /// They lie there once more.
    pub doubled: u64,
    /// They were set aside; no difference.
    pub dead_lettered: u64,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// What was compared.
    pub scope: Scope,
    /// Every place.
    pub places: Places,
    /// What was read of each destination.
    pub tallies: [Tally; 2],
    /// Records that were read of the log, and dead letters.
    pub of_log: (u64, u64),
    /// How many records are what, for each destination.
    pub counts: [Counts; 2],
    /// The first [`NAMED`] findings.
    pub named: Vec<Finding>,
    /// What is wrong with whole objects: the first 100,000.
    pub faults: Vec<Fault>,
    /// How many there are in all.
    pub fault_count: u64,
    /// What is to be mended, if somebody will.
    pub fixes: Option<Fixes>,
}

/// A record to be made anew at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What lies there now; where nothing does, what shows that something should.
    pub entry: Entry,
    /// Where the right line is.
    pub right: Entry,
    /// It takes the place of what lies there.
    pub replaces: bool,
}

/// What is to be mended, on disk: for each destination, and each chain there.
#[derive(Debug)]
pub struct Fixes {
    directory: PathBuf,
    modes: [WriteMode; 2],
    buffers: BTreeMap<(u8, u32), (Vec<u8>, u64)>,
    /// Records that nothing tells the right content of.
    pub unknown: u64,
    /// Records that were too many for one repair.
    pub left_out: u64,
}

/// The number that stands for "all chains" in `record` mode.
const NO_CHAIN: u32 = u32::MAX;

// === impl Found ===

impl Found {
    /// Judges everything that `work` has read. `mend`: where each destination keeps its records, and
    /// a directory for what is to be mended. `progress` is told how many entries were judged.
    ///
    /// # Errors
    /// [`VerifyError::State`].
    pub fn judge(
        work: Work,
        mend: Option<([WriteMode; 2], &Path)>,
        progress: &dyn Fn(u64),
    ) -> Result<Self, VerifyError> {
        let (scope, tallies, of_log) = (work.scope().clone(), work.tallies(), work.of_log());
        let directory = work.directory().to_owned();
        let (spill, faults, fault_count, mut places) = work.close();
        let (mut counts, mut named) = ([Counts::default(); 2], Vec::new());
        let mut fixes = mend.map(|(modes, directory)| Fixes::new(modes, directory));
        let mut visit = |group: &mut [Entry]| {
            let mut failed = Ok(());
            judge(group, &mut |finding| {
                counts[usize::from(finding.side & 1)].add(finding.kind);
                if named.len() < NAMED {
                    named.push(finding);
                }
                if let Some(fixes) = &mut fixes
                    && failed.is_ok()
                {
                    failed = fixes.take(&finding, &mut places, scope.log.as_ref());
                }
            });
            failed
        };
        let judged = spill.each_id(&mut visit, progress);
        judged.map_err(|error| VerifyError::state(&directory, error))?;
        Ok(Self {
            scope,
            places,
            tallies,
            of_log,
            counts,
            named,
            faults,
            fault_count,
            fixes,
        })
    }

    /// Nothing is missing, extra, altered or doubled.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.fault_count == 0 && self.counts.iter().all(Counts::is_clean)
    }
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, kind: Kind) {
        *match kind {
            Kind::Missing => &mut self.missing,
            Kind::Extra => &mut self.extra,
            Kind::Altered => &mut self.altered,
            Kind::Doubled => &mut self.doubled,
            Kind::DeadLettered => &mut self.dead_lettered,
        } += 1;
    }

    fn is_clean(&self) -> bool {
        self.missing + self.extra + self.altered + self.doubled == 0
    }
}

// === impl Fixes ===

impl Fixes {
    fn new(modes: [WriteMode; 2], directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            modes,
            buffers: BTreeMap::new(),
            unknown: 0,
            left_out: 0,
        }
    }

    fn take(
        &mut self,
        finding: &Finding,
        places: &mut Places,
        log: Option<&LogScope>,
    ) -> io::Result<()> {
        if !matches!(finding.kind, Kind::Missing | Kind::Altered) {
            return Ok(());
        }
        let replaces = finding.kind == Kind::Altered;
        let target = match self.modes[usize::from(finding.side & 1)] {
            WriteMode::Record => Some(NO_CHAIN),
            WriteMode::Batch if replaces => Some(finding.entry.place),
            WriteMode::Batch => finding.right.and_then(|it| chain_of(&it, places, log)),
        };
        let (Some(right), Some(target)) = (finding.right, target) else {
            self.unknown += 1;
            return Ok(());
        };
        let entry = finding.entry;
        let fix = Fix {
            entry,
            right,
            replaces,
        };
        let path = self.path(finding.side, target);
        let (buffer, count) = self.buffers.entry((finding.side, target)).or_default();
        if *count >= MENDED {
            self.left_out += 1;
            return Ok(());
        }
        if *count == 0 && path.exists() {
            // Of a repair that was interrupted.
            std::fs::remove_file(&path)?;
        }
        *count += 1;
        fix.encode(buffer);
        if buffer.len() >= 64 * 1024 {
            append(&path, buffer)?;
        }
        Ok(())
    }

    /// Everything that is to be mended at `side` in the chain of the place `chain`, in order of
    /// offset.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of_chain(&mut self, side: u8, chain: u32) -> io::Result<Vec<Fix>> {
        let mut all = self.load(side, chain)?;
        all.sort_unstable_by_key(Fix::offset);
        Ok(all)
    }

    /// Everything that is to be mended at `side` in `record` mode, what lies together at the other
    /// side together.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of_objects(&mut self, side: u8) -> io::Result<Vec<Fix>> {
        let mut all = self.load(side, NO_CHAIN)?;
        all.sort_unstable_by_key(|it| (it.right.voice(), it.right.place, it.right.offset));
        Ok(all)
    }

    /// The places of the chains at `side` in which something is to be mended.
    #[must_use]
    pub fn chains(&self, side: u8) -> Vec<u32> {
        let of_side = self.buffers.keys().filter(|(of, _)| *of == side);
        let chains = of_side.map(|(_, chain)| *chain);
        chains.filter(|chain| *chain != NO_CHAIN).collect()
    }

    /// Where they are kept.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn load(&mut self, side: u8, chain: u32) -> io::Result<Vec<Fix>> {
        let Some((mut buffer, _)) = self.buffers.remove(&(side, chain)) else {
            return Ok(Vec::new());
        };
        let path = self.path(side, chain);
        append(&path, &mut buffer)?;
        let bytes = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        Ok(bytes
            .chunks_exact(FIX_BYTES)
            .filter_map(Fix::decode)
            .collect())
    }

    fn path(&self, side: u8, chain: u32) -> PathBuf {
        self.directory.join(format!("fixes-{side}-{chain}"))
    }
}

fn append(path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(buffer)?;
    buffer.clear();
    Ok(())
}

/// The chain that `right` belongs into: that of the other destination, else one of the log's own.
fn chain_of(right: &Entry, places: &mut Places, log: Option<&LogScope>) -> Option<u32> {
    if let Some(Place::Chain(..)) = places.get(right.place) {
        return Some(right.place);
    }
    let partition = places.partition_of(right)?;
    let log = log?;
    let chain = Place::Chain(log.topic.clone(), log.id.clone(), partition);
    Some(places.number(&chain))
}

// === impl Fix ===

impl Fix {
    /// The offset that its line has at this destination.
    #[must_use]
    pub fn offset(&self) -> i64 {
        match self.replaces {
            true => self.entry.offset,
            false => self.right.offset,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.replaces));
        out.extend_from_slice(&self.entry.encode());
        out.extend_from_slice(&self.right.encode());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (replaces, rest) = bytes.split_first()?;
        let (entry, rest) = rest.split_first_chunk::<ENTRY_BYTES>()?;
        let right = rest.first_chunk::<ENTRY_BYTES>()?;
        Some(Self {
            entry: Entry::decode(entry),
            right: Entry::decode(right),
            replaces: *replaces != 0,
        })
    }
}
