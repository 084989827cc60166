//! What a client is told.
//!
//! In: an endpoint and limits. Out: limits that hold: every number is checked before the first
//! connection.

use super::{ClientError, ClientMetrics, TraceContext, TraceSource};
use crate::limits::{MAX_BATCH_RECORDS, MAX_MESSAGE_BYTES};
use std::sync::Arc;
use std::time::Duration;

/// What a message adds to its records, rounded up.
const FRAME_BYTES: usize = 64 * 1024;
/// Largest sum of encoded records that one message holds.
pub(super) const MAX_BATCH_BYTES: usize = MAX_MESSAGE_BYTES - FRAME_BYTES;

/// The longest that any of the times below may be.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How a client sends. [`ClientSettings::to`] has the defaults. A time of more than a year counts as
/// a year.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where the gateway listens, for example `http://127.0.0.1:50051`. There is no TLS yet, so
    /// `https://` is refused.
    pub endpoint: String,
    /// Most records of one stream without a verdict, at least 1; beyond them sending waits.
    /// Default 10,000.
    pub window_records: usize,
    /// Most bytes of one stream without a verdict, 1 to 4,294,967,295, likewise; a larger record is
    /// sent alone. Default 32 MiB.
    pub window_bytes: usize,
    /// Most records of one batch, 1 to 1,000. Default 256.
    pub batch_records: usize,
    /// Most bytes of the records of one batch, 1 to 4,128,768; a larger record is a batch of its
    /// own. Default 1 MiB.
    pub batch_bytes: usize,
    /// Longest wait to fill a batch. Default 1 ms.
    pub linger: Duration,
    /// Longest time to open a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Streams that share a connection, 1 to 256, and no more than the gateway's
    /// `max_streams_per_connection` (128): those beyond it would wait for others to end. Default 32.
    pub streams_per_connection: usize,
    /// First wait before connecting again; it doubles, with full jitter. Default 50 ms.
    pub backoff_start: Duration,
    /// Longest such wait, unless the gateway asks for more. Default 5 s.
    pub backoff_limit: Duration,
    /// Ends a stream with [`ClientError::GaveUp`] when nothing got a verdict for so long, or one
    /// record was refused for now for so long. Default 5 min.
    pub give_up_after: Duration,
    /// Longest time of [`Client::send_one`](super::Client::send_one), all attempts together.
    /// Default 30 s.
    pub deadline: Duration,
    /// Asked for the caller's trace context at every call and every new stream. Default none.
    pub trace: Option<Arc<dyn TraceSource>>,
    /// Told about everything that streams do. Default none.
    pub metrics: Option<Arc<dyn ClientMetrics>>,
}

// === impl ClientSettings ===

impl ClientSettings {
    /// The defaults, sending to `endpoint`.
    #[must_use]
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            window_records: 10_000,
            window_bytes: 32 * 1024 * 1024,
            batch_records: 256,
            batch_bytes: 1024 * 1024,
            linger: Duration::from_millis(1),
            connect_timeout: Duration::from_secs(5),
            streams_per_connection: 32,
            backoff_start: Duration::from_millis(50),
            backoff_limit: Duration::from_secs(5),
            give_up_after: Duration::from_secs(300),
            deadline: Duration::from_secs(30),
            trace: None,
            metrics: None,
        }
    }

    /// These settings, with times that can be added to any moment.
    pub(super) fn bounded(mut self) -> Self {
        for time in [
            &mut self.linger,
            &mut self.connect_timeout,
            &mut self.backoff_start,
            &mut self.backoff_limit,
            &mut self.give_up_after,
            &mut self.deadline,
        ] {
            *time = LONGEST.min(*time);
        }
        self
    }

    /// The trace that the caller is in.
    pub(super) fn trace_context(&self) -> Option<TraceContext> {
        self.trace.as_ref()?.current()
    }

    pub(super) fn validate(&self) -> Result<(), ClientError> {
        let any = usize::MAX;
        let numbers = [
            ("window_records", self.window_records, any),
            ("window_bytes", self.window_bytes, u32::MAX as usize),
            ("batch_records", self.batch_records, MAX_BATCH_RECORDS),
            ("batch_bytes", self.batch_bytes, MAX_BATCH_BYTES),
            ("streams_per_connection", self.streams_per_connection, 256),
        ];
        for (name, value, most) in numbers {
            if value == 0 || value > most {
                let range = if most == any {
                    "at least 1".to_owned()
                } else {
                    format!("1 to {most}")
                };
                return Err(ClientError::Setting { name, value, range });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_its_range_is_named() {
        let settings = ClientSettings {
            batch_records: 1_001,
            ..ClientSettings::to("http://127.0.0.1:1")
        };
        let text = settings.validate().unwrap_err().to_string();
        assert_eq!(text, "batch_records is 1001, but must be 1 to 1000");
        let settings = ClientSettings {
            window_bytes: 0,
            ..ClientSettings::to("http://127.0.0.1:1")
        };
        let text = settings.validate().unwrap_err().to_string();
        assert_eq!(text, "window_bytes is 0, but must be 1 to 4294967295");
    }
}
