//! Which place in the log an id got, for those who ask where their record is.
//!
//! In: records that the log has acknowledged. Out: by id, what was remembered of them. Promises:
//! remembering never waits: the last so many ids lie in this process, and where replicas share a
//! Redis, they are written there behind the acknowledgement, through a queue of
//! [`MOST_WAITING`] records that drops and counts what does not fit. Nothing rests on it: what is
//! forgotten or dropped costs an answer and never a record.

use crate::claim::{LogPosition, Subject};
use crate::newest::Newest;
use crate::settings::{DedupeSettings, OpenError, is_shared};
use crate::store::StoreError;
use cloudsync::identity::Fingerprint;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

pub use crate::redis::receipts::SharedReceipts;

/// Most records that wait to be written to Redis: 4 MiB of them.
pub const MOST_WAITING: usize = 65_536;
/// Most records that are written to Redis at once.
const AT_ONCE: usize = 1_024;
/// Longest time for what waits at the end.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// A record that the log has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The record, and where it lies.
    pub subject: Subject,
    /// When the gateway took it, in milliseconds since 1970 by its own clock.
    pub at: u64,
    /// A bit for each destination that it names, [`Accepted::EVERYWHERE`] where it names none.
    pub destinations: u32,
}

/// What is remembered of accepted records.
#[derive(Debug)]
pub struct Receipts {
    /// `None`: this process remembers none.
    newest: Option<Mutex<Newest<Placed>>>,
    shared: Option<Shared>,
}

/// An [`Accepted`] without its id, and without the shard, which the id's key decides.
#[derive(Clone, Copy, Debug)]
struct Placed {
    fingerprint: Fingerprint,
    offset: i64,
    at: u64,
    partition: i32,
    destinations: u32,
}

/// What replicas share, and what is on its way there.
#[derive(Debug)]
struct Shared {
    store: SharedReceipts,
    waiting: Mutex<Vec<Accepted>>,
    some_wait: Notify,
    dropped: AtomicU64,
    /// Whether the last write failed.
    failing: AtomicBool,
}

/// Opens what the gateways that use `settings` share, if they share anything: a Redis. It connects
/// with its first call. `names`: the destinations, in the order of their bits.
///
/// # Errors
/// [`OpenError`], in a sentence for the operator.
pub fn open_shared(
    settings: &DedupeSettings,
    names: Vec<String>,
) -> Result<Option<SharedReceipts>, OpenError> {
    settings.validate()?;
    if !is_shared(&settings.url) {
        return Ok(None);
    }
    SharedReceipts::open(settings, names).map(Some)
}

// === impl Accepted ===

impl Accepted {
    /// Every destination.
    pub const EVERYWHERE: u32 = u32::MAX;
}

// === impl Receipts ===

impl Receipts {
    /// Remembers the last `limit` ids here (0: none) and all of them in `shared`, for a window.
    #[must_use]
    pub fn new(limit: usize, shared: Option<SharedReceipts>) -> Self {
        Self {
            newest: (limit > 0).then(|| Mutex::new(Newest::new(limit))),
            shared: shared.map(|store| Shared {
                store,
                waiting: Mutex::new(Vec::new()),
                some_wait: Notify::new(),
                dropped: AtomicU64::new(0),
                failing: AtomicBool::new(false),
            }),
        }
    }

    /// Whether anything is remembered at all.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        self.newest.is_some() || self.shared.is_some()
    }

    /// Number of ids that this process remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newest.as_ref().map_or(0, |newest| newest.lock().len())
    }

    /// Whether this process remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that were not written to Redis, because it was away or too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let shared = self.shared.as_ref();
        shared.map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Remembers `accepted`. Of two places of one id the later one counts.
    pub fn remember(&self, accepted: &[Accepted]) {
        if let Some(newest) = &self.newest {
            let mut newest = newest.lock();
            newest.touch_for(accepted.iter().map(|one| &one.subject.id));
            for one in accepted {
                newest.remember(one.subject.id, Placed::of(one), |known, new| {
                    if new.offset >= known.offset {
                        *known = new;
                    }
                });
            }
        }
        if let Some(shared) = &self.shared {
            shared.queue(accepted);
        }
    }

    /// What is remembered of the id of each of `subjects`, whatever else they say; and why Redis
    /// was not asked about those that this process does not remember, if it could not be.
    pub async fn find(&self, subjects: &[Subject]) -> (Vec<Option<Accepted>>, Option<StoreError>) {
        let mut found = match &self.newest {
            None => vec![None; subjects.len()],
            Some(newest) => {
                let newest = newest.lock();
                let find = |subject: &Subject| Some(newest.get(&subject.id)?.accepted(subject));
                subjects.iter().map(find).collect()
            }
        };
        let Some(shared) = &self.shared else {
            return (found, None);
        };
        let missing = || (0..subjects.len()).filter(|at| found.get(*at) == Some(&None));
        let places: Vec<usize> = missing().collect();
        if places.is_empty() {
            return (found, None);
        }
        let asked = places.iter().filter_map(|at| subjects.get(*at)).copied();
        let asked: Vec<Subject> = asked.collect();
        let answers = match shared.store.find(&asked).await {
            Ok(answers) => answers,
            Err(error) => return (found, Some(error)),
        };
        for (place, answer) in places.into_iter().zip(answers) {
            if let Some(one) = found.get_mut(place) {
                *one = answer;
            }
        }
        (found, None)
    }

    /// Writes to Redis what waits for it, until `ended`; then what still waits, for a second
    /// at most, and returns. Where nothing is shared it returns at once.
    pub async fn write_behind(&self, ended: impl Future<Output = ()> + Send) {
        let Some(shared) = &self.shared else {
            return;
        };
        let mut ended = std::pin::pin!(ended);
        loop {
            let one = async {
                shared.some_wait.notified().await;
                shared.write().await;
            };
            let mut one = std::pin::pin!(one);
            tokio::select! {
                () = &mut one => {}
                () = &mut ended => {
                    shared.some_wait.notify_one();
                    let last = async {
                        one.await;
                        shared.write().await;
                    };
                    // Nobody's end waits for a Redis that is away.
                    let _in_time = timeout(LAST_WRITES, last).await.is_ok();
                    return;
                }
            }
        }
    }
}

