//! Where records go that can never be delivered: the dead-letter topic.
//!
//! In: the faults of a segment, or one record of `record` mode. Out: acknowledged by the log with
//! acks=all, before anything settles them. Promises: an outage sets nothing aside; a log
//! that is away is waited for; one that refuses a dead letter for good stops the partition with an
//! alarm, until somebody has changed the topic's limits.

use crate::chain::{ChainName, Fault};
use crate::deliver::Backoff;
use crate::health::Health;
use cloudsync::identity::Fingerprint;
use cloudsync::wire::RecordView;
use cloudsync_kafka::{DeadLetter, DeadLetterProducer, PolledRecord, Position};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Records in one produce.
const BATCH: usize = 256;
/// Pause between two lines that say that records were set aside.
const TELL: Duration = Duration::from_secs(1);

/// The way of one destination's records into the dead-letter topic.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    producer: DeadLetterProducer,
    health: Health,
    group: String,
    told: Arc<Mutex<Told>>,
}

/// What the log of this process says of dead letters: however many there are, a line a second.
#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    /// Set aside since then.
    records: usize,
}

// === impl DeadLetters ===

impl DeadLetters {
    /// Sets aside for the destination that `health` speaks of, whose group is `group`.
    #[must_use]
    pub fn new(producer: DeadLetterProducer, health: Health, group: &str) -> Self {
        Self {
            producer,
            health,
            group: group.to_owned(),
            told: Arc::default(),
        }
    }

    /// Produces `faults` of the partition `chain` until the log has acknowledged each one.
    /// `false`: `give_up` was given before; some of them may lie there.
    pub async fn set_aside(
        &self,
        chain: &ChainName,
        faults: &[Fault],
        give_up: &CancellationToken,
    ) -> bool {
        for chunk in faults.chunks(BATCH) {
            let mut left: Vec<_> = chunk
                .iter()
                .map(|fault| self.letter(chain, fault))
                .collect();
            let mut _alarm = None;
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
            loop {
                let refused;
                (left, refused) = self.produce(left).await;
                if let Some(why) = refused {
                    _alarm = Some(self.health.alarm(chain.partition, why));
                }
                if left.is_empty() {
                    break;
                }
                tokio::select! {
                    () = sleep(backoff.next(rand::random(), Duration::ZERO)) => {}
                    () = give_up.cancelled() => return false,
                }
            }
            self.tell(chain, chunk);
        }
        true
    }

    /// Says in the log that records were set aside, and which is the first of them.
    fn tell(&self, chain: &ChainName, faults: &[Fault]) {
        let Some(first) = faults.first() else {
            return;
        };
        let mut told = self.told.lock();
        told.records += faults.len();
        if told.last.is_some_and(|last| last.elapsed() < TELL) {
            return;
        }
        tracing::warn!(
            destination = self.health.name(),
            records = told.records,
            partition = chain.partition,
            offset = first.record.offset,
            reason = ?first.reason,
            why = %first.detail,
            "set aside as dead letters, not delivered"
        );
        *told = Told {
            last: Some(Instant::now()),
            records: 0,
        };
    }

    /// Produces `letters`; out: those that the log has not acknowledged, and why it never will, if
    /// it says so.
    async fn produce(&self, letters: Vec<DeadLetter>) -> (Vec<DeadLetter>, Option<String>) {
        let results = self.producer.produce(letters.clone()).await;
        let (mut left, mut refused) = (Vec::new(), None);
        for (letter, result) in letters.into_iter().zip(results) {
            if let Err(error) = result {
                tracing::warn!(
                    destination = self.health.name(),
                    origin = ?letter.origin,
                    %error,
                    "a dead letter was not acknowledged; trying again"
                );
                if !error.is_retryable() {
                    let offset = letter.origin.offset;
                    refused = Some(format!("dead_letter_refused: offset {offset}: {error}"));
                }
                left.push(letter);
            }
        }
        (left, refused)
    }

    fn letter(&self, chain: &ChainName, fault: &Fault) -> DeadLetter {
        let offset = fault.record.offset;
        let topic = Arc::clone(&chain.topic);
        DeadLetter {
            original: fault.record.clone(),
            origin: Position {
                topic,
                partition: chain.partition,
                offset,
            },
            group: self.group.clone(),
            destination: self.health.name().to_owned(),
            reason: fault.reason,
            detail: fault.detail.clone(),
            cause: fault.cause.clone(),
            fingerprint: fingerprint_of(&fault.record),
            failed_at: SystemTime::now(),
        }
    }
}

fn fingerprint_of(record: &PolledRecord) -> Option<Fingerprint> {
    let view = RecordView::parse(record.value.as_deref()?).ok()?;
    Some(Fingerprint::of(view.payload, view.content_type))
}
