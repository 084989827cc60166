//! Beside the walk: where is my record?
//!
//! In: what the log has acknowledged; later a request id and its key. Out: a [`Receipt`]: where the
//! record lies, and for each destination what became of it. Promises: what is said is true at the
//! moment at which it is read (`judge` has the rules, and what they rest on), and on the way of a
//! record nothing waits for it: it is remembered behind the log's answer, and asking is another
//! matter.
//!
//! What is remembered: id → place, in this process and in Redis ([`cloudsync_dedupe::Receipts`]).
//! What is asked (`asked`): the committed offsets of the groups (`commits`), first, then the
//! marks in the destinations' dedupe stores, where this process can reach them. Where nobody
//! remembers the place of an id, the latest one that a mark names counts. `watch` asks again and
//! again.

mod asked;
mod commits;
mod judge;
mod watch;

pub(crate) use watch::watch;

use crate::batch::Batch;
use asked::{busy, check, unknown};
use cloudsync::identity::Id16;
use cloudsync::reason::Refusal;
use cloudsync::v1::destination_receipt::State as Told;
use cloudsync::v1::{
    DeadLettered, Delivered, DestinationReceipt, Duplicate, GetReceiptRequest, InProgress, Pending,
    Position, Receipt, Settled,
};
use cloudsync::wire::Time;
use cloudsync::{DEFAULT_TENANT, ErrorReason};
use cloudsync_dedupe::{
    Accepted, DedupeStore, Found, FoundState, LogPosition, StoreError, Subject, shard_of,
};
use cloudsync_kafka::{GroupCommits, KafkaSettings, Produced};
use commits::{Commits, Committed};
use futures::future::join_all;
use judge::State;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Most receipts that are being looked up at once.
const LOOKS: usize = 256;
/// Most calls that watch at once.
const WATCHERS: usize = 64;
/// Why a record is dead-lettered whose id belongs to another content.
const ID_CONFLICT: &str = "id_conflict";

/// A destination, as those see it who ask where a record is.
#[derive(Clone)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// Its consumer group.
    pub group: String,
    /// Its dedupe store, where this process can look into it. Without one only the group's commits
    /// tell what became of a record.
    pub marks: Option<Arc<dyn DedupeStore>>,
    /// Names the object of a record of a tenant, where each record has one.
    pub object: Option<fn(&str, Id16) -> String>,
}

/// Answers questions about records.
#[derive(Debug)]
pub(crate) struct Receipts {
    kept: Arc<cloudsync_dedupe::Receipts>,
    destinations: Vec<Destination>,
    commits: Commits,
    topic: Arc<str>,
    shards: u32,
    /// Of the topic, as the gateway counts them.
    partitions: u32,
    looks: Semaphore,
    watchers: Arc<Semaphore>,
}

/// A record that is known.
struct Record {
    name: GetReceiptRequest,
    subject: Subject,
    /// When it was accepted, in milliseconds since 1970, if that is known.
    at: Option<u64>,
    destinations: u32,
}

// === impl Destination ===

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination")
            .field("name", &self.name)
            .field("group", &self.group)
            .field("marks", &self.marks)
            .finish_non_exhaustive()
    }
}

// === impl Receipts: what is remembered ===

impl Receipts {
    pub(crate) fn new(
        kept: Arc<cloudsync_dedupe::Receipts>,
        destinations: Vec<Destination>,
        kafka: &KafkaSettings,
        shards: u32,
    ) -> Self {
        let groups = destinations.iter();
        let groups = groups.map(|it| GroupCommits::new(kafka, &it.group));
        Self {
            commits: Commits::of(groups.collect()),
            topic: kafka.topic.as_str().into(),
            looks: Semaphore::new(LOOKS),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            kept,
            destinations,
            shards,
            partitions: kafka.partitions,
        }
    }

    /// What is remembered.
    pub(crate) fn kept(&self) -> &Arc<cloudsync_dedupe::Receipts> {
        &self.kept
    }