// === impl Placed ===

impl Placed {
    fn of(accepted: &Accepted) -> Self {
        let Subject {
            fingerprint,
            position,
            ..
        } = accepted.subject;
        Self {
            fingerprint,
            offset: position.offset,
            at: accepted.at,
            partition: position.partition,
            destinations: accepted.destinations,
        }
    }

    /// As it was remembered, under the id and in the shard of `subject`.
    fn accepted(&self, subject: &Subject) -> Accepted {
        Accepted {
            subject: Subject {
                fingerprint: self.fingerprint,
                position: LogPosition {
                    partition: self.partition,
                    offset: self.offset,
                },
                ..*subject
            },
            at: self.at,
            destinations: self.destinations,
        }
    }
}

// === impl Shared ===

impl Shared {
    fn queue(&self, accepted: &[Accepted]) {
        let dropped = {
            let mut waiting = self.waiting.lock();
            let room = MOST_WAITING.saturating_sub(waiting.len());
            let kept = accepted.get(..room).unwrap_or(accepted);
            waiting.extend_from_slice(kept);
            accepted.len() - kept.len()
        };
        if dropped > 0 {
            self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        }
        self.some_wait.notify_one();
    }

    /// Writes what waits now. From the first that Redis does not take on it is dropped: it would be
    /// in the way of the next ones.
    async fn write(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        let mut left = waiting.len();
        for some in waiting.chunks(AT_ONCE) {
            let written = Box::pin(self.store.write(some)).await;
            let failed = written.is_err();
            if let (Err(error), false) = (written, self.failing.swap(failed, Ordering::Relaxed)) {
                tracing::warn!(%error, "receipts are not written to Redis, until it takes them");
            }
            if failed {
                self.dropped.fetch_add(left as u64, Ordering::Relaxed);
                return;
            }
            left -= some.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::identity::Id16;

    fn accepted(id: u8, offset: i64) -> Accepted {
        let position = LogPosition {
            partition: 3,
            offset,
        };
        Accepted {
            subject: Subject {
                id: Id16([id; 16]),
                fingerprint: Fingerprint(7),
                shard: 3,
                position,
            },
            at: 1_800_000_000_123,
            destinations: Accepted::EVERYWHERE,
        }
    }

    #[tokio::test]
    async fn the_latest_place_of_each_of_the_last_ids_is_remembered() {
        let receipts = Receipts::new(2, None);
        let all = [
            accepted(1, 5),
            accepted(1, 9),
            accepted(1, 7),
            accepted(2, 6),
        ];
        receipts.remember(&all);
        let subjects = [accepted(1, 0).subject, accepted(2, 0).subject];
        let (found, _) = receipts.find(&subjects).await;
        assert_eq!(found, [Some(accepted(1, 9)), Some(accepted(2, 6))]);
        receipts.remember(&[accepted(3, 1)]);
        let (found, _) = receipts.find(&subjects).await;
        assert_eq!(found, [None, Some(accepted(2, 6))]);
        assert_eq!((receipts.len(), receipts.dropped()), (2, 0));
    }

    #[test]
    fn an_id_takes_no_more_than_it_may() {
        for limit in [1_000, 500_000, 1_000_000] {
            let bytes = Newest::<Placed>::new(limit).bytes();
            assert!(bytes <= limit * 56, "{}", bytes / limit);
        }
    }
}
