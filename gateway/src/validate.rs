//! Step 3 of the walk: what is a record, and where does it go.
//!
//! In: a submission. Out: each of its records as a [`Record`] that goes into the log, or
//! [`Refused`]; every one is exactly one of the two, under its place. Promises: what passes keeps
//! to every limit of the contract, names only destinations that exist, carries no field that the
//! gateway sets, and has an id; the payload is never touched. What a record asks for ([`Effect`])
//! is said here, while it is looked at, where it is to be remembered. A refusal names the field,
//! its length, the limit and the way out.

use crate::admit::Submission;
use crate::recent::{Effect, Known};
use crate::settings::{GatewaySettings, MissingId};
use bytes::Bytes;
use cloudsync::identity::{Fingerprint, Id16};
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
    /// Whether somebody wants to know what a record asks for.
    remembers: bool,
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
    /// What each record of the submission asks for, by its place there; `None`: refused, or not to be
    /// remembered. Empty where nothing is.
    pub(crate) effects: Vec<Option<Effect>>,
    /// Records that were acknowledged before, once they are taken out of `records`.
    pub(crate) known: Vec<Known>,
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
            recent_ids,
            receipts,
            ..
        } = *settings;
        Self {
            max_record_bytes,
            missing_id,
            remembers: recent_ids > 0 || receipts > 0,
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
            effects: Vec::with_capacity(if self.remembers { count } else { 0 }),
            known: Vec::new(),
            refused: Vec::new(),
        };
        let added = GatewayFields::new(DEFAULT_TENANT, accept_time);
        let mut malformed = submission.malformed.iter().peekable();
        for (index, encoded) in (0u32..).zip(&submission.records) {
            let one = match malformed.next_if(|(at, _)| *at == index) {
                Some((_, refusal)) => Err(Refused {
                    index,
                    request_id: String::new(),
                    refusal: refusal.clone(),
                }),
                None => self.record(index, encoded, &added, &mut judged.bytes),
            };
            let effect = match one {
                Ok((record, effect)) => {
                    judged.records.push(record);
                    effect
                }
                Err(refused) => {
                    judged.refused.push(refused);
                    None
                }
            };
            if self.remembers {
                judged.effects.push(effect);
            }
        }
        judged
    }

    /// Judges the record at place `index` of its submission; one that passes is appended to `bytes`
    /// with what is `added`. Out: that, and what it asks for if it is to be remembered.
    fn record(
        &self,
        index: u32,
        encoded: &[u8],
        added: &GatewayFields,
        bytes: &mut Vec<u8>,
    ) -> Result<(Record, Option<Effect>), Refused> {
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
        let (assigned_id, destinations) = self
            .check(&view)
            .and_then(|destinations| Ok((self.assign_id(&view)?, destinations)))
            .map_err(|refusal| Refused {
                index,
                request_id: readable(view.request_id),
                refusal,
            })?;
        let effect = self.effect(&view, assigned_id.as_deref(), destinations);
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
        let record = Record {
            index,
            partition,
            key,
            value,
            assigned_id,
        };
        Ok((record, effect))
    }

    /// Out: a bit for each destination that it names; `None`: one of them has no bit.
    fn check(&self, view: &RecordView<'_>) -> Result<Option<u32>, Refusal> {
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
        if view.destination_count == 0 {
            return Ok(Some(0));
        }
        self.check_destinations(view)
    }

    fn check_destinations(&self, view: &RecordView<'_>) -> Result<Option<u32>, Refusal> {
        most(
            "record.destinations",
            view.destination_count,
            limits::MAX_DESTINATIONS,
        )?;
        let mut bits = Some(0);
        for name in view.destinations() {
            let mut all = self.destinations.iter();
            let Some(place) = all.position(|known| known == name) else {
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
            };
            let bit = u32::try_from(place)
                .ok()
                .and_then(|at| 1u32.checked_shl(at));
            bits = bits.zip(bit).map(|(bits, bit)| bits | bit);
        }
        Ok(bits)
    }

    /// What the record asks for, if it is to be remembered: not if it names a destination beyond
    /// the first 32, which have a bit.
    fn effect(
        &self,
        view: &RecordView<'_>,
        assigned_id: Option<&str>,
        destinations: Option<u32>,
    ) -> Option<Effect> {
        if !self.remembers {
            return None;
        }
        let request_id = assigned_id.unwrap_or(view.request_id);
        Some(Effect {
            id: Id16::of(DEFAULT_TENANT, view.key, request_id),
            fingerprint: Fingerprint::of(view.payload, view.content_type),
            destinations: destinations?,
        })
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