    /// Remembers the records of `batch` that the log has acknowledged and placed; they were
    /// accepted at `accept_time`.
    pub(crate) fn remember(&self, batch: &Batch, results: &[Produced], accept_time: Time) {
        if results.is_empty() || !self.kept.are_kept() {
            return;
        }
        let at = millis(accept_time);
        let records = batch.records.iter().zip(results).enumerate();
        let accepted = records.filter_map(|(place, (record, result))| {
            let effect = batch.effects.get(record.index as usize)?.as_ref()?;
            let offset = (*result.as_ref().ok()?)?;
            let position = LogPosition {
                partition: record.partition,
                offset,
            };
            let subject = Subject {
                id: effect.id,
                fingerprint: effect.fingerprint,
                shard: shard_in(
                    record.partition,
                    self.partitions,
                    batch.to_produce.key(place),
                    self.shards,
                ),
                position,
            };
            let destinations = match effect.destinations {
                0 => Accepted::EVERYWHERE,
                named => named,
            };
            Some(Accepted {
                subject,
                at,
                destinations,
            })
        });
        // Made before anything is locked.
        let accepted: Vec<Accepted> = accepted.collect();
        self.kept.remember(&accepted);
    }
}

// === impl Receipts: what is asked ===

impl Receipts {
    /// The receipt of one record.
    pub(crate) async fn get(&self, name: GetReceiptRequest) -> Result<Receipt, Refusal> {
        check(&name)?;
        let busy = || busy("receipts are being looked up", LOOKS);
        let _look = self.looks.try_acquire().map_err(|_| busy())?;
        let records = self.records(vec![name]).await?;
        let told = self.tell(&records.iter().collect::<Vec<_>>()).await?;
        let (receipt, _) = told.into_iter().next().ok_or_else(|| {
            Refusal::permanent(
                ErrorReason::Internal,
                "a record was asked for and none told",
            )
        })?;
        Ok(receipt)
    }

    /// What is known of the records `names`.
    async fn records(&self, names: Vec<GetReceiptRequest>) -> Result<Vec<Record>, Refusal> {
        let subjects = names.iter().map(|name| asked::subject(name, self.shards));
        let subjects: Vec<Subject> = subjects.collect();
        let (mut kept, unasked) = self.kept.find(&subjects).await;
        let mut silent = unasked;
        if kept.iter().any(Option::is_none) {
            let (marks, unasked) = self.marks(&subjects).await;
            silent = silent.or(unasked);
            for (place, kept) in kept.iter_mut().enumerate() {
                let of_place = marks.iter().filter_map(|marks| *marks.get(place)?);
                let subject = subjects.get(place);
                *kept = kept.or_else(|| by_marks(subject?, of_place));
            }
        }
        let found = names.into_iter().zip(kept);
        found
            .map(|(name, kept)| match kept {
                Some(Accepted {
                    subject,
                    at,
                    destinations,
                }) => Ok(Record {
                    name,
                    subject,
                    at: (at > 0).then_some(at),
                    destinations,
                }),
                None => Err(unknown(&name, silent.as_ref(), &self.destinations)),
            })
            .collect()
    }

    /// Where each of `records` is now, and whether that is final.
    async fn tell(&self, records: &[&Record]) -> Result<Vec<(Receipt, bool)>, Refusal> {
        // In this order: what is committed is marked before.
        let committed = self.commits.recent().await?;
        let subjects: Vec<Subject> = records.iter().map(|record| record.subject).collect();
        let (marks, unasked) = self.marks(&subjects).await;
        if let Some(error) = unasked {
            tracing::debug!(%error, "receipts say less than there is to know");
        }
        let one = |(place, record): (usize, &&Record)| {
            let found = |at: usize| *marks.get(at)?.get(place)?;
            self.receipt(record, &committed, found)
        };
        Ok(records.iter().enumerate().map(one).collect())
    }

    fn receipt(
        &self,
        record: &Record,
        committed: &Committed,
        found: impl Fn(usize) -> Option<Found>,
    ) -> (Receipt, bool) {
        let mut is_final = true;
        let mut destinations = Vec::with_capacity(self.destinations.len());
        for (at, destination) in self.destinations.iter().enumerate() {
            let bit = u32::try_from(at).ok().and_then(|at| 1u32.checked_shl(at));
            let named = bit.is_some_and(|bit| record.destinations & bit != 0);
            if !named && record.destinations != Accepted::EVERYWHERE {
                continue;
            }
            let partition = usize::try_from(record.subject.position.partition);
            let offsets = committed.get(at).zip(partition.ok());
            let next = offsets.and_then(|(offsets, at)| *offsets.get(at)?);
            let state = State::of(&record.subject, next, found(at));
            is_final &= state.is_final();
            destinations.push(DestinationReceipt {
                destination: destination.name.clone(),
                state: Some(self.told(state, destination, record.subject.id)),
            });
        }
        let receipt = Receipt {
            request_id: record.name.request_id.clone(),
            key: record.name.key.clone(),
            position: Some(self.position(record.subject.position)),
            accept_time: record.at.map(timestamp),
            destinations,
        };
        (receipt, is_final)
    }

