//! A record as undecoded bytes.
//!
//! In: the bytes of one encoded `SyncRecord`. Out: a [`RecordView`] that borrows from them, or
//! the reason why they are none. The gateway and the consumers see every record through this one
//! walk; nobody decodes it into owned fields, so a record in a batch costs a few nanoseconds
//! where prost's decoder costs half a microsecond.
//!
//! Promises: every top-level field is visited; a single field sent twice, a wrong wire type, a
//! broken length and text that is not UTF-8 are refused; fields of later versions are passed
//! over. What the walk accepts, prost decodes to the same values (a property test holds it).

use bytes::Bytes;
use std::fmt;

mod fields;
pub use fields::{Attributes, Destinations};
use fields::{Cursor, Value};

/// One message of `SyncData`. `record` holds exactly one encoded `SyncRecord`; it is a list only
/// so that a message with none or with two can be refused.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SyncDataRequest {
    /// The encoded record.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub record: Vec<Bytes>,
}

/// One batch of `SyncDataStream`: encoded `SyncRecord`s.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SyncDataStreamRequest {
    /// The encoded records.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub records: Vec<Bytes>,
}

/// The one message of `SyncRecord`; see [`SyncDataRequest`] for why it is a list.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SyncRecordRequest {
    /// The encoded record.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub record: Vec<Bytes>,
}

/// Numbers of the fields of `SyncRecord`.
mod tag {
    pub(super) const REQUEST_ID: u32 = 1;
    pub(super) const KEY: u32 = 2;
    pub(super) const PAYLOAD: u32 = 3;
    pub(super) const CONTENT_TYPE: u32 = 4;
    pub(super) const CREATE_TIME: u32 = 5;
    pub(super) const ATTRIBUTES: u32 = 6;
    pub(super) const DESTINATIONS: u32 = 7;
    pub(super) const TENANT: u32 = 14;
    pub(super) const ACCEPT_TIME: u32 = 15;
}

/// A record, seen in place.
#[derive(Clone, Copy, Default)]
pub struct RecordView<'a> {
    /// The whole encoded record.
    pub encoded: &'a [u8],
    /// Names the intended effect; may be empty in what a client sends.
    pub request_id: &'a str,
    /// The record key; may be empty.
    pub key: &'a str,
    /// The data.
    pub payload: &'a [u8],
    /// Its media type; may be empty.
    pub content_type: &'a str,
    /// When the client made the record.
    pub create_time: Option<Time>,
    /// Number of attributes.
    pub attribute_count: usize,
    /// Number of destinations named; 0 means all.
    pub destination_count: usize,
    /// The tenant; empty in what a client sends.
    pub tenant: &'a str,
    /// When the gateway accepted the record.
    pub accept_time: Option<Time>,
    /// A field is present that the gateway alone sets.
    pub has_gateway_fields: bool,
}

/// A point in time, as `google.protobuf.Timestamp` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds of the second, 0 to 999,999,999.
    pub nanos: i32,
}

/// Why bytes are not a record. `at` is the offset of the fault in the encoded record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field, or a length or number is broken.
    #[error("broken encoding at byte {at}")]
    Broken {
        /// Where.
        at: usize,
    },
    /// A known field has another wire type than the contract says.
    #[error("field {field} at byte {at} has the wrong wire type")]
    WrongType {
        /// The field's name in the contract.
        field: &'static str,
        /// Where.
        at: usize,
    },
    /// A single field stands twice.
    #[error("field {field} stands twice, again at byte {at}")]
    Repeated {
        /// The field's name in the contract.
        field: &'static str,
        /// Where its second value lies.
        at: usize,
    },
    /// A text field is not UTF-8.
    #[error("field {field} at byte {at} is not UTF-8")]
    NotUtf8 {
        /// The field's name in the contract.
        field: &'static str,
        /// Where.
        at: usize,
    },
}

// === impl RecordView ===

impl<'a> RecordView<'a> {
    /// Walks over `encoded` once.
    ///
    /// # Errors
    /// [`WireError`], when the bytes are not one encoded `SyncRecord`.
    pub fn parse(encoded: &'a [u8]) -> Result<Self, WireError> {
        let mut view = Self {
            encoded,
            ..Self::default()
        };
        let mut cursor = Cursor::new(encoded);
        while let Some((number, value, at)) = cursor.next_field()? {
            view.take(number, value, at)?;
        }
        Ok(view)
    }

