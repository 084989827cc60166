//! Why sending failed, and whether another attempt can help.
//!
//! In: statuses of the gateway. Out: [`ClientError`], and [`Again`]. Promises: what is worth
//! another attempt is told by code, details and trailers, never by a text that a person reads.

use crate::v1::ErrorReason;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Trailer of gRFC A6: how many milliseconds to wait; negative or no number: never again.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The longest wait that a gateway may ask for; more counts as this much.
pub(super) const LONGEST_PUSHBACK: Duration = Duration::from_secs(3_600);

/// Why sending failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A setting is out of its range.
    #[error("{name} is {value}, but must be {range}")]
    Setting {
        /// The field of [`ClientSettings`](super::ClientSettings).
        name: &'static str,
        /// What was given.
        value: usize,
        /// What may be given.
        range: String,
    },
    /// The settings name no endpoint that can be used.
    #[error("{endpoint} is not an endpoint such as http://127.0.0.1:50051: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// Why it is none.
        reason: String,
    },
    /// Nothing got a verdict for the time that the settings allow.
    #[error("no verdict from {endpoint} for {after:?}: {last}")]
    GaveUp {
        /// The gateway's address.
        endpoint: String,
        /// How long nothing came.
        after: Duration,
        /// The last failure.
        last: String,
        /// Records without a verdict; they may or may not be durable.
        unacknowledged: usize,
    },
    /// A single call was not answered in the time that the settings allow. Its record may or may
    /// not be durable.
    #[error("no answer from {endpoint} in {after:?}: {last}")]
    DeadlineExceeded {
        /// The gateway's address.
        endpoint: String,
        /// The id under which to send it again.
        request_id: String,
        /// How long it was tried.
        after: Duration,
        /// The last failure.
        last: String,
    },
    /// The record is larger than a gateway takes; it was not sent.
    #[error("the record has {bytes} bytes, more than the {limit} that a gateway takes")]
    RecordTooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit, [`crate::limits::MAX_RECORD_BYTES`].
        limit: usize,
    },
    /// The stream has ended; the error before this one told why.
    #[error("the stream has ended")]
    Ended,
    /// The gateway refused the call.
    #[error("the gateway refused the call ({:?}): {}", .0.code(), .0.message())]
    Refused(#[source] Box<Status>),
}

/// Whether a call that ended with a status is to be repeated under the same ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Yes, after this wait at least.
    After(Duration),
    /// No: it would end the same way.
    Never,
}

// === impl ClientError ===

impl ClientError {
    /// Whether the same may succeed later, under the same request ids.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::GaveUp { .. } | Self::DeadlineExceeded { .. } => true,
            Self::Refused(status) => Again::of(status) != Again::Never,
            Self::Setting { .. }
            | Self::Endpoint { .. }
            | Self::RecordTooLarge { .. }
            | Self::Ended => false,
        }
    }

    /// How long the gateway asks to wait before that.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(status) => match Again::of(status) {
                Again::After(wait) if !wait.is_zero() => Some(wait),
                _ => None,
            },
            _ => None,
        }
    }

    /// Why the gateway refused it, if it said so.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused(status) => reason(status),
            _ => None,
        }
    }
}

// === impl Again ===

impl Again {
    pub(super) fn of(status: &Status) -> Self {
        let asked = match pushback(status) {
            Some(Self::Never) => return Self::Never,
            Some(Self::After(wait)) => Some(wait),
            None => status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay),
        };
        let repeat = match reason(status) {
            // A stream whose answers were not read in time ends so, and may be opened again.
            Some(ErrorReason::Overloaded) => true,
            // CloudSync says a delay with everything that is worth it.
            Some(_) => asked.is_some(),
            None => asked.is_some() || is_passing(status.code()),
        };
        if repeat {
            Self::After(asked.unwrap_or_default().min(LONGEST_PUSHBACK))
        } else {
            Self::Never
        }
    }
}

/// Whether a code alone, of somebody who says nothing else, is worth another attempt.
fn is_passing(code: Code) -> bool {
    match code {
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable => true,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss => false,
    }
}

fn pushback(status: &Status) -> Option<Again> {
    let value = status.metadata().get(PUSHBACK)?;
    let wait = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(wait.map_or(Again::Never, |wait| {
        Again::After(Duration::from_millis(wait))
    }))
}

pub(super) fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info()?;
    if info.domain != crate::reason::DOMAIN {
        return None;
    }
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}

/// The error and what lies behind it, in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        // Some errors repeat what lies behind them.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Refusal;

    #[test]
    fn what_the_gateway_says_decides_about_another_attempt() {
        for number in 1..64 {
            let Ok(reason) = ErrorReason::try_from(number) else {
                break;
            };
            let wait = Duration::from_millis(70);
            let for_now = Refusal::retryable(reason, wait, "x").to_status();
            assert_eq!(Again::of(&for_now), Again::After(wait), "{reason:?}");
            let for_good = Refusal::permanent(reason, "x").to_status();
            let error = ClientError::Refused(Box::new(for_good));
            assert_eq!(error.reason(), Some(reason));
            assert_eq!(error.is_retryable(), reason == ErrorReason::Overloaded);
        }
    }

    #[test]
    fn a_pushback_beats_the_details_and_may_forbid_another_attempt() {
        let refusal = Refusal::retryable(ErrorReason::Overloaded, Duration::from_millis(250), "x");
        for (value, expected) in [
            ("9", Again::After(Duration::from_millis(9))),
            ("18446744073709551615", Again::After(LONGEST_PUSHBACK)),
            ("-1", Again::Never),
            ("soon", Again::Never),
        ] {
            let mut status = refusal.to_status();
            let value = value.parse().unwrap();
            status.metadata_mut().insert(PUSHBACK, value);
            assert_eq!(Again::of(&status), expected);
        }
    }

    #[test]
    fn a_status_of_somebody_else_is_judged_by_its_code() {
        let after = Again::After(Duration::ZERO);
        for (code, expected) in [
            (Code::Unavailable, after),
            (Code::Unknown, after),
            (Code::Internal, after),
            (Code::Cancelled, after),
            (Code::ResourceExhausted, Again::Never),
            (Code::Unimplemented, Again::Never),
            (Code::Unauthenticated, Again::Never),
        ] {
            assert_eq!(Again::of(&Status::new(code, "x")), expected, "{code:?}");
        }
    }
}
