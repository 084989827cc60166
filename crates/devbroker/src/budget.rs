//! The memory that requests and answers may take, over all connections.
//!
//! In: how many bytes one needs. Out: a [`Room`], given back when it is dropped. Small frames and
//! answers need none: the number of connections bounds them. Ordinary ones, up to about one batch,
//! share a part for requests, one for fetched records and one for all other answers. Larger ones
//! have a part in which there is only ever one of them.
//!
//! It promises that nobody waits for ever: whoever waits for room holds none of that part, and
//! whoever holds some while others wait must get on with it ([`Room::patience`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::config::BrokerConfig;

/// Frames and answers up to this size are not counted.
pub(crate) const SMALL: usize = 64 << 10;
/// Room for what stands around the one batch of an ordinary frame or answer.
const AROUND_A_BATCH: usize = 64 << 10;
/// Ordinary frames, and as many answers of either kind, that always fit.
const LEAST: usize = 8;
/// Bytes a permit stands for.
const PERMIT_BYTES: usize = 1 << 10;
/// How long a step of a transfer may take while others wait for its room.
const WANTED: Duration = Duration::from_secs(5);
/// What an element of an answer takes beside its strings, put together and encoded.
const ELEMENT_BYTES: usize = 192;
/// Decompressed bytes that one request may have read in search of records.
pub(crate) const DECODED: u64 = 64 << 20;
/// What a batch counts for beside its decompressed bytes: reading it, and making its decoder.
pub(crate) const BATCH_DECODED: u64 = 64 << 10;
/// How long a request waits for its turn to decode; then it does without.
const DECODING_WAIT: Duration = Duration::from_secs(5);

/// What is left of the memory for requests and answers.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: Arc<Part>,
    /// For what is fetched.
    records: Arc<Part>,
    /// For all other answers, which do not wait behind readers that are slow.
    others: Arc<Part>,
    /// A turn: one permit, whatever the size.
    large: Arc<Part>,
    /// The turn to decode batches: one request at a time, so that what decoders take is bounded.
    decoding: Arc<Semaphore>,
    ordinary: usize,
    largest: usize,
}

/// What may still go into an answer while it is put together.
#[derive(Debug)]
pub(crate) struct Left(pub(crate) usize);

/// What a request may still have decompressed, and its turn to do so.
#[derive(Debug)]
pub(crate) struct Decoding {
    pub(crate) left: u64,
    _turn: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Part {
    free: Arc<Semaphore>,
    /// How many wait for some of it.
    waiting: watch::Sender<usize>,
    stall: Duration,
}

/// Bytes that one may hold. Dropped when the buffer is.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    held: Option<(OwnedSemaphorePermit, Arc<Part>)>,
    stall: Duration,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        let ordinary = (config.max_message_bytes.saturating_add(AROUND_A_BATCH))
            .clamp(SMALL, config.max_frame_bytes.max(SMALL));
        let rest = config
            .max_buffered_bytes
            .saturating_sub(config.max_frame_bytes)
            .max(3 * LEAST * ordinary)
            - LEAST * ordinary;
        let part = |permits| Arc::new(Part::new(permits, config.stall_timeout));
        Self {
            requests: part(permits(rest / 2)),
            records: part(permits(rest / 2)),
            others: part(permits(LEAST * ordinary)),
            large: part(1),
            decoding: Arc::new(Semaphore::new(1)),
            ordinary,
            largest: config.max_frame_bytes,
        }
    }

    /// Frames and answers beyond this size come one at a time.
    pub(crate) fn ordinary(&self) -> usize {
        self.ordinary
    }

    /// Room for a small frame or answer: as much as there are connections.
    pub(crate) fn small(&self) -> Room {
        Room::small(self.large.stall)
    }

    /// Room for a frame of `length` bytes.
    pub(crate) async fn for_request(&self, length: usize) -> Room {
        if length <= SMALL {
            self.small()
        } else if length <= self.ordinary {
            Part::take(&self.requests, length).await
        } else {
            self.for_large().await
        }
    }

    /// Room for an ordinary answer that is not of records.
    pub(crate) async fn for_other(&self) -> Room {
        Part::take(&self.others, self.ordinary).await
    }

    /// Room for records of `wanted` bytes, or for less while little is left: never less than
    /// an ordinary one needs.
    pub(crate) async fn for_records(&self, wanted: usize) -> Room {
        if wanted <= SMALL {
            return self.small();
        }
        let fair = self.records.free.available_permits() / 2 * PERMIT_BYTES;
        let bytes = wanted.min(fair.max(self.ordinary));
        Part::take(&self.records, bytes).await
    }

    /// The turn for one frame or answer of the largest size.
    pub(crate) async fn for_large(&self) -> Room {
        let mut room = Part::take(&self.large, 1).await;
        room.bytes = self.largest;
        room
    }

    /// The turn for an answer with one batch of any size that came in a frame, and `around` it
    /// what else was asked for.
    pub(crate) async fn for_large_batch(&self, around: usize) -> Room {
        let mut room = self.for_large().await;
        room.bytes = self.largest.saturating_add(AROUND_A_BATCH + around);
        room
    }

    /// The turn to decode batches. While many want it, one that has waited long enough is to do
    /// without.
    pub(crate) async fn for_decoding(&self) -> Decoding {
        let turn = Arc::clone(&self.decoding).acquire_owned();
        match timeout(DECODING_WAIT, turn).await {
            Ok(Ok(turn)) => Decoding {
                left: DECODED,
                _turn: Some(turn),
            },
            Ok(Err(_)) | Err(_) => Decoding::none(),
        }
    }

    /// As [`Budget::for_large`], unless others have the turn.
    pub(crate) fn try_large(&self) -> Option<Room> {
        let permit = Arc::clone(&self.large.free).try_acquire_owned().ok()?;
        Some(Room::new(Some(permit), &self.large, self.largest))
    }
}

