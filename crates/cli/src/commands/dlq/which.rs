//! Which entries are meant, and reading them.
//!
//! In: what was typed. Out: the entries that fit, through a queue of 256, so that whoever takes
//! them slowly makes the reading slow, and not the memory full.

use super::row::Names;
use super::unread;
use crate::args::DlqWhich;
use crate::failure::Failure;
use crate::settings::Settings;
use anyhow::anyhow;
use cloudsync_kafka::{
    DeadLetterEntry, Fold, KafkaError, KafkaSettings, Line, Settled, read_topic,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Entries between reading and whatever is done with them.
const QUEUE: usize = 256;

/// The entries that are meant, where they lie.
#[derive(Debug)]
pub(super) struct Which {
    pub(super) kafka: KafkaSettings,
    /// Who there is to deliver to.
    destinations: Vec<String>,
    filter: Arc<Filter>,
}

/// What an entry has to be like.
#[derive(Clone, Debug)]
struct Filter {
    args: DlqWhich,
    /// The data topic: what came from another one belongs to somebody else.
    topic: String,
    states: States,
    now: Timestamp,
}

/// In which states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct States {
    settled: bool,
    /// Parked ones are given, to be counted, and not to be touched.
    parked_too: bool,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Open, and redriven too often to be redriven once more.
    Parked,
    Settled(Settled),
}

/// An entry that is meant.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: DeadLetterEntry,
    pub(super) state: State,
}

/// Entries on their way.
pub(super) struct Entries {
    pub(super) queue: mpsc::Receiver<Found>,
    /// One task, which ends with this.
    reading: JoinSet<Result<u64, KafkaError>>,
}

// === impl States ===

impl States {
    /// What is open, or (`all`) everything.
    pub(super) fn open_or(all: bool) -> Self {
        Self {
            settled: all,
            parked_too: true,
        }
    }

    /// What may be redriven; what is parked only by `force`.
    pub(super) fn to_redrive(force: bool) -> Self {
        Self {
            settled: false,
            parked_too: force,
        }
    }

    /// Whether an entry that stands so may be touched.
    pub(super) fn touches(self, state: State) -> bool {
        state != State::Parked || self.parked_too
    }
}

// === impl State ===

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Parked => "parked",
            Self::Settled(how) => how.as_str(),
        }
    }
}

// === impl Which ===

impl Which {
    pub(super) fn new(settings: Settings, args: &DlqWhich, states: States) -> Self {
        let destinations = settings.destination_names();
        let kafka = settings.kafka;
        let filter = Filter {
            args: args.clone(),
            topic: kafka.topic.clone(),
            states,
            now: Timestamp::now(),
        };
        Self {
            kafka,
            destinations,
            filter: Arc::new(filter),
        }
    }

    /// Why `entry` is not to go back, unless somebody insists: nobody would deliver it, or it would
    /// not meet the records of its key.
    pub(super) fn stays(&self, entry: &DeadLetterEntry) -> Option<String> {
        if self.states().parked_too {
            return None;
        }
        let (to, origin) = (&entry.headers.destination, &entry.headers.origin);
        if !self.destinations.contains(to) {
            let known = self.destinations.join(", ");
            return Some(format!(
                "is for {to}, which the settings do not have (they have {known}): nobody would \
                 deliver it; name it there, or --force"
            ));
        }
        let partition = entry.partition(self.kafka.partitions);
        (partition != origin.partition).then(|| {
            format!(
                "would go to partition {partition} and came from {}: set kafka.partitions ({}) as \
                 the gateway has it, or --force where that has changed",
                origin.partition, self.kafka.partitions
            )
        })
    }

    pub(super) fn states(&self) -> States {
        self.filter.states
    }

    /// Which entries there are.
    pub(super) async fn fold(&self) -> Result<Fold, Failure> {
        let fold = Arc::new(Mutex::new(Fold::default()));
        let into = Arc::clone(&fold);
        let visit = move |partition, record| into.lock().take(&Line::read(partition, record));
        let read = read_topic(&self.kafka, &self.kafka.dlq_topic, visit).await;
        read.map_err(|error| unread(error, &self.kafka))?;
        let fold = std::mem::take(&mut *fold.lock());
        self.check_names(&fold)?;
        Ok(fold)
    }

