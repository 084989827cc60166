//! Runs one scenario and counts what came of it.
//!
//! In: its steps, and what it runs against. Out: a [`Row`], with what was expected beside what was
//! found and every difference as a sentence. Promises: sending and settling end by its limit; what is
//! counted is what the log and the destinations have, by the ledger, however long that takes.

use super::deployment::{Deployment, Place};
use super::plan::{Scenario, Step};
use super::send::{Job, Told, send};
use crate::demo::settle::{SettleError, settled};
use crate::ledger::count::{Only, Remembered, Sources, count};
use crate::ledger::expected::Expected;
use crate::ledger::{DestinationLedger, Ledger};
use anyhow::Context;
use cloudsync_kafka::topic_ends;
use cloudsync_runtime::chain;
use futures::future::try_join_all;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// What came of a scenario.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// 1 to 6.
    pub(crate) scenario: u8,
    /// What it does.
    pub(crate) name: String,
    /// Whether everything is as expected.
    pub(crate) ok: bool,
    /// Records given to clients.
    pub(crate) sent: u64,
    /// Of these, acknowledged.
    pub(crate) acked: u64,
    /// Of these, recognised by the gateway and not written again.
    pub(crate) duplicates_at_gateway: u64,
    /// Records that clients sent once more by themselves, because an answer did not come.
    pub(crate) retried: u64,
    /// Records in the log.
    pub(crate) in_log: u64,
    /// Of these, those that no acknowledgement stands for: a retry wrote them.
    pub(crate) unacked_in_log: u64,
    /// Different ids: what every destination must have, once.
    pub(crate) effects_expected: u64,
    /// What must be recognised on the way to every destination: sent, and in the log without an
    /// acknowledgement, less the different ids.
    pub(crate) duplicates_expected: u64,
    /// Each destination.
    pub(crate) destinations: Vec<Found>,
    /// Seconds from the first send until everything was committed.
    pub(crate) seconds: f64,
    /// What could not be done here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<String>,
    /// What is not as expected.
    pub(crate) differences: Vec<String>,
}

/// What was found at a destination; `None` where it cannot be read back.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: String,
    /// Records that lie there.
    pub(crate) effects: Option<u64>,
    /// Duplicates, at the gateway and there.
    pub(crate) duplicates: Option<u64>,
    /// Of these, those recognised there.
    pub(crate) duplicates_there: Option<u64>,
    /// Acknowledged ids that do not lie there.
    pub(crate) lost: Option<u64>,
    /// Records that lie there once more than they should.
    pub(crate) doubled: Option<u64>,
    /// Records that its group has yet to settle.
    pub(crate) lag: i64,
}

/// Runs scenarios.
#[derive(Debug)]
pub(crate) struct Runner<'a> {
    /// What they run against.
    pub(crate) deployment: &'a mut Deployment,
    /// Begins every request id.
    pub(crate) run: String,
    /// The longest that one may take until it is counted.
    pub(crate) limit: Duration,
}

/// How far a scenario has come.
#[derive(Debug, Default)]
struct Progress {
    told: Vec<Told>,
    left_out: Option<String>,
    /// What is waited for.
    waits_for: String,
    differences: Vec<String>,
    behind: BTreeMap<String, i64>,
}

// === impl Runner ===