// === impl Left ===

impl Left {
    /// Room for one more element with strings of `bytes`, if it is left.
    pub(crate) fn take(&mut self, bytes: usize) -> Option<()> {
        // The strings stand in the answer, and once more in its frame.
        let taken = ELEMENT_BYTES.saturating_add(bytes.saturating_mul(2));
        self.0 = self.0.checked_sub(taken)?;
        Some(())
    }
}

// === impl Decoding ===

impl Decoding {
    /// Nothing may be decoded.
    pub(crate) fn none() -> Self {
        Self {
            left: 0,
            _turn: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        Self {
            left: DECODED,
            _turn: None,
        }
    }

    /// Whether one more batch may be decoded, which then counts.
    pub(crate) fn begin(&mut self) -> bool {
        let left = self.left.checked_sub(BATCH_DECODED);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

// === impl Part ===

impl Part {
    fn new(permits: usize, stall: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(permits)),
            waiting: watch::Sender::new(0),
            stall,
        }
    }

    async fn take(part: &Arc<Self>, bytes: usize) -> Room {
        let wanted = u32::try_from(permits(bytes)).unwrap_or(u32::MAX);
        let free = Arc::clone(&part.free);
        let permit = match Arc::clone(&free).try_acquire_many_owned(wanted) {
            Ok(permit) => Some(permit),
            Err(_) => {
                let _waiting = Waiting::new(&part.waiting);
                // Never closed.
                free.acquire_many_owned(wanted).await.ok()
            }
        };
        Room::new(permit, part, bytes)
    }
}

/// One that waits, counted as long as it does.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

// === impl Room ===

impl Room {
    /// Room for something small, which nobody waits for.
    pub(crate) fn small(stall: Duration) -> Self {
        Self {
            bytes: SMALL,
            held: None,
            stall,
        }
    }

    fn new(permit: Option<OwnedSemaphorePermit>, part: &Arc<Part>, bytes: usize) -> Self {
        Self {
            bytes,
            held: permit.map(|permit| (permit, Arc::clone(part))),
            stall: part.stall,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what an answer of `bytes` does not need.
    pub(crate) fn shrink_to(mut self, bytes: usize) -> Self {
        if bytes <= SMALL {
            return Self::small(self.stall);
        }
        if let Some((permit, _)) = &mut self.held {
            let spare = permit.num_permits().saturating_sub(permits(bytes));
            drop(permit.split(spare));
            self.bytes = self.bytes.min(bytes);
        }
        self
    }

    /// Ends when a step of a transfer that takes this room has taken too long: at the stall
    /// time-out, and much earlier while others wait for the room.
    pub(crate) async fn patience(&self) {
        let wanted = WANTED.min(self.stall);
        sleep(wanted).await;
        tokio::select! {
            () = self.wanted() => {}
            () = sleep(self.stall.saturating_sub(wanted)) => {}
        }
    }

    async fn wanted(&self) {
        match &self.held {
            None => std::future::pending().await,
            Some((_, part)) => {
                let mut waiting = part.waiting.subscribe();
                let _waits = waiting.wait_for(|count| *count > 0).await;
            }
        }
    }
}

/// Permits for this many bytes; one for a turn.
fn permits(bytes: usize) -> usize {
    bytes.div_ceil(PERMIT_BYTES).min(Semaphore::MAX_PERMITS)
}
