//! A place for objects that is asked again when it fails for a moment: one of a million reads always
//! does, and a comparison has no worker that would come back to it.
//!
//! In: the calls of a [`SegmentSink`]. Out: the same answers. Promises: only what reads is repeated, a
//! bounded number of times; what writes is tried once, and the comparison behind it tells.

use crate::deliver::Backoff;
use crate::sink::{Create, ErrorClass, Level, Replace, SegmentSink, SinkError, Version};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Attempts at what may pass by itself.
const ATTEMPTS: u32 = 8;
/// Attempts at a place that is away: somebody waits in front of the terminal.
const ATTEMPTS_AT_AN_OUTAGE: u32 = 3;

/// Reads again what failed for a moment.
#[derive(Debug)]
pub(super) struct Patient(pub(super) Arc<dyn SegmentSink>);

async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, SinkError>
where
    F: Future<Output = Result<T, SinkError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut attempt = 1;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let (attempts, after) = match error.class {
            ErrorClass::Transient => (ATTEMPTS, Duration::ZERO),
            ErrorClass::Throttled(after) => (ATTEMPTS, after),
            ErrorClass::Outage => (ATTEMPTS_AT_AN_OUTAGE, Duration::ZERO),
            ErrorClass::Denied | ErrorClass::Rejected => (1, Duration::ZERO),
        };
        if attempt >= attempts {
            return Err(error);
        }
        attempt += 1;
        tracing::debug!(error = %error.chain(), attempt, "reading again");
        sleep(backoff.next(rand::random(), after)).await;
    }
}

#[async_trait]
impl SegmentSink for Patient {
    fn is_conditional(&self) -> bool {
        self.0.is_conditional()
    }

    async fn create_if_absent(&self, name: &str, object: Bytes) -> Result<Create, SinkError> {
        self.0.create_if_absent(name, object).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, SinkError> {
        patiently(|| self.0.get(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        patiently(|| self.0.list(prefix)).await
    }

    async fn level(&self, prefix: &str) -> Result<Level, SinkError> {
        patiently(|| self.0.level(prefix)).await
    }

    async fn get_versioned(&self, name: &str) -> Result<Option<(Bytes, Version)>, SinkError> {
        patiently(|| self.0.get_versioned(name)).await
    }

    async fn replace(
        &self,
        name: &str,
        object: Bytes,
        version: &Version,
    ) -> Result<Replace, SinkError> {
        self.0.replace(name, object, version).await
    }

    async fn delete(&self, name: &str) -> Result<(), SinkError> {
        self.0.delete(name).await
    }
}