impl Runner<'_> {
    /// Runs `scenario`.
    ///
    /// # Errors
    /// When it cannot be run or counted. What is not as expected is none.
    pub(crate) async fn run(&mut self, scenario: &Scenario) -> anyhow::Result<Row> {
        let kafka = self.deployment.kafka();
        let only = Only {
            prefix: format!("{}-{}-", self.run, scenario.number),
            log: topic_ends(kafka, &kafka.topic).await?,
            dead_letters: topic_ends(kafka, &kafka.dlq_topic).await?,
        };
        let (begun, mut progress) = (Instant::now(), Progress::default());
        let until = begun + self.limit;
        let steps = self.steps(scenario, &only.prefix, &mut progress);
        match timeout_at(until, steps).await {
            Ok(done) => done?,
            Err(_) => progress.differences.push(format!(
                "gave up after {:?}, waiting for {}",
                self.limit, progress.waits_for
            )),
        }
        self.settle(until, &mut progress).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let expected = Expected::from_entries(&Told::entries(&progress.told));
        let ids = expected.known().len() as u64;
        let ledger = self.ledger(expected, only, &progress).await?;
        let mut row = Row {
            scenario: scenario.number,
            name: scenario.name.clone(),
            effects_expected: ids,
            seconds: (seconds * 10.0).round() / 10.0,
            ..Row::default()
        };
        row.take(&ledger, progress, &self.deployment.places);
        Ok(row)
    }

    async fn steps(
        &mut self,
        scenario: &Scenario,
        prefix: &str,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        for step in &scenario.steps {
            match step {
                Step::Send {
                    clients,
                    every,
                    records,
                } => {
                    let job = Job {
                        prefix,
                        every: *every,
                        records,
                    };
                    self.send(*clients, job, progress).await?;
                }
                Step::Pause(time) => sleep(*time).await,
                Step::Restart => {
                    "everything to come up again".clone_into(&mut progress.waits_for);
                    if !self.deployment.restart().await? {
                        let what = "not restarted: only its owner can do that";
                        progress.left_out = Some(what.to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        clients: usize,
        job: Job<'_>,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let endpoint = self.deployment.endpoint()?;
        progress.waits_for = format!("the acknowledgements of {endpoint}");
        let first = progress.told.len();
        progress.told.resize_with(first + clients, Told::default);
        let told = progress.told.iter_mut().skip(first);
        let sends = told.map(|told| send(&endpoint, self.limit, job, told));
        let sent = self.deployment.during(try_join_all(sends)).await?;
        if let Err(error) = sent {
            let why = chain(&error);
            progress
                .differences
                .push(format!("not everything was sent: {why}"));
        }
        Ok(())
    }

    /// Waits until every group has committed everything; what is open then is a difference.
    async fn settle(&self, until: Instant, progress: &mut Progress) -> anyhow::Result<()> {
        let places = &self.deployment.places;
        let groups: Vec<String> = places.iter().map(|it| it.group.clone()).collect();
        let (kafka, readiness) = (self.deployment.kafka(), self.deployment.readiness());
        let settled = settled(kafka, &groups, &readiness, Some(until));
        let Err(error) = self.deployment.during(settled).await? else {
            return Ok(());
        };
        let why = match &error {
            SettleError::TooLate { .. } => format!("after {:?} {error}", self.limit),
            _ => error.to_string(),
        };
        match error {
            SettleError::Stalled { open, .. } | SettleError::TooLate { open } => {
                progress.behind = open.behind;
                progress.differences.push(why);
                Ok(())
            }
            SettleError::Log { .. } => Err(error.into()),
        }
    }

    async fn ledger(
        &self,
        expected: Expected,
        only: Only,
        progress: &Progress,
    ) -> anyhow::Result<Ledger> {
        let read = self
            .deployment
            .places
            .iter()
            .filter(|it| it.unread.is_none());
        let sources = Sources {
            kafka: self.deployment.kafka(),
            log_id: None,
            log_damage: Vec::new(),
            destinations: read
                .map(|it| (it.name.clone(), it.settings.clone()))
                .collect(),
            only: Some(only),
        };
        let told = progress.told.iter();
        let remembered = Remembered {
            duplicates_at_gateway: told.map(|it| it.stats.duplicates).sum(),
            ..Remembered::default()
        };
        let counted = self
            .deployment
            .during(count(expected, &sources, &remembered));
        counted.await?.context("cannot count what came of it")
    }
}

// === impl Row, Found ===

impl Row {
    /// Takes what was counted, and says what of it is not as it should be.
    fn take(&mut self, ledger: &Ledger, progress: Progress, places: &[Place]) {
        (self.sent, self.acked) = (ledger.sent, ledger.acked);
        self.duplicates_at_gateway = ledger.duplicates_at_gateway;
        self.retried = progress.told.iter().map(|it| it.stats.resent).sum();
        (self.in_log, self.unacked_in_log) = (ledger.in_log, ledger.unacked_in_log);
        let given = self.sent + self.unacked_in_log;
        self.duplicates_expected = given.saturating_sub(self.effects_expected);
        self.left_out = progress.left_out;
        let of = |place: &Place| Found::of(place, ledger, &progress.behind);
        self.destinations = places.iter().map(of).collect();
        self.differences = progress.differences;
        let refusals = progress.told.into_iter().filter_map(|it| it.refusal);
        self.differences
            .extend(refusals.map(|why| format!("refused: {why}")));
        self.differences.extend(self.sums());
        self.differences.extend(ledger.complaints());
        self.ok = self.differences.is_empty();
    }

    /// What of the sums does not hold.
    fn sums(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |what: String, expected: u64, found: Option<u64>| {
            if let Some(found) = found.filter(|found| *found != expected) {
                wrong.push(format!("{what}: {expected} expected, {found} found"));
            }
        };
        check("acknowledged".to_owned(), self.sent, Some(self.acked));
        let unknown = self.unacked_in_log.saturating_sub(self.retried);
        check(
            "in the log, and sent by nobody".to_owned(),
            0,
            Some(unknown),
        );
        for found in &self.destinations {
            let name = &found.name;
            check(
                format!("effects at {name}"),
                self.effects_expected,
                found.effects,
            );
            let duplicates = format!("duplicates on the way to {name}");
            check(duplicates, self.duplicates_expected, found.duplicates);
        }
        wrong
    }
}

impl Found {
    fn of(place: &Place, ledger: &Ledger, behind: &BTreeMap<String, i64>) -> Self {
        let counted = ledger.destinations.iter().find(|it| it.name == place.name);
        let of = |column: fn(&DestinationLedger) -> u64| counted.map(column);
        let there = of(|it| it.duplicates);
        Self {
            name: place.name.clone(),
            effects: of(|it| it.delivered),
            duplicates: there.map(|there| there + ledger.duplicates_at_gateway),
            duplicates_there: there,
            lost: of(|it| it.lost),
            doubled: of(|it| it.doubled),
            lag: behind.get(&place.group).copied().unwrap_or(0),
        }
    }
}
