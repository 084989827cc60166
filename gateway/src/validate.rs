//! Step 3 of the walk: what is a record, and where does it go.
//!
//! In: a submission. Out: each of its records as a [`Record`] that goes into the log, or [`Refused`];
//! every one is exactly one of the two, under its place. Promises: what passes keeps to every limit of
//! the contract, names only destinations that exist, carries no field that the gateway sets, and has
//! an id; the payload is never touched. A refusal names the field, its length, the limit and the way
//! out.

use crate::admit::Submission;
use crate::settings::{GatewaySettings, MissingId};
use bytes::Bytes;
use cloudsync::limits;
use cloudsync::partition::partition_of;
use cloudsync::reason::Refusal;
use cloudsync::wire::{GatewayFields, RecordView, Time};
use cloudsync::{DEFAULT_TENANT, ErrorReason};
use std::ops::Range;
use uuid::Uuid;

/// The rules of one gateway.
#[derive(Clone, Debug)]
pub(crate) struct Validator {
    max_record_bytes: usize,
    missing_id: MissingId,
    destinations: Vec<String>,
    partitions: u32,
}

/// A record as it goes into the log.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Its place in the submission.
    pub(crate) index: u32,
    /// Where it goes.
    pub(crate) partition: i32,
    /// What decided that: the record key, else the request id. Where it lies in [`Judged::bytes`].
    pub(crate) key: Range<usize>,
    /// The encoded record with what the gateway added. Where it lies there.
    pub(crate) value: Range<usize>,
    /// The id that the gateway made for it.
    pub(crate) assigned_id: Option<String>,
}

/// A record that does not go into the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its place in the submission.
    pub(crate) index: u32,
    /// Its request id, as far as it could be read.
    pub(crate) request_id: String,
    /// Why.
    pub(crate) refusal: Refusal,
}

/// The records of one submission, judged, each kind in the order of the submission.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// The encoded records, side by side: a submission costs one buffer.
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: Vec<Record>,
    pub(crate) refused: Vec<Refused>,
}

// === impl Validator ===

impl Validator {
    pub(crate) fn new(
        settings: &GatewaySettings,
        destinations: Vec<String>,
        partitions: u32,
    ) -> Self {
        let GatewaySettings {
            max_record_bytes,
            missing_id,
            ..
        } = *settings;
        Self {
            max_record_bytes,
            missing_id,
            destinations,
            partitions,
        }
    }

    /// Judges every record of `submission`; those that pass were accepted at `accept_time`.
    pub(crate) fn submission(&self, submission: &Submission, accept_time: Time) -> Judged {
        let count = submission.records.len();
        let bytes: usize = submission.records.iter().map(Bytes::len).sum();
        let mut judged = Judged {
            bytes: Vec::with_capacity(bytes + count * GatewayFields::MOST),
            records: Vec::with_capacity(count),
            refused: Vec::new(),
        };
        let added = GatewayFields::new(DEFAULT_TENANT, accept_time);
        let mut malformed = submission.malformed.iter().peekable();
        for (index, encoded) in (0u32..).zip(&submission.records) {
            if let Some((_, refusal)) = malformed.next_if(|(at, _)| *at == index) {
                let refusal = refusal.clone();
                judged.refused.push(Refused {
                    index,
                    request_id: String::new(),
                    refusal,
                });
                continue;
            }
            match self.record(index, encoded, &added, &mut judged.bytes) {
                Ok(record) => judged.records.push(record),
                Err(refused) => judged.refused.push(refused),
            }
        }
        judged
    }

    /// Judges the record at place `index` of its submission; one that passes is appended to `bytes`
    /// with what is `added`.
    fn record(
        &self,
        index: u32,
        encoded: &[u8],
        added: &GatewayFields,
        bytes: &mut Vec<u8>,
    ) -> Result<Record, Refused> {
        let no_id = |refusal| Refused {
            index,
            request_id: String::new(),
            refusal,
        };
        if encoded.len() > self.max_record_bytes {
            return Err(no_id(too_large(encoded.len(), self.max_record_bytes)));
        }
        let view = RecordView::parse(encoded).map_err(|error| {
            no_id(Refusal::permanent(
                ErrorReason::MalformedRecord,
                format!("not a SyncRecord: {error}"),
            ))
        })?;
        let assigned_id = self
            .check(&view)
            .and_then(|()| self.assign_id(&view))
            .map_err(|refusal| Refused {
                index,
                request_id: readable(view.request_id),
                refusal,
            })?;
        let start = bytes.len();
        added.append(bytes, encoded, assigned_id.as_deref());
        let value = start..bytes.len();
        let (partition, key) = match &assigned_id {
            Some(id) if view.key.is_empty() => {
                // The id stands once more behind the record, where its place is known.
                bytes.extend_from_slice(id.as_bytes());
                (
                    partition_of(id.as_bytes(), self.partitions),
                    value.end..bytes.len(),
                )
            }
            _ => {
                let key = view.partition_key();
                let place = start + key.as_ptr().addr() - encoded.as_ptr().addr();
                (
                    partition_of(key.as_bytes(), self.partitions),
                    place..place + key.len(),
                )
            }
        };
        Ok(Record {
            index,
            partition,
            key,
            value,
            assigned_id,
        })
    }

