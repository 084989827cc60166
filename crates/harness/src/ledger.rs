//! What became of what was sent: counted in the log, read back from the destinations, and held
//! against what clients were told and what the processes count.
//!
//! In: a fleet at rest and everything that clients said. Out: a [`Count`]; the difference of two
//! is what lies between them, and [`Count::balance`] says where its sums do not hold.

use crate::checker::Verdict;
use crate::client::Sent;
use crate::fleet::Fleet;
use crate::journal::Journal;
use std::fmt;

/// Everything that clients of a fleet sent and were told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// By name.
    pub journal: Journal,
    /// Records that clients sent once more by themselves.
    pub resent: u64,
}

/// What there is at a moment of rest, or came between two of them.
#[derive(Debug)]
pub struct Count {
    /// Records given to clients.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acked: u64,
    /// Different names.
    pub names: u64,
    /// Records that clients sent once more by themselves.
    pub resent: u64,
    /// Records in the log.
    pub records: u64,
    /// Records acknowledged without a second place in the log, as the gateways count.
    pub gateway_duplicates: u64,
    /// Records in the dead-letter topic.
    pub dead_letters: u64,
    /// What each group has yet to settle, added up.
    pub lag: i64,
    /// Each side.
    pub sides: Vec<Row>,
}

/// A destination in a [`Count`].
#[derive(Debug)]
pub struct Row {
    /// Whose.
    pub side: String,
    /// Objects or lines read there; effects of an endpoint.
    pub delivered: u64,
    /// Records that its replicas count as duplicates.
    pub duplicates: u64,
    /// Places in the log that they met again.
    pub redelivered: u64,
    /// Records not looked up, and ids never marked.
    pub bypassed: u64,
    /// What the checker says of the whole destination.
    pub verdict: Verdict,
}

// === impl Told ===

impl Told {
    /// Adds what a client sent and was told.
    pub fn add(&mut self, sent: Sent) {
        self.resent += sent.stats.resent;
        self.journal.merge(sent.journal);
    }
}

// === impl Count ===

impl Count {
    /// Counts everything. The numbers belong together only at rest.
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn of(fleet: &Fleet, told: &Told) -> anyhow::Result<Self> {
        let entries = || told.journal.entries().map(|(_, entry)| entry);
        let mut sides = Vec::new();
        for side in &fleet.sides {
            let verdict = side.check(&told.journal)?;
            let numbers = side.numbers().await?;
            sides.push(Row {
                side: side.name(),
                delivered: verdict.lines as u64,
                duplicates: numbers.consumer("records_duplicates"),
                redelivered: numbers.consumer("records_redelivered"),
                bypassed: numbers.consumer("dedupe_bypassed"),
                verdict,
            });
        }
        Ok(Self {
            sent: entries().map(|entry| u64::from(entry.given)).sum(),
            acked: entries().map(|entry| u64::from(entry.acked)).sum(),
            names: told.journal.len() as u64,
            resent: told.resent,
            records: fleet.records(),
            gateway_duplicates: fleet.gateway_numbers().await?.gateway_duplicates(),
            dead_letters: fleet.dead_letters(),
            lag: fleet.lag().await?,
            sides,
        })
    }

    /// What has come since `before`. Verdicts are of the whole directories all the same.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        self.sent -= before.sent;
        self.acked -= before.acked;
        self.names -= before.names;
        self.resent -= before.resent;
        self.records -= before.records;
        self.gateway_duplicates -= before.gateway_duplicates;
        self.dead_letters -= before.dead_letters;
        for (row, before) in self.sides.iter_mut().zip(&before.sides) {
            row.delivered -= before.delivered;
            row.duplicates -= before.duplicates;
            row.redelivered -= before.redelivered;
            row.bypassed -= before.bypassed;
        }
        self
    }

    /// Every sum that does not hold: acknowledged = in the log + duplicates at the gateway, and for
    /// each destination in the log = delivered + duplicates + dead letters. Nothing is lost, and
    /// nothing is left to do. Whether an id is there twice is for the caller to judge.
    #[must_use]
    pub fn balance(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let kept = self.records + self.gateway_duplicates;
        // What a client sent once more may have its own place in the log, or not have got there.
        if !(self.acked..=self.acked + self.resent).contains(&kept) {
            wrong.push(format!(
                "acked {} (and {} sent once more), but {} in the log and {} duplicates at the gateway",
                self.acked, self.resent, self.records, self.gateway_duplicates
            ));
        }
        if self.lag != 0 {
            wrong.push(format!("{} are still to be settled", self.lag));
        }
        if self.dead_letters != 0 {
            wrong.push(format!("{} dead letters", self.dead_letters));
        }
        for row in &self.sides {
            if self.records != row.delivered + row.duplicates {
                wrong.push(format!(
                    "{}: {} in the log, but {} delivered and {} duplicates",
                    row.side, self.records, row.delivered, row.duplicates
                ));
            }
            if !row.verdict.is_clean_but_for_resends() {
                wrong.push(format!("{}: {}", row.side, row.verdict.summary()));
            }
        }
        wrong
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {} ids {} acked {} in the log {} duplicates at the gateway {} lag {}",
            self.sent, self.names, self.acked, self.records, self.gateway_duplicates, self.lag
        )?;
        for row in &self.sides {
            write!(
                f,
                "\n    {:<22} effects {} duplicates {} redelivered {} bypassed {} ids there twice {}",
                row.side,
                row.delivered,
                row.duplicates,
                row.redelivered,
                row.bypassed,
                row.verdict.doubled.len()
            )?;
        }
        Ok(())
    }
}
