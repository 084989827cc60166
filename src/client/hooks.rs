//! What a user may hang into a client: where calls belong in a trace, and what streams do.
//!
//! Both are traits and not types of a telemetry library, so that the client brings none.

use crate::v1::Rejection;
use std::fmt::Debug;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// A trace context as W3C Trace Context has it, <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// For example `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
    pub traceparent: String,
    /// What vendors add; may be empty.
    pub tracestate: String,
}

/// Tells which trace the caller is in.
pub trait TraceSource: Debug + Send + Sync {
    /// The context of the caller, on the thread and in the task that calls; `None`: no trace.
    fn current(&self) -> Option<TraceContext>;
}

/// Is told what streams do, from their tasks: it must not block, and a panic ends the stream.
/// Every method does nothing unless it is written.
pub trait ClientMetrics: Debug + Send + Sync {
    /// A stream is open.
    fn connected(&self) {}
    /// A stream could not be opened; another attempt follows, unless it gives up.
    fn not_connected(&self, reason: &str) {
        let _ = reason;
    }
    /// An open stream is over: at its end, or lost; then it is opened again if there is anything to
    /// send.
    fn disconnected(&self, reason: &str) {
        let _ = reason;
    }
    /// A batch goes on the wire; `again` of its `records` were there before.
    fn sent(&self, records: usize, bytes: usize, again: usize) {
        let _ = (records, bytes, again);
    }
    /// So many records are durable; `age` is the time since the first of them went on the wire.
    fn acked(&self, records: u64, age: Duration) {
        let _ = (records, age);
    }
    /// A record is refused for good.
    fn rejected(&self, rejection: &Rejection) {
        let _ = rejection;
    }
    /// So many records that a stream has taken up have no verdict now.
    fn unacknowledged(&self, records: usize) {
        let _ = records;
    }
}

// === impl TraceContext ===

impl TraceContext {
    /// Puts the context into the headers of a call; what is no header is left out, since a trace
    /// is never worth a record.
    pub(super) fn inject(&self, headers: &mut MetadataMap) {
        let parse = |text: &str| text.parse::<MetadataValue<Ascii>>().ok();
        if let Some(value) = parse(&self.traceparent) {
            headers.insert("traceparent", value);
        }
        if let Some(value) = parse(&self.tracestate).filter(|value| !value.is_empty()) {
            headers.insert("tracestate", value);
        }
    }
}
