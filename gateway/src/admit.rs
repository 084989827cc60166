//! Step 2 of the walk: how much may be under way at once.
//!
//! In: encoded records. Out: a [`Submission`] with its share of the gateway's limits, which is
//! held until its records are answered, and as long as the log has not answered for them, even if
//! the client has gone. Promises: records and bytes under way never pass the limits, over all
//! clients together; a single call is refused at once when they are reached, a
//! stream waits, so that its client is held back by flow control; a gateway that drains admits
//! nothing.

use crate::settings::GatewaySettings;
use bytes::Bytes;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use cloudsync_runtime::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long an overloaded gateway asks a client to wait.
const OVERLOAD_DELAY: Duration = Duration::from_millis(250);
/// How long a gateway that is stopping asks a client to wait.
const DRAINING_DELAY: Duration = Duration::from_secs(1);

/// The limits of one gateway.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    records: Limit,
    bytes: Limit,
    streams: Limit,
    bodies: Limit,
    uploads: Limit,
    shutdown: Shutdown,
}

/// Records that were admitted together, still encoded, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The encoded records.
    pub(crate) records: Vec<Bytes>,
    /// Places in `records` that hold no record, and why; ascending.
    pub(crate) malformed: Vec<(u32, Refusal)>,
    /// Goes with the records into the log.
    pub(crate) share: Arc<Share>,
}

/// A part of the limits, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _records: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// What a body holds of the memory for bodies, which is as much again as the limit for records;
/// given back when dropped.
#[derive(Debug)]
pub(crate) struct BodyShare {
    limit: Limit,
    held: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Debug)]
struct Limit {
    name: &'static str,
    total: usize,
    free: Arc<Semaphore>,
}

// === impl Admission ===

impl Admission {
    pub(crate) fn new(settings: &GatewaySettings, shutdown: Shutdown) -> Self {
        Self {
            records: Limit::new("max_in_flight_records", settings.max_in_flight_records),
            bytes: Limit::new("max_in_flight_bytes", settings.max_in_flight_bytes),
            streams: Limit::new("max_streams", settings.max_streams),
            bodies: Limit::new("max_in_flight_bytes", settings.max_in_flight_bytes),
            uploads: Limit::new("max_in_flight_bytes", settings.max_in_flight_bytes),
            shutdown,
        }
    }

    /// Admits a single record, or refuses it at once.
    pub(crate) fn record_now(&self, record: Bytes) -> Result<Submission, Refusal> {
        self.not_draining()?;
        let share = Share {
            _records: self.records.take_now(1)?,
            _bytes: self.bytes.take_now(record.len())?,
        };
        Ok(Submission {
            records: vec![record],
            malformed: Vec::new(),
            share: Arc::new(share),
        })
    }

    /// Admits the records of a stream, as soon as there is room. Cancel-safe.
    pub(crate) async fn records_in_turn(
        &self,
        records: Vec<Bytes>,
        malformed: Vec<(u32, Refusal)>,
    ) -> Result<Submission, Refusal> {
        let bytes = records.iter().map(Bytes::len).sum();
        let share = Share {
            _records: self.records.take(records.len()).await?,
            _bytes: self.bytes.take(bytes).await?,
        };
        Ok(Submission {
            records,
            malformed,
            share: Arc::new(share),
        })
    }

    /// Admits a stream, or refuses it at once. What is returned is held while it is open.
    pub(crate) fn stream_now(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.not_draining()?;
        self.streams.take_now(1)
    }

    /// The share of a body that is about to be read; it holds nothing yet.
    pub(crate) fn body(&self) -> BodyShare {
        BodyShare {
            limit: self.bodies.clone(),
            held: None,
        }
    }

    /// The share of an upload that holds up to `bytes` while it is open: what of it is not admitted
    /// yet, and what unpacking takes. Uploads together hold as much again as records; they have
    /// their own part, since they may last.
    pub(crate) fn upload_now(&self, bytes: usize) -> Result<BodyShare, Refusal> {
        let mut share = BodyShare {
            limit: self.uploads.clone(),
            held: None,
        };
        share.grow(bytes)?;
        Ok(share)
    }

    /// Records between admission and answer.
    pub(crate) fn records_in_flight(&self) -> u64 {
        self.records.taken()
    }

    /// Bytes of encoded records between admission and answer.
    pub(crate) fn bytes_in_flight(&self) -> u64 {
        self.bytes.taken()
    }

    /// Streams and uploads that are open.
    pub(crate) fn open_streams(&self) -> u64 {
        self.streams.taken()
    }