    fn check(&self, view: &RecordView<'_>) -> Result<(), Refusal> {
        if view.has_gateway_fields {
            return Err(Refusal::of_field(
                ErrorReason::GatewayOwnedField,
                "record.tenant",
                "tenant and accept_time are set by the gateway; leave them out",
            ));
        }
        longest(
            "record.request_id",
            view.request_id.len(),
            limits::MAX_REQUEST_ID_BYTES,
        )?;
        longest("record.key", view.key.len(), limits::MAX_KEY_BYTES)?;
        longest(
            "record.content_type",
            view.content_type.len(),
            limits::MAX_CONTENT_TYPE_BYTES,
        )?;
        if view.attribute_count > 0 {
            check_attributes(view)?;
        }
        if view.destination_count > 0 {
            self.check_destinations(view)?;
        }
        Ok(())
    }

    fn check_destinations(&self, view: &RecordView<'_>) -> Result<(), Refusal> {
        most(
            "record.destinations",
            view.destination_count,
            limits::MAX_DESTINATIONS,
        )?;
        for name in view.destinations() {
            if !self.destinations.iter().any(|known| known == name) {
                let known = self.destinations.join(", ");
                let name: String = name
                    .chars()
                    .take(limits::MAX_DESTINATION_NAME_BYTES)
                    .collect();
                return Err(Refusal::of_field(
                    ErrorReason::UnknownDestination,
                    "record.destinations",
                    format!("destination {name:?} does not exist here; there are: {known}"),
                ));
            }
        }
        Ok(())
    }

    /// The id that the record gets, if it has none.
    fn assign_id(&self, view: &RecordView<'_>) -> Result<Option<String>, Refusal> {
        if !view.request_id.is_empty() {
            return Ok(None);
        }
        match self.missing_id {
            MissingId::Generate => Ok(Some(Uuid::now_v7().to_string())),
            MissingId::Content => Ok(Some(content_id(view))),
            MissingId::Reject => Err(Refusal::of_field(
                ErrorReason::RequestIdMissing,
                "record.request_id",
                "request_id is empty; send one (a UUIDv7 is a good choice) and repeat it with \
                 every retry, or let gateway.missing_id be generate or content",
            )),
        }
    }
}

/// The id of a record by what it says: `c-` and 32 hexadecimal digits, the first 16 bytes of
/// BLAKE3 over tenant, key, payload and content type, each after its length as 8 bytes
/// little-endian.
fn content_id(view: &RecordView<'_>) -> String {
    let mut hasher = blake3::Hasher::new();
    let (key, content_type) = (view.key.as_bytes(), view.content_type.as_bytes());
    for part in [DEFAULT_TENANT.as_bytes(), key, view.payload, content_type] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hex = hasher.finalize().to_hex();
    format!("c-{}", hex.chars().take(32).collect::<String>())
}

// === limits ===

fn check_attributes(view: &RecordView<'_>) -> Result<(), Refusal> {
    most(
        "record.attributes",
        view.attribute_count,
        limits::MAX_ATTRIBUTES,
    )?;
    for (name, value) in view.attributes() {
        longest(
            "record.attributes.key",
            name.len(),
            limits::MAX_ATTRIBUTE_NAME_BYTES,
        )?;
        longest(
            "record.attributes.value",
            value.len(),
            limits::MAX_ATTRIBUTE_VALUE_BYTES,
        )?;
    }
    Ok(())
}

/// Refuses a field of more bytes than `limit`.
pub(crate) fn longest(field: &'static str, bytes: usize, limit: usize) -> Result<(), Refusal> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Refusal::of_field(
        ErrorReason::FieldTooLong,
        field,
        format!(
            "{} has {bytes} bytes, the limit is {limit}; send a shorter one",
            short(field)
        ),
    ))
}

fn most(field: &'static str, items: usize, limit: usize) -> Result<(), Refusal> {
    if items <= limit {
        return Ok(());
    }
    Err(Refusal::of_field(
        ErrorReason::TooManyItems,
        field,
        format!(
            "{} has {items} entries, the limit is {limit}; send fewer",
            short(field)
        ),
    ))
}

/// What a record of `bytes` bytes is told where `limit` is the most.
pub(crate) fn too_large(bytes: usize, limit: usize) -> Refusal {
    Refusal::of_field(
        ErrorReason::RecordTooLarge,
        "record",
        format!(
            "the record has {bytes} bytes, the limit (gateway.max_record_bytes) is {limit}; \
             split it, or send a reference to where the data lies"
        ),
    )
}

fn short(field: &'static str) -> &'static str {
    field.strip_prefix("record.").unwrap_or(field)
}

/// As much of an id as an answer carries.
fn readable(request_id: &str) -> String {
    let mut end = request_id.len().min(limits::MAX_REQUEST_ID_BYTES);
    while !request_id.is_char_boundary(end) {
        end -= 1;
    }
    request_id.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
