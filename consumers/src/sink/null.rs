//! `null://`: takes everything and keeps nothing, so in `batch` mode nothing is written or packed
//! for it either. For measuring what comes before; the tally of what arrived is in
//! [`crate::Counters::tally`].

use super::{Create, Level, Replace, SegmentSink, SinkError, Version};
use async_trait::async_trait;
use bytes::Bytes;

/// Every create succeeds, nothing is ever found.
#[derive(Debug)]
pub(super) struct NullSink;

#[async_trait]
impl SegmentSink for NullSink {
    fn is_conditional(&self) -> bool {
        false
    }

    async fn create_if_absent(&self, _name: &str, _object: Bytes) -> Result<Create, SinkError> {
        Ok(Create::Created)
    }

    async fn get(&self, _name: &str) -> Result<Option<Bytes>, SinkError> {
        Ok(None)
    }

    async fn list(&self, _prefix: &str) -> Result<Vec<String>, SinkError> {
        Ok(Vec::new())
    }

    async fn level(&self, _prefix: &str) -> Result<Level, SinkError> {
        Ok(Level::default())
    }

    async fn get_versioned(&self, _name: &str) -> Result<Option<(Bytes, Version)>, SinkError> {
        Ok(None)
    }

    async fn replace(
        &self,
        _name: &str,
        _object: Bytes,
        _version: &Version,
    ) -> Result<Replace, SinkError> {
        Ok(Replace::Changed)
    }

    async fn delete(&self, _name: &str) -> Result<(), SinkError> {
        Ok(())
    }
}
