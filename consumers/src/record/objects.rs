//! A place for objects, taking records: each becomes an object under its own name, and a name that
//! is taken is compared.

use super::object::{self, Found};
use crate::sink::{
    Applied, Create, ErrorClass, Idempotence, Outgoing, RecordSink, SegmentSink, SinkError,
};
use async_trait::async_trait;
use cloudsync_kafka::Receipt;
use std::sync::Arc;
use std::time::Duration;

/// The objects below one prefix.
#[derive(Debug)]
pub(crate) struct ObjectRecords {
    sink: Arc<dyn SegmentSink>,
}

// === impl ObjectRecords ===

impl ObjectRecords {
    pub(crate) fn new(sink: Arc<dyn SegmentSink>) -> Self {
        Self { sink }
    }
}

#[async_trait]
impl RecordSink for ObjectRecords {
    fn idempotence(&self) -> Idempotence {
        if self.sink.is_conditional() {
            Idempotence::Conditional
        } else {
            Idempotence::Plain
        }
    }

    async fn apply(&self, record: &Outgoing<'_>, _limit: Duration) -> Result<Applied, SinkError> {
        let (name, body) = object::of(record);
        let name = name.to_string();
        if self.sink.create_if_absent(&name, body).await? == Create::Created {
            return Ok(Applied::Created(Receipt::new(name)));
        }
        let Some(body) = self.sink.get(&name).await? else {
            let action = format!("compare {name}");
            let gone = "it was there and is gone";
            return Err(SinkError::new(ErrorClass::Transient, action, gone));
        };
        Ok(match object::compare(record.named, &body) {
            Found::Same { offset } => {
                let receipt = Receipt::new(name);
                Applied::AlreadyThere { offset, receipt }
            }
            Found::Conflict(why) => Applied::Conflict(why),
            Found::Damaged(why) => Applied::Damaged(format!("damaged_object: {name}: {why}")),
        })
    }
}
