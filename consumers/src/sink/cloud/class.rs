//! An error of a cloud's object storage → what is to be done about it.
//!
//! | what was answered | class |
//! |---|---|
//! | no connection, no name, no TLS, no answer in time | outage |
//! | 429, 503 with `Retry-After`, `SlowDown`, `ServerBusy` | throttled |
//! | 408, 409 (`ConditionalRequestConflict`, …), 5xx, 404 without a word of the service's, a body that did not arrive whole | transient |
//! | an answer that was cut off | transient: the object may be there |
//! | 413, `EntityTooLarge`, `RequestBodyTooLarge` | rejected: this object is too large |
//! | 501, and every other 3xx and 4xx | denied: credentials, bucket, region, rights |
//!
//! Names and form of a request are this program's, so what a service has against a request it has
//! against all of them, and nothing but an object's size is that object's own fault.

use super::reply::Reply;
use crate::sink::{ErrorClass, SinkError};
use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};
use std::time::Duration;

/// Wait after an answer that asks for less, and does not say how long.
const A_MOMENT: Duration = Duration::from_secs(1);

/// The failed attempt of `action`.
pub(super) fn classify(action: String, error: Error) -> SinkError {
    if let Some(reply) = below::<Reply>(&error) {
        let code = match &reply.code {
            Some(code) => format!("{} {code}", reply.status),
            None => reply.status.to_string(),
        };
        return SinkError::new(class_of(reply), action, reply.clone()).with_code(code);
    }
    let class = match below::<HttpError>(&error).map(HttpError::kind) {
        Some(HttpErrorKind::Connect | HttpErrorKind::Timeout) => ErrorClass::Outage,
        Some(_) => ErrorClass::Transient,
        None => match &error {
            Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotFound { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. } => ErrorClass::Denied,
            _ => ErrorClass::Transient,
        },
    };
    SinkError::new(class, action, error)
}

fn class_of(reply: &Reply) -> ErrorClass {
    use ErrorClass::{Denied, Rejected, Throttled, Transient};
    let code = reply.code.as_deref().unwrap_or_default();
    match (reply.status, code) {
        (429 | 503, _) if reply.retry_after.is_some() => {
            Throttled(reply.retry_after.unwrap_or(A_MOMENT))
        }
        (429, _) | (503, "SlowDown" | "ServerBusy") => Throttled(A_MOMENT),
        (413, _) | (_, "EntityTooLarge" | "RequestBodyTooLarge") => Rejected,
        (400, "RequestTimeout" | "BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch") => {
            Transient
        }
        // Azure says "exists" in words of a policy, too; those have to be looked at.
        (409, "BlobImmutableDueToPolicy" | "AccountBeingCreated" | "InvalidBucketState") => Denied,
        (408 | 409 | 425, _) => Transient,
        // Neither service says so little: it is somebody who stands before one.
        (404, "") => Transient,
        (501 | 505, _) => Denied,
        (500.., _) => Transient,
        _ => Denied,
    }
}

/// The first error of the kind `T` below `error`.
fn below<'a, T: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        at = error.source();
    }
    None
}
