//! `cloudsync dlq redrive` and `drop`.
//!
//! In: the entries that are meant, in the order in which they were set aside. Out: each one back in
//! the log, or not; a marker beside it; a line that says so. Promises: a marker only behind the
//! log's acknowledgement of what it states, so that nothing is lost whenever this ends; run again
//! it goes on with what has no marker, and meets at most one batch twice, of which the dedupe store
//! makes duplicates.

use super::audit::Audit;
use super::list;
use super::which::{Found, Which};
use crate::args::{DlqChange, Output};
use crate::commands::Common;
use crate::failure::Failure;
use crate::ledger::grouped;
use crate::say;
use anyhow::{Context, anyhow};
use cloudsync_kafka::{DeadLetterEntry, ProduceError, Producer, Redriver, Settled};
use cloudsync_runtime::signals::Signals;
use cloudsync_runtime::{Moment, kill_point};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Entries in one batch: what a death between record and marker may redrive once more.
const BATCH: usize = 256;
/// For how long what is on its way is waited for at the end.
const CLOSE: Duration = Duration::from_secs(10);

/// What is to be done with which entries.
pub(super) struct Change<'a> {
    pub(super) which: Which,
    pub(super) how: Settled,
    pub(super) args: &'a DlqChange,
}

/// What became of them.
#[derive(Debug, Default)]
struct Done {
    changed: u64,
    parked: u64,
    failed: u64,
    interrupted: Option<&'static str>,
}

// === impl Change ===

impl Change<'_> {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.args.dry_run {
            let Self { which, args, how } = self;
            common.note(format_args!("dry run: these would be {}", how.as_str()));
            return list::run(which, list::How::Lines, args.output, common).await;
        }
        let mut audit = Audit::open(self.args.audit.as_deref(), common)?;
        let fold = self.which.fold().await?;
        let kafka = &self.which.kafka;
        let producer = Producer::new(kafka).context("no producer can be made");
        let producer = producer.map_err(Failure::Failed)?;
        let redriver = Redriver::new(producer.clone(), kafka);
        let mut entries = self.which.entries(fold);
        let mut done = Done::default();
        let changed = self.each(&mut entries.queue, &redriver, &mut audit, &mut done);
        let changed = changed.await;
        producer.close(CLOSE).await;
        // Whatever ended it, what was done is said.
        done.print(self.how, self.args.output);
        changed?;
        if let Some(name) = done.interrupted {
            common.note("interrupted; run it again to go on");
            return Err(Failure::Interrupted(name));
        }
        entries.ended(&self.which.kafka).await?;
        if done.parked > 0 {
            common.note(format_args!(
                "{} have failed after three redrives and are parked; --force redrives them",
                grouped(done.parked)
            ));
        }
        match done.failed {
            0 => Ok(()),
            _ => Err(Failure::Told),
        }
    }

    async fn each(
        &self,
        queue: &mut tokio::sync::mpsc::Receiver<Found>,
        redriver: &Redriver,
        audit: &mut Audit<'_>,
        done: &mut Done,
    ) -> Result<(), Failure> {
        let mut signals = Signals::take().context("cannot listen for signals")?;
        let rate = self.args.rate;
        let batch = rate.map_or(BATCH, |rate| {
            usize::try_from(rate / 10).unwrap_or(BATCH).clamp(1, BATCH)
        });
        let (began, mut taken) = (Instant::now(), 0u64);
        let mut found = Vec::with_capacity(batch);
        loop {
            let due = rate.map_or(began, |rate| {
                began + Duration::from_secs_f64(taken as f64 / rate as f64)
            });
            tokio::select! {
                biased;
                name = signals.next() => {
                    done.interrupted = Some(name);
                    return Ok(());
                }
                count = async {
                    sleep_until(due).await;
                    queue.recv_many(&mut found, batch).await
                } => if count == 0 {
                    return Ok(());
                },
            }
            let mut entries = Vec::with_capacity(found.len());
            for found in found.drain(..) {
                if !self.which.states().touches(found.state) {
                    done.parked += 1;
                    continue;
                }
                let stays = self.which.stays(&found.entry);
                match stays.filter(|_| self.how == Settled::Redriven) {
                    Some(why) => done.stays(&found.entry, &why),
                    None => entries.push(found.entry),
                }
            }
            taken += entries.len() as u64;
            self.batch(entries, redriver, audit, done).await?;
        }
    }

    /// Changes `entries`: record, line, marker.
    async fn batch(
        &self,
        mut entries: Vec<DeadLetterEntry>,
        redriver: &Redriver,
        audit: &mut Audit<'_>,
        done: &mut Done,
    ) -> Result<(), Failure> {
        if self.how == Settled::Redriven {
            let results = redriver.redrive(&entries).await;
            let mut back = Vec::with_capacity(entries.len());
            for (entry, result) in entries.into_iter().zip(results) {
                match result {
                    Ok(offset) => {
                        let to = (entry.partition(self.which.kafka.partitions), offset);
                        audit.changed(&entry, self.how, Some(to))?;
                        back.push(entry);
                    }
                    Err(error) => done.failed(&entry, "was not redriven", &error),
                }
            }
            entries = back;
            if !entries.is_empty() {
                kill_point(Moment::BetweenRedriveAndMarker);
            }
        }
        let results = redriver.settle(&entries, self.how).await;
        for (entry, result) in entries.iter().zip(results) {
            match result {
                Ok(_) => {
                    done.changed += 1;
                    if self.how == Settled::Dropped {
                        audit.changed(entry, self.how, None)?;
                    }
                }
                Err(error) => done.failed(entry, "has no marker, and counts as open", &error),
            }
        }
        Ok(())
    }
}

// === impl Done ===

impl Done {
    fn failed(&mut self, entry: &DeadLetterEntry, what: &str, error: &ProduceError) {
        self.failed += 1;
        let error = anyhow!(error.clone());
        say::note(format_args!("error: entry {} {what}: {error:#}", entry.id));
    }

    fn stays(&mut self, entry: &DeadLetterEntry, why: &str) {
        self.failed += 1;
        say::note(format_args!("error: entry {} {why}", entry.id));
    }

    fn print(&self, how: Settled, output: Output) {
        let how = how.as_str();
        let Self {
            changed,
            parked,
            failed,
            interrupted,
        } = self;
        match output {
            Output::Json => {
                let json = json!({
                    how: changed, "parked": parked, "failed": failed,
                    "interrupted": interrupted.is_some(),
                });
                say::data(format_args!("{json}\n"))
            }
            Output::Table => say::data(format_args!(
                "{how} {}, parked {}, failed {}\n",
                grouped(*changed),
                grouped(*parked),
                grouped(*failed)
            )),
        };
    }
}
