//! One file a request (or family): decoded request in, response out.
//!
//! Error codes and their meaning are Kafka's:
//! <https://kafka.apache.org/protocol#protocol_error_codes>.

pub(crate) mod cluster;
pub(crate) mod configs;
pub(crate) mod delete_records;
pub(crate) mod fetch;
pub(crate) mod groups;
pub(crate) mod init_producer;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod next_groups;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod tools;
pub(crate) mod topic_configs;
pub(crate) mod topics;

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// The only node there is.
pub(crate) const NODE_ID: i32 = 1;

/// "No error", as a code.
pub(crate) const OK: i16 = 0;

/// A string for the wire.
pub(crate) fn text(value: impl Into<String>) -> StrBytes {
    StrBytes::from_string(value.into())
}

/// The code of an outcome.
pub(crate) fn code<T>(result: &Result<T, ResponseError>) -> i16 {
    result.as_ref().map_or_else(ResponseError::code, |_| OK)
}
