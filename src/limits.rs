//! How large things may be. The gateway holds these limits; the client holds to them.

/// Longest request id, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 128;
/// Longest record key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 128;
/// Most attributes of one record.
pub const MAX_ATTRIBUTES: usize = 32;
/// Longest name of an attribute, in bytes.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 64;
/// Longest value of an attribute, in bytes.
pub const MAX_ATTRIBUTE_VALUE_BYTES: usize = 1024;
/// Most destinations that one record names.
pub const MAX_DESTINATIONS: usize = 16;
/// Longest name of a destination, in bytes.
pub const MAX_DESTINATION_NAME_BYTES: usize = 63;
/// Largest encoded record, in bytes: below Kafka's default `message.max.bytes` of 1,048,588 by
/// more than the gateway and the log's own framing add.
pub const MAX_RECORD_BYTES: usize = 1_000_000;
/// Most records in one batch of `SyncDataStream`.
pub const MAX_BATCH_RECORDS: usize = 1_000;
/// Largest gRPC message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