    fn not_draining(&self) -> Result<(), Refusal> {
        if self.shutdown.is_draining() {
            Err(draining())
        } else {
            Ok(())
        }
    }
}

/// What a gateway that is stopping answers.
pub(crate) fn draining() -> Refusal {
    Refusal::retryable(
        ErrorReason::Draining,
        DRAINING_DELAY,
        "the gateway is stopping; send again what it has not acknowledged, under the same ids",
    )
}

// === impl BodyShare ===

impl BodyShare {
    /// Makes room for `bytes` more, or refuses them at once: one who waited here would hold what
    /// others wait for. What is larger than the limit is taken alone.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.held.as_ref();
        let held = held.map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.min(self.limit.total.saturating_sub(held));
        let taken = self.limit.take_now(more)?;
        match &mut self.held {
            Some(held) => held.merge(taken),
            None => self.held = Some(taken),
        }
        Ok(())
    }
}

// === impl Limit ===

impl Limit {
    fn new(name: &'static str, total: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        Self {
            name,
            total,
            free: Arc::new(Semaphore::new(total)),
        }
    }

    fn taken(&self) -> u64 {
        self.total.saturating_sub(self.free.available_permits()) as u64
    }

    /// What `wanted` takes: never more than there is, so that the largest thing is admitted
    /// alone and not never.
    fn share_of(&self, wanted: usize) -> u32 {
        u32::try_from(wanted.min(self.total)).unwrap_or(u32::MAX)
    }

    fn take_now(&self, wanted: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let share = self.share_of(wanted);
        Arc::clone(&self.free)
            .try_acquire_many_owned(share)
            .map_err(|_| self.overloaded())
    }

    async fn take(&self, wanted: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let share = self.share_of(wanted);
        // The semaphore is never closed; were it, "too much" is what the client may be told.
        Arc::clone(&self.free)
            .acquire_many_owned(share)
            .await
            .map_err(|_| self.overloaded())
    }

    fn overloaded(&self) -> Refusal {
        let Self { name, total, .. } = self;
        Refusal::retryable(
            ErrorReason::Overloaded,
            OVERLOAD_DELAY,
            format!("the gateway is at gateway.{name} = {total}; send it again a little later"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(records: usize, bytes: usize) -> Admission {
        let settings = GatewaySettings {
            max_in_flight_records: records,
            max_in_flight_bytes: bytes,
            ..GatewaySettings::default()
        };
        Admission::new(&settings, Shutdown::new())
    }

    #[tokio::test]
    async fn a_single_call_is_refused_and_a_stream_waits() {
        let admission = admission(2, 100);
        let first = admission.record_now(Bytes::from_static(&[0; 60])).unwrap();
        let refusal = admission
            .record_now(Bytes::from_static(&[0; 60]))
            .unwrap_err();
        assert_eq!(refusal.reason, ErrorReason::Overloaded);
        assert!(
            refusal
                .message
                .contains("gateway.max_in_flight_bytes = 100")
        );
        let records = vec![Bytes::from_static(&[0; 60]); 2];
        let mut second = std::pin::pin!(admission.records_in_turn(records, Vec::new()));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        second.await.unwrap();
        // A refused call has given back what it had taken.
        admission.record_now(Bytes::from_static(&[0; 100])).unwrap();
    }

    #[tokio::test]
    async fn what_is_larger_than_the_limit_is_admitted_alone() {
        let admission = admission(1, 10);
        let batch = vec![Bytes::from_static(&[0; 60]); 8];
        let held = admission.records_in_turn(batch, Vec::new()).await.unwrap();
        assert!(admission.record_now(Bytes::new()).is_err());
        drop(held);
        admission.record_now(Bytes::new()).unwrap();
    }

    #[test]
    fn bodies_share_their_memory() {
        let admission = admission(1, 100);
        let (mut first, mut second) = (admission.body(), admission.body());
        first.grow(40).unwrap();
        second.grow(60).unwrap();
        let refusal = first.grow(1).unwrap_err();
        assert_eq!(refusal.reason, ErrorReason::Overloaded);
        drop(second);
        // Larger than the limit, and alone.
        first.grow(1_000).unwrap();
        assert!(admission.body().grow(1).is_err());
        drop(first);
        admission.body().grow(100).unwrap();
    }

    #[test]
    fn nothing_is_admitted_while_draining() {
        let admission = admission(2, 100);
        admission.shutdown.drain();
        assert_eq!(
            admission.record_now(Bytes::new()).unwrap_err().reason,
            ErrorReason::Draining
        );
        assert_eq!(
            admission.stream_now().unwrap_err().reason,
            ErrorReason::Draining
        );
    }
}