    /// Each entry that was named must be one, and no more than one.
    fn check_names(&self, fold: &Fold) -> Result<(), Failure> {
        let named = &self.filter.args.entry;
        let mut meant = vec![0u32; named.len()];
        if named.is_empty() {
            return Ok(());
        }
        for id in fold.ids() {
            let id = id.to_string();
            for (name, meant) in named.iter().zip(&mut meant) {
                *meant += u32::from(id.starts_with(name.as_str()));
            }
        }
        for (name, meant) in named.iter().zip(meant) {
            match meant {
                1 => {}
                0 => {
                    let topic = &self.kafka.dlq_topic;
                    return Err(Failure::Failed(anyhow!("{topic} has no entry {name}")));
                }
                many => {
                    let text = format!("{many} entries begin with {name}: say more of its digits");
                    return Err(Failure::usage(text));
                }
            }
        }
        Ok(())
    }

    /// Begins to read the entries that are meant, of those that `fold` knows.
    pub(super) fn entries(&self, fold: Fold) -> Entries {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (filter, kafka) = (Arc::clone(&self.filter), self.kafka.clone());
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let topic = kafka.dlq_topic.clone();
            let visit = move |partition, record| {
                if sender.is_closed() {
                    return;
                }
                let Line::Entry(entry) = Line::read(partition, record) else {
                    return;
                };
                if let Some(state) = filter.state_of(&entry, &fold) {
                    let entry = *entry;
                    // It is gone: nobody wants more.
                    let _gone = sender.blocking_send(Found { entry, state });
                }
            };
            read_topic(&kafka, &topic, visit).await
        });
        Entries { queue, reading }
    }
}

// === impl Entries ===

impl Entries {
    /// Whether everything was read; asked when the queue has come to its end.
    pub(super) async fn ended(mut self, kafka: &KafkaSettings) -> Result<(), Failure> {
        match self.reading.join_next().await {
            Some(Ok(read)) => read.map(drop).map_err(|error| unread(error, kafka)),
            Some(Err(error)) => Err(Failure::Failed(anyhow!("the reading ended: {error}"))),
            None => Ok(()),
        }
    }
}

// === impl Filter ===

impl Filter {
    /// Where `entry` stands, if it is meant and met at its own place.
    fn state_of(&self, entry: &DeadLetterEntry, fold: &Fold) -> Option<State> {
        let state = match fold.settled(entry.id) {
            Some(how) => State::Settled(how),
            None if entry.is_parked() => State::Parked,
            None => State::Open,
        };
        let in_state = self.states.settled || !matches!(state, State::Settled(_));
        (in_state && fold.is_first(entry) && self.fits(entry)).then_some(state)
    }

    fn fits(&self, entry: &DeadLetterEntry) -> bool {
        let (args, headers) = (&self.args, &entry.headers);
        let one_of = |wanted: &[String], found: Option<&str>| {
            wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|it| it == found))
        };
        let id = entry.id.to_string();
        let named = args.entry.is_empty() || args.entry.iter().any(|name| id.starts_with(name));
        let reasons = args.reason.iter();
        let reason =
            args.reason.is_empty() || reasons.into_iter().any(|it| it.as_str() == headers.reason);
        *headers.origin.topic == *self.topic
            && named
            && reason
            && one_of(&args.destination, Some(&headers.destination))
            && one_of(&args.class, headers.class.as_deref())
            && one_of(&args.code, headers.code.as_deref())
            && self.is_of_age(&headers.failed_at)
            && self.has_names(entry)
    }

    fn is_of_age(&self, failed_at: &str) -> bool {
        let (older, newer) = (self.args.older_than, self.args.newer_than);
        if older.is_none() && newer.is_none() {
            return true;
        }
        let Ok(at) = failed_at.parse::<Timestamp>() else {
            return false;
        };
        let age = self.now.duration_since(at).unsigned_abs();
        let age = if at > self.now {
            std::time::Duration::ZERO
        } else {
            age
        };
        older.is_none_or(|older| age > older) && newer.is_none_or(|newer| age <= newer)
    }

    fn has_names(&self, entry: &DeadLetterEntry) -> bool {
        if self.args.id.is_none() && self.args.key.is_none() {
            return true;
        }
        let names = Names::of(entry);
        self.args.id.as_ref().is_none_or(|id| *id == names.id)
            && self.args.key.as_ref().is_none_or(|key| *key == names.key)
    }
}
