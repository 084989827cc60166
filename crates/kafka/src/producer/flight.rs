//! One batch on its way, and the table that leads from a record's delivery report to it.
//!
//! A record carries one number through librdkafka: the batch's place in the table and its own
//! place in the batch. So a record costs no allocation, no counter of references and no wake-up;
//! the batch costs one of each.

use super::room::Permit;
use super::{Position, ProduceError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Bits of the number that say which record of the batch it is.
const INDEX_BITS: u32 = 20;
const _: () = assert!(usize::BITS >= 64 && super::CHUNK < 1 << INDEX_BITS);

/// Neither acknowledged nor failed yet.
const PENDING: i64 = -1;
/// Failed; the reason lies in `failures`.
const FAILED: i64 = -2;

/// One batch on its way.
pub(crate) struct Flight {
    offsets: Box<[AtomicI64]>,
    left: AtomicUsize,
    failures: Mutex<Vec<(usize, ProduceError)>>,
    room: Mutex<Option<Permit>>,
    landed: Notify,
}

/// Where a flight is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

/// All flights of one native producer.
#[derive(Default)]
pub(crate) struct Flights {
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    flights: Vec<Option<Arc<Flight>>>,
    free: Vec<usize>,
}

// === impl Flight ===

impl Flight {
    fn new(records: usize, room: Permit) -> Self {
        Self {
            offsets: (0..records).map(|_| AtomicI64::new(PENDING)).collect(),
            left: AtomicUsize::new(records),
            failures: Mutex::default(),
            room: Mutex::new(Some(room)),
            landed: Notify::new(),
        }
    }

    /// The fate of record `index`. Returns true when it was the last one.
    fn settle(&self, index: usize, result: Result<i64, ProduceError>) -> bool {
        let Some(slot) = self.offsets.get(index) else {
            return false;
        };
        let value = match result {
            Ok(offset) => offset.max(0),
            Err(error) => {
                self.failures.lock().push((index, error));
                FAILED
            }
        };
        let first = slot.compare_exchange(PENDING, value, Ordering::Release, Ordering::Relaxed);
        let last = first.is_ok() && self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            self.room.lock().take();
            self.landed.notify_one();
        }
        last
    }

    /// Everything that is still open ends with `reason`.
    fn abort(&self, reason: &str) {
        for index in 0..self.offsets.len() {
            let open = self
                .offsets
                .get(index)
                .map(|slot| slot.load(Ordering::Acquire));
            if open == Some(PENDING) {
                self.settle(
                    index,
                    Err(ProduceError::Unavailable {
                        reason: reason.to_owned(),
                    }),
                );
            }
        }
    }

    /// Waits until every record has its fate. One waiter only.
    pub(super) async fn landed(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            self.landed.notified().await;
        }
    }

    /// The fate of every record, once [`Flight::landed`].
    pub(super) fn results(
        &self,
        topic: &Arc<str>,
        partitions: impl Iterator<Item = i32>,
        into: &mut Vec<Result<Position, ProduceError>>,
    ) {
        let mut failures = std::mem::take(&mut *self.failures.lock());
        failures.sort_by_key(|(index, _)| *index);
        let mut failures = failures.into_iter().peekable();
        for (index, (slot, partition)) in self.offsets.iter().zip(partitions).enumerate() {
            let failure = failures.next_if(|(of, _)| *of == index);
            let offset = slot.load(Ordering::Acquire);
            into.push(match failure {
                _ if offset >= 0 => Ok(Position {
                    topic: Arc::clone(topic),
                    partition,
                    offset,
                }),
                Some((_, error)) => Err(error),
                None => Err(ProduceError::Unavailable {
                    reason: "it was never answered".to_owned(),
                }),
            });
        }
    }
}

// === impl Ticket ===

impl Ticket {
    /// The number that record `index` carries.
    pub(crate) fn number(self, index: usize) -> usize {
        (self.0 << INDEX_BITS) | index
    }
}

// === impl Flights ===

impl Flights {
    /// Enters a flight of `records`.
    pub(crate) fn launch(&self, records: usize, room: Permit) -> (Arc<Flight>, Ticket) {
        let flight = Arc::new(Flight::new(records, room));
        let mut slots = self.slots.lock();
        let at = slots.free.pop().unwrap_or(slots.flights.len());
        if at == slots.flights.len() {
            slots.flights.push(None);
        }
        if let Some(slot) = slots.flights.get_mut(at) {
            *slot = Some(Arc::clone(&flight));
        }
        (flight, Ticket(at))
    }

    /// The fate of the record that carried `number`.
    pub(crate) fn report(&self, number: usize, result: Result<i64, ProduceError>) {
        let (at, index) = (number >> INDEX_BITS, number & ((1 << INDEX_BITS) - 1));
        let mut slots = self.slots.lock();
        let Some(Some(flight)) = slots.flights.get(at) else {
            return;
        };
        if flight.settle(index, result) {
            slots.remove(at);
        }
    }

    /// Everything that is still on its way ends with `reason`.
    pub(crate) fn abort(&self, reason: &str) {
        let flights = std::mem::take(&mut *self.slots.lock()).flights;
        for flight in flights.into_iter().flatten() {
            flight.abort(reason);
        }
    }
}

// === impl Slots ===

impl Slots {
    fn remove(&mut self, at: usize) {
        if let Some(slot) = self.flights.get_mut(at)
            && slot.take().is_some()
        {
            self.free.push(at);
        }
    }
}
