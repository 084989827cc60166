//! One batch on its way, and the table that leads from a record's delivery report to it.
//!
//! In: a delivery report for each record. Out: the fate of all, told once. Promises: what the
//! flight holds, room and share, is given back when the last record has its fate, and not before.
//!
//! A record carries one number through librdkafka: the batch's place in the table and its own
//! place in the batch. So a record costs no allocation, no counter of references and no wake-up;
//! the batch costs one of each.

use super::room::Permit;
use super::{ProduceError, Produced};
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
/// Acknowledged, and the log has not said where it lies.
const UNPLACED: i64 = -3;

/// One batch on its way.
pub(crate) struct Flight {
    offsets: Box<[AtomicI64]>,
    left: AtomicUsize,
    failures: Mutex<Vec<(usize, ProduceError)>>,
    /// `None` once it has landed.
    held: Mutex<Option<Held>>,
    landed: Notify,
}

/// What a flight holds until each of its records has its fate, whoever waits for it or not. The
/// room goes first: who is admitted because the share is free must find room.
pub(crate) struct Held {
    pub(super) _room: Permit,
    pub(super) _share: Option<Share>,
}

/// What a caller wants to be held as long as its records are on their way. Dropping it must
/// neither block nor produce.
pub(crate) type Share = Arc<dyn Send + Sync>;

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
    fn new(records: usize, held: Held) -> Self {
        Self {
            offsets: (0..records).map(|_| AtomicI64::new(PENDING)).collect(),
            left: AtomicUsize::new(records),
            failures: Mutex::default(),
            held: Mutex::new(Some(held)),
            landed: Notify::new(),
        }
    }

    /// The fate of record `index`: the offset, if it is known. Returns true when it was the last.
    fn settle(&self, index: usize, result: Result<Option<i64>, ProduceError>) -> bool {
        let Some(slot) = self.offsets.get(index) else {
            return false;
        };
        let value = match result {
            Ok(offset) => offset.filter(|offset| *offset >= 0).unwrap_or(UNPLACED),
            Err(error) => {
                self.failures.lock().push((index, error));
                FAILED
            }
        };
        let first = slot.compare_exchange(PENDING, value, Ordering::Release, Ordering::Relaxed);
        first.is_ok() && self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Every record has its fate.
    fn land(&self) {
        *self.held.lock() = None;
        self.landed.notify_one();
    }

    /// Everything that is still open ends with `reason`.
    fn abort(&self, reason: &str) {
        for (index, slot) in self.offsets.iter().enumerate() {
            if slot.load(Ordering::Acquire) != PENDING {
                continue;
            }
            let error = ProduceError::Unavailable {
                reason: reason.to_owned(),
            };
            if self.settle(index, Err(error)) {
                self.land();
            }
        }
    }

    /// Waits until every record has its fate. One waiter only.
    pub(super) async fn landed(&self) {
        while self.held.lock().is_some() {
            self.landed.notified().await;
        }
    }

    /// The fate of every record, once [`Flight::landed`].
    pub(super) fn results(&self, into: &mut Vec<Produced>) {
        let mut failures = std::mem::take(&mut *self.failures.lock());
        failures.sort_by_key(|(index, _)| *index);
        let mut failures = failures.into_iter().peekable();
        for (index, slot) in self.offsets.iter().enumerate() {
            let failure = failures.next_if(|(of, _)| *of == index);
            let offset = slot.load(Ordering::Acquire);
            into.push(match failure {
                _ if offset >= 0 => Ok(Some(offset)),
                _ if offset == UNPLACED => Ok(None),
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
    pub(crate) fn launch(&self, records: usize, held: Held) -> (Arc<Flight>, Ticket) {
        let flight = Arc::new(Flight::new(records, held));
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
    pub(crate) fn report(&self, number: usize, result: Result<Option<i64>, ProduceError>) {
        let (at, index) = (number >> INDEX_BITS, number & ((1 << INDEX_BITS) - 1));
        let landed = {
            let mut slots = self.slots.lock();
            match slots.flights.get(at) {
                Some(Some(flight)) if flight.settle(index, result) => slots.remove(at),
                _ => None,
            }
        };
        if let Some(flight) = landed {
            flight.land();
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
    fn remove(&mut self, at: usize) -> Option<Arc<Flight>> {
        let flight = self.flights.get_mut(at)?.take()?;
        self.free.push(at);
        Some(flight)
    }
}