    fn told(&self, state: State, destination: &Destination, id: Id16) -> Told {
        let position = |at| Some(self.position(at));
        match state {
            State::Pending => Told::Pending(Pending {}),
            State::InProgress => Told::InProgress(InProgress {}),
            State::Delivered => {
                let object = destination.object.map(|name| name(DEFAULT_TENANT, id));
                let object = object.unwrap_or_default();
                Told::Delivered(Delivered { object })
            }
            State::Duplicate { of } => Told::Duplicate(Duplicate {
                position: position(of),
            }),
            State::DeadLettered { at } => Told::DeadLettered(DeadLettered {
                reason: String::new(),
                position: position(at),
            }),
            State::Conflict { with } => Told::DeadLettered(DeadLettered {
                reason: ID_CONFLICT.to_owned(),
                position: position(with),
            }),
            State::Settled => Told::Settled(Settled {}),
        }
    }

    fn position(&self, at: LogPosition) -> Position {
        Position {
            topic: self.topic.to_string(),
            partition: at.partition,
            offset: at.offset,
        }
    }

    /// What stands under the ids of `subjects`, for each destination; nothing where its store is
    /// not to be asked from here. And why one that is did not answer.
    async fn marks(&self, subjects: &[Subject]) -> (Vec<Vec<Option<Found>>>, Option<StoreError>) {
        let asked = self.destinations.iter().map(|it| async {
            let Some(store) = &it.marks else {
                return (Vec::new(), None);
            };
            let patience = store.patience();
            let answer = timeout(patience, store.inspect(subjects)).await;
            let late = |_| {
                let store = format!("of {}", it.name);
                let reason = format!("no answer within {patience:?}");
                Err(StoreError::Unavailable { store, reason })
            };
            match answer.unwrap_or_else(late) {
                Ok(found) => (found, None),
                Err(error) => (Vec::new(), Some(error)),
            }
        });
        let (found, reasons): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().unzip();
        (found, reasons.into_iter().flatten().next())
    }
}

/// [`shard_of`] the key of a record that the gateway put into `partition`, one of `partitions`: where
/// those are a multiple of the shards, it is not hashed once more.
fn shard_in(partition: i32, partitions: u32, key: &[u8], shards: u32) -> u32 {
    match u32::try_from(partition) {
        Ok(partition) if partitions.is_multiple_of(shards.max(1)) => partition % shards.max(1),
        _ => shard_of(key, shards),
    }
}

/// The record of the latest place that one of `marks` names, if one does.
fn by_marks(subject: &Subject, marks: impl Iterator<Item = Found>) -> Option<Accepted> {
    let placed = marks.filter_map(|found| match found.state {
        FoundState::Done { position } | FoundState::DeadLettered { position } => {
            Some((position, found.fingerprint))
        }
        FoundState::InProgress => None,
    });
    let (position, fingerprint) = placed.max_by_key(|(position, _)| position.offset)?;
    Some(Accepted {
        subject: Subject {
            position,
            fingerprint,
            ..*subject
        },
        at: 0,
        destinations: Accepted::EVERYWHERE,
    })
}

fn millis(time: Time) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    seconds * 1_000 + u64::from(time.nanos.unsigned_abs() / 1_000_000)
}

fn timestamp(millis: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(millis / 1_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(millis % 1_000 * 1_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::partition::partition_of;

    #[test]
    fn a_partition_tells_the_shard_where_it_can() {
        for (partitions, shards) in [(12, 12), (24, 12), (12, 5), (12, 0), (1, 12)] {
            for key in ["", "a", "order-17", "customer-4"] {
                let key = key.as_bytes();
                let partition = partition_of(key, partitions);
                let told = shard_in(partition, partitions, key, shards);
                assert_eq!(told, shard_of(key, shards), "{partitions} {shards} {key:?}");
            }
        }
    }
}
