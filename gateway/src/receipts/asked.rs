//! What is asked for, and what those hear who cannot be answered.
//!
//! In: the name of a record, as a client gave it. Out: the id that it stands for, or a refusal.

use super::Destination;
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync::limits::{MAX_KEY_BYTES, MAX_REQUEST_ID_BYTES};
use cloudsync::reason::Refusal;
use cloudsync::v1::GetReceiptRequest;
use cloudsync::{DEFAULT_TENANT, ErrorReason};
use cloudsync_dedupe::{LogPosition, StoreError, Subject, shard_of};
use std::time::Duration;

/// How long one too many is asked to wait.
const BUSY_DELAY: Duration = Duration::from_secs(1);
/// How long one is asked to wait when a dedupe store cannot be asked.
const STORE_DELAY: Duration = Duration::from_secs(1);

/// Checks what a client calls a record.
pub(super) fn check(name: &GetReceiptRequest) -> Result<(), Refusal> {
    let GetReceiptRequest { request_id, key } = name;
    if request_id.is_empty() {
        return Err(Refusal::of_field(
            ErrorReason::RequestIdMissing,
            "request_id",
            "request_id is empty; say which record is meant",
        ));
    }
    crate::validate::longest("request_id", request_id.len(), MAX_REQUEST_ID_BYTES)?;
    crate::validate::longest("key", key.len(), MAX_KEY_BYTES)
}

/// The id of `name` among `shards`, and no content.
pub(super) fn subject(name: &GetReceiptRequest, shards: u32) -> Subject {
    let chooses = if name.key.is_empty() {
        &name.request_id
    } else {
        &name.key
    };
    Subject {
        id: Id16::of(DEFAULT_TENANT, &name.key, &name.request_id),
        fingerprint: Fingerprint(0),
        shard: shard_of(chooses.as_bytes(), shards),
        position: LogPosition {
            partition: -1,
            offset: -1,
        },
    }
}

/// Nobody knows of the record `name`. `silent`: why somebody did not answer who may.
pub(super) fn unknown(
    name: &GetReceiptRequest,
    silent: Option<&StoreError>,
    destinations: &[Destination],
) -> Refusal {
    let GetReceiptRequest { request_id, key } = name;
    if let Some(error) = silent {
        let text = format!("whether {request_id:?} is known cannot be told now: {error}");
        let reason = ErrorReason::DedupeUnavailable;
        return match error.is_retryable() {
            true => Refusal::retryable(reason, STORE_DELAY, text),
            // Somebody has to put the gateway's settings or rights right first.
            false => Refusal::permanent(reason, text),
        };
    }
    let key = match key.is_empty() {
        true => "without a key".to_owned(),
        false => format!("with the key {key:?}"),
    };
    let and = match destinations.iter().any(|it| it.marks.is_some()) {
        true => ", and no dedupe store has a mark of it",
        false => "; the consumers' dedupe stores cannot be asked from here",
    };
    let text = format!(
        "no receipt of {request_id:?} {key}: this gateway does not remember that it was \
         acknowledged{and}"
    );
    Refusal::permanent(ErrorReason::ReceiptUnknown, text)
}

/// `most` of `what` are under way already.
pub(super) fn busy(what: &str, most: usize) -> Refusal {
    let text = format!("{most} {what} already; ask again a little later");
    Refusal::retryable(ErrorReason::Overloaded, BUSY_DELAY, text)
}
