//! How much may be on its way, and whose turn it is.
//!
//! In: batches that want to be queued. Out: a [`Turn`] for one at a time, a [`Permit`] for each of
//! its chunks. Promises: records and bytes stay below librdkafka's own limits, so that its queue
//! is never found full; batches go in whole, in the order in which they came.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this, since a semaphore counts in 32 bits.
const UNIT: usize = 1_024;

/// Room for records on their way.
pub(super) struct Room {
    door: Arc<Semaphore>,
    records: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    all_records: u32,
    all_units: u32,
}

/// Whoever holds it is the one that queues records.
pub(super) struct Turn {
    _door: Option<OwnedSemaphorePermit>,
}

/// Room taken by a batch; dropping it gives the room back.
pub(crate) struct Permit {
    _records: Option<OwnedSemaphorePermit>,
    _bytes: Option<OwnedSemaphorePermit>,
}

// === impl Room ===

impl Room {
    pub(super) fn new(records: u32, bytes: u32) -> Self {
        let units = units(usize::try_from(bytes).unwrap_or(usize::MAX));
        let semaphore = |permits: u32| {
            Arc::new(Semaphore::new(
                usize::try_from(permits).unwrap_or(Semaphore::MAX_PERMITS),
            ))
        };
        Self {
            door: semaphore(1),
            records: semaphore(records),
            bytes: semaphore(units),
            all_records: records,
            all_units: units,
        }
    }

    /// Most records, at most `wanted`, and most bytes that may enter together. A chunk takes at
    /// most half of the room, so that one can be filled while another is on its way.
    pub(super) fn chunk(&self, wanted: usize) -> (usize, usize) {
        let records = usize::try_from(self.all_records / 2).unwrap_or(usize::MAX);
        let bytes = usize::try_from(self.all_units / 2)
            .unwrap_or(usize::MAX)
            .saturating_mul(UNIT);
        (wanted.min(records).max(1), bytes)
    }

    /// Waits for the turn of a batch; the place in line is that of the first poll. The turn lasts
    /// until it is dropped, so that no other batch comes between two chunks of this one.
    pub(super) async fn turn(&self) -> Turn {
        // Never closed, as below.
        let door = Arc::clone(&self.door).acquire_owned().await.ok();
        Turn { _door: door }
    }

    /// Waits until there is room. More than all of it counts as all of it.
    pub(super) async fn enter(&self, records: usize, bytes: usize) -> Permit {
        let records = u32::try_from(records)
            .unwrap_or(u32::MAX)
            .min(self.all_records);
        let units = units(bytes).min(self.all_units);
        // Always in this order, so that two never wait for each other. The semaphores are never
        // closed; should one be, nothing is bounded by it any more, and nothing is lost.
        let records = Arc::clone(&self.records)
            .acquire_many_owned(records)
            .await
            .ok();
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(units).await.ok();
        Permit {
            _records: records,
            _bytes: bytes,
        }
    }

    /// Records on their way.
    pub(super) fn used(&self) -> usize {
        let all = usize::try_from(self.all_records).unwrap_or(usize::MAX);
        all.saturating_sub(self.records.available_permits())
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}