    fn take(&mut self, number: u32, value: Value<'a>, at: usize) -> Result<(), WireError> {
        match number {
            tag::REQUEST_ID => set_text(&mut self.request_id, "request_id", value, at),
            tag::KEY => set_text(&mut self.key, "key", value, at),
            tag::PAYLOAD => {
                if !self.payload.is_empty() {
                    return Err(WireError::Repeated {
                        field: "payload",
                        at,
                    });
                }
                self.payload = value.bytes("payload", at)?;
                Ok(())
            }
            tag::CONTENT_TYPE => set_text(&mut self.content_type, "content_type", value, at),
            tag::CREATE_TIME => set_time(&mut self.create_time, "create_time", value, at),
            tag::ATTRIBUTES => {
                fields::attribute(value.bytes("attributes", at)?, at)?;
                self.attribute_count += 1;
                Ok(())
            }
            tag::DESTINATIONS => {
                value.text("destinations", at)?;
                self.destination_count += 1;
                Ok(())
            }
            tag::TENANT => {
                self.has_gateway_fields = true;
                set_text(&mut self.tenant, "tenant", value, at)
            }
            tag::ACCEPT_TIME => {
                self.has_gateway_fields = true;
                set_time(&mut self.accept_time, "accept_time", value, at)
            }
            _ => Ok(()),
        }
    }

    /// What decides the partition: the key, else the request id.
    #[must_use]
    pub fn partition_key(&self) -> &'a str {
        if self.key.is_empty() {
            self.request_id
        } else {
            self.key
        }
    }

    /// Its attributes, as they stand (a name may occur twice; the last one counts).
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.encoded)
    }

    /// The destinations that it names; none means all.
    #[must_use]
    pub fn destinations(&self) -> Destinations<'a> {
        Destinations::new(self.encoded)
    }

    /// Whether `destination` shall receive the record.
    #[must_use]
    pub fn is_addressed_to(&self, destination: &str) -> bool {
        self.destination_count == 0 || self.destinations().any(|name| name == destination)
    }
}

impl fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the payload: a record's data has no place in a log line.
        f.debug_struct("RecordView")
            .field("request_id", &self.request_id)
            .field("key", &self.key)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

fn set_text<'a>(
    slot: &mut &'a str,
    field: &'static str,
    value: Value<'a>,
    at: usize,
) -> Result<(), WireError> {
    // An empty value in front does not count: it says the same as none at all.
    if !slot.is_empty() {
        return Err(WireError::Repeated { field, at });
    }
    *slot = value.text(field, at)?;
    Ok(())
}

fn set_time(
    slot: &mut Option<Time>,
    field: &'static str,
    value: Value<'_>,
    at: usize,
) -> Result<(), WireError> {
    if slot.is_some() {
        return Err(WireError::Repeated { field, at });
    }
    *slot = Some(fields::time(value.bytes(field, at)?, field, at)?);
    Ok(())
}

// === what the gateway adds ===

/// What the gateway adds behind every record of a submission, encoded once: the tenant and the time
/// of acceptance.
#[derive(Clone, Debug)]
pub struct GatewayFields {
    encoded: Vec<u8>,
}

/// `record` as it goes into the log; see [`GatewayFields::append`].
#[must_use]
pub fn with_gateway_fields(
    record: &[u8],
    assigned_request_id: Option<&str>,
    tenant: &str,
    accept_time: Time,
) -> Bytes {
    let mut out = Vec::with_capacity(record.len() + GatewayFields::MOST);
    GatewayFields::new(tenant, accept_time).append(&mut out, record, assigned_request_id);
    out.into()
}

// === impl GatewayFields ===

impl GatewayFields {
    /// About what is added to a record at most, in bytes, with a usual tenant and a made-up id.
    pub const MOST: usize = 128;

    /// The fields of records of `tenant` that were accepted at `accept_time`.
    #[must_use]
    pub fn new(tenant: &str, accept_time: Time) -> Self {
        let mut encoded = Vec::with_capacity(tenant.len() + 32);
        fields::put_bytes(&mut encoded, tag::TENANT, tenant.as_bytes());
        fields::put_time(&mut encoded, tag::ACCEPT_TIME, accept_time);
        Self { encoded }
    }

    /// Appends `record` as the client sent it, and behind it the request id if the gateway made
    /// one, and these fields.
    pub fn append(&self, out: &mut Vec<u8>, record: &[u8], assigned_request_id: Option<&str>) {
        out.extend_from_slice(record);
        if let Some(id) = assigned_request_id {
            fields::put_bytes(out, tag::REQUEST_ID, id.as_bytes());
        }
        out.extend_from_slice(&self.encoded);
    }
}

#[cfg(test)]
mod tests;
