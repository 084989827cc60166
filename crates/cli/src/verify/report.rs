//! What a comparison found, for a person or a program.
//!
//! In: [`Found`]. Out: a [`Report`]: numbers for each destination, and the first findings by name.
//! Promises: whatever is named says at which destination, and where it was seen.

use crate::ledger::grouped;
use cloudsync_consumers::verify::VerifyError;
use cloudsync_consumers::verify::entry::{Entry, Voice};
use cloudsync_consumers::verify::found::{Counts, Found, NAMED};
use cloudsync_consumers::verify::judge::{Finding, Kind};
use cloudsync_consumers::verify::source::{LinesByKey, Source, each_line, key_of};
use serde::Serialize;
use std::fmt::Write;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Nothing is missing, extra, altered or doubled.
    pub equal: bool,
    /// Each destination.
    pub destinations: Vec<OfDestination>,
    /// Records that were read of the log; 0 without `--with-topic`.
    pub in_log: u64,
    /// Dead letters of this topic.
    pub dead_letters: u64,
    /// The first 1,000 objects that are missing, altered or not ours.
    pub objects: Vec<OfObject>,
    /// How many there are in all.
    pub object_count: u64,
    /// The first 1,000 records.
    pub records: Vec<OfRecord>,
}

/// One destination.
#[derive(Clone, Debug, Serialize)]
pub struct OfDestination {
    /// Its name.
    pub name: String,
    /// Objects that hold records.
    pub objects: u64,
    /// Records in them.
    pub records: u64,
    /// How many of them are what.
    #[serde(flatten)]
    pub counts: Counts,
}

/// An object that is wrong as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct OfObject {
    kind: Kind,
    destination: String,
    object: String,
    why: String,
}

/// A record that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct OfRecord {
    kind: Kind,
    destination: String,
    /// Its request id, where the line can still be read.
    id: Option<String>,
    key: Option<String>,
    tenant: Option<String>,
    id16: String,
    partition: Option<i32>,
    offset: Option<i64>,
    /// Where it was seen: a destination, or `log`.
    seen_at: String,
    /// In which object.
    object: Option<String>,
}

/// Most objects, and most records, in a table.
const SHOWN: usize = 50;

// === impl Report ===

impl Report {
    /// Makes the report; reads the lines of what is named once more, for their ids and keys.
    ///
    /// # Errors
    /// [`VerifyError`], when a destination does not answer any more.
    pub async fn of(found: &Found, source: &Source) -> Result<Self, VerifyError> {
        let entries: Vec<Entry> = found.named.iter().map(|it| it.entry).collect();
        let lines = source.fetch(&entries, &found.places).await?;
        let name = |side: u8| found.scope.names[usize::from(side & 1)].clone();
        let destination = |side: u8| {
            let tally = found.tallies[usize::from(side)];
            OfDestination {
                name: name(side),
                objects: tally.objects,
                records: tally.records,
                counts: found.counts[usize::from(side)],
            }
        };
        let faults = found.faults.iter().take(NAMED);
        let objects = faults.map(|fault| OfObject {
            kind: fault.kind,
            destination: name(fault.side),
            object: fault.name.clone(),
            why: fault.why.clone(),
        });
        let named = found.named.iter();
        Ok(Self {
            equal: found.is_equal(),
            destinations: vec![destination(0), destination(1)],
            in_log: found.of_log.0,
            dead_letters: found.of_log.1,
            objects: objects.collect(),
            object_count: found.fault_count,
            records: named.map(|it| OfRecord::of(it, found, &lines)).collect(),
        })
    }

    /// As a table, and a line for each finding.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |title: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!("  {cell:>15}")).collect();
            let _infallible = writeln!(out, "{title:<14}{cells}");
        };
        let each = |cell: &dyn Fn(&OfDestination) -> String| {
            self.destinations.iter().map(cell).collect::<Vec<_>>()
        };
        row("", each(&|it| it.name.clone()));
        row("objects", each(&|it| grouped(it.objects)));
        row("records", each(&|it| grouped(it.records)));
        row("missing", each(&|it| grouped(it.counts.missing)));
        row("extra", each(&|it| grouped(it.counts.extra)));
        row("altered", each(&|it| grouped(it.counts.altered)));
        row("doubled", each(&|it| grouped(it.counts.doubled)));
        row("dead letters", each(&|it| grouped(it.counts.dead_lettered)));
        if self.in_log > 0 {
            let _infallible = writeln!(
                out,
                "compared with {} records of the log",
                grouped(self.in_log)
            );
        }
        if !self.objects.is_empty() {
            let _infallible = writeln!(out, "\nobjects: {}", grouped(self.object_count));
        }
        for it in self.objects.iter().take(SHOWN) {
            let (kind, to) = (word(it.kind), &it.destination);
            let _infallible = writeln!(out, "  {kind} at {to}: {}: {}", it.object, it.why);
        }
        if !self.records.is_empty() {
            let _infallible = writeln!(out, "\nrecords:");
        }
        for it in self.records.iter().take(SHOWN) {
            let _infallible = writeln!(out, "  {}", it.sentence());
        }
        if self.records.len().max(self.objects.len()) > SHOWN {
            let _infallible = writeln!(
                out,
                "  … the first {SHOWN} of each; --output json names the first {NAMED}"
            );
        }
        out
    }
}

// === impl OfRecord ===

impl OfRecord {
    fn of(finding: &Finding, found: &Found, lines: &LinesByKey) -> Self {
        let Finding {
            kind, side, entry, ..
        } = finding;
        let name = |side: u8| found.scope.names[usize::from(side & 1)].clone();
        let (mut id, mut key, mut tenant) = (None, None, None);
        if let Some(line) = lines.get(&key_of(entry)) {
            each_line(line, |line, _, _, _| {
                id = Some(line.id.clone().into_owned());
                key = Some(line.key.clone().into_owned());
                tenant = Some(line.tenant.clone().into_owned());
            });
        }
        Self {
            kind: *kind,
            destination: name(*side),
            id,
            key,
            tenant,
            id16: entry.id.to_string(),
            partition: found.places.partition_of(entry),
            offset: (entry.offset >= 0).then_some(entry.offset),
            seen_at: match entry.voice() {
                Voice::Side(side) => name(side),
                Voice::Log | Voice::DeadLetter => "log".to_owned(),
            },
            object: found.places.object_of(entry),
        }
    }

    fn sentence(&self) -> String {
        let mut out = format!("{} at {}: ", word(self.kind), self.destination);
        let _infallible = match &self.id {
            Some(id) => write!(out, "id {id}"),
            None => write!(out, "id16 {}", self.id16),
        };
        if let Some(key) = self.key.as_ref().filter(|key| !key.is_empty()) {
            let _infallible = write!(out, ", key {key}");
        }
        if let (Some(partition), Some(offset)) = (self.partition, self.offset) {
            let _infallible = write!(out, ", partition {partition}, offset {offset}");
        }
        let seen = match self.kind {
            Kind::Missing | Kind::DeadLettered => format!(", seen at {}", self.seen_at),
            Kind::Extra | Kind::Altered | Kind::Doubled => String::new(),
        };
        let object = self.object.as_ref();
        let object = object.map_or_else(String::new, |it| format!(" in {it}"));
        out + &seen + &object
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => "missing",
        Kind::Extra => "extra",
        Kind::Altered => "altered",
        Kind::Doubled => "doubled",
        Kind::DeadLettered => "dead-lettered, not missing,",
    }
}
