//! The ledger: what was sent, and what became of it, counted from what lies there.
//!
//! In: the journal of what was sent ([`expected`]), the log and the dead letters read back
//! ([`book`]), every destination read back ([`account`]). Out: a [`Ledger`] whose sums hold, or
//! the ids at fault. The program's own counters have no part in it; only *redelivered* (the same
//! place in the log met again) and what of the input is no record leave no trace to read.

// 1. what was sent
pub mod expected;

// 2. what the log has
pub mod book;

// 3. what a destination has
pub mod account;

// 4. reading all of it
pub mod count;

// 5. for a person
mod table;

pub(crate) use table::grouped;

use cloudsync::identity::Id16;
use serde::Serialize;
use std::fmt;

/// How many ids at fault are named.
pub const NAMED_FAULTS: usize = 20;

/// What was sent and what became of it. Its JSON is what `--output json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ledger {
    /// Sends, repetitions included.
    pub sent: u64,
    /// Sends that the gateway acknowledged: durable in the log.
    pub acked: u64,
    /// Sends that repeated an earlier one on purpose.
    pub resent: u64,
    /// Sends that the gateway refused for good.
    pub refused: u64,
    /// Lines or elements of the input that are no records, and were not sent. They leave no trace
    /// to read: this is what the reader of the input counted.
    pub not_records: u64,
    /// Acknowledged sends that the gateway recognised and did not write again.
    pub duplicates_at_gateway: u64,
    /// Records in the log.
    pub in_log: u64,
    /// Records in the log that no acknowledgement stands for: their answer was lost.
    pub unacked_in_log: u64,
    /// What became of the log's records, for each destination.
    pub destinations: Vec<DestinationLedger>,
    /// From the first send until every group had committed everything.
    pub elapsed_seconds: f64,
    /// Sends a second over that time.
    pub records_per_second: f64,
    /// What is wrong, the first of it.
    #[serde(skip)]
    pub faults: Faults,
    /// What is wrong and is nobody's id: sums that do not hold, objects that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What became of the log's records at one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DestinationLedger {
    /// Its name.
    pub name: String,
    /// Places in the log whose record lies there.
    pub delivered: u64,
    /// Places in the log whose effect lies there already, with the same content.
    pub duplicates: u64,
    /// Places in the log that its group met more than once.
    pub redelivered: u64,
    /// Places in the log whose record lies in the dead-letter topic for this destination.
    pub dead_lettered: u64,
    /// Places in the log whose record names other destinations.
    pub not_addressed: u64,
    /// Acknowledged ids that lie neither there nor in the dead-letter topic.
    pub lost: u64,
    /// Records that lie there once more than they should.
    pub doubled: u64,
    /// Records that lie there otherwise than they were sent.
    pub altered: u64,
}

/// The first faults, and how many there are in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// At most [`NAMED_FAULTS`].
    pub named: Vec<Fault>,
    /// How many there are in all.
    pub total: u64,
}

/// One record at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The destination, or `log`.
    pub place: String,
    /// What is wrong.
    pub kind: FaultKind,
    /// Which effect.
    pub id: Option<Id16>,
    /// The request id that its sender gave it, where it could be read.
    pub request_id: Option<String>,
    /// Its place in the log, where it has one.
    pub position: Option<LogPosition>,
    /// What was found, for a person.
    pub what: String,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Acknowledged, and not there.
    Lost,
    /// There once more than it should be.
    Doubled,
    /// There, otherwise than it was sent.
    Altered,
    /// In the log, not acknowledged, and not there either.
    Missing,
    /// In the log, and never sent.
    NotSent,
}

/// A place in the data topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

// === impl Ledger ===

impl Ledger {
    /// Nothing is lost, doubled or altered, and every sum holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let clean = |d: &DestinationLedger| d.lost == 0 && d.doubled == 0 && d.altered == 0;
        self.faults.total == 0 && self.problems.is_empty() && self.destinations.iter().all(clean)
    }

    /// What of the input is in no log: refused, or no records.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.refused + self.not_records
    }

    /// The ledger as a table, with a line on what each number means.
    #[must_use]
    pub fn table(&self) -> String {
        table::render(self)
    }

    /// What is wrong, one line each; empty if nothing is.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.faults.named.iter().map(Fault::to_string).collect();
        let unnamed = self.faults.total - lines.len() as u64;
        if unnamed > 0 {
            lines.push(format!("… and {unnamed} more"));
        }
        lines.extend(self.problems.iter().cloned());
        lines
    }
}

// === impl Faults, Fault ===

impl Faults {
    /// Adds one; only the first ones are kept.
    pub fn add(&mut self, fault: impl FnOnce() -> Fault) {
        self.total += 1;
        if self.named.len() < NAMED_FAULTS {
            self.named.push(fault());
        }
    }

    /// Adds those of another part.
    pub fn extend(&mut self, others: Self) {
        self.total += others.total;
        let room = NAMED_FAULTS.saturating_sub(self.named.len());
        self.named.extend(others.named.into_iter().take(room));
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: ", self.kind.name(), self.place)?;
        match (&self.request_id, self.id) {
            (Some(request_id), _) => write!(f, "id {request_id}")?,
            (None, Some(id)) => write!(f, "identity {id}")?,
            (None, None) => f.write_str("a record without an id")?,
        }
        if let Some(position) = self.position {
            write!(f, " ({position})")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl FaultKind {
    fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::NotSent => "never sent",
        }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} offset {}", self.partition, self.offset)
    }
}
