//! Why something is refused, said alike over gRPC and HTTP.
//!
//! In: an [`ErrorReason`] and a sentence. Out: the gRPC status with its google.rpc details, and
//! the HTTP status beside it. The two tables stand next to each other so that they cannot drift.

use crate::v1::ErrorReason;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "cloudsync";

/// Something that was refused: the reason for a program, the sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, for a program.
    pub reason: ErrorReason,
    /// The field at fault, where there is one.
    pub field: Option<&'static str>,
    /// Why, for a person: the value's place and the way out.
    pub message: String,
    /// Wait this long at least before sending the same again; `None`: it will never be accepted
    /// as it is.
    pub retry_delay: Option<Duration>,
}

impl ErrorReason {
    /// The name that `ErrorInfo.reason` carries: without the prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        let full = self.as_str_name();
        full.strip_prefix("ERROR_REASON_").unwrap_or(full)
    }

    /// The gRPC code of this reason.
    #[must_use]
    pub fn grpc_code(self) -> Code {
        match self {
            Self::MalformedRecord
            | Self::GatewayOwnedField
            | Self::RequestIdMissing
            | Self::FieldTooLong
            | Self::TooManyItems
            | Self::UnknownDestination
            | Self::BatchSize
            | Self::InvalidJson
            | Self::UnsupportedMediaType => Code::InvalidArgument,
            Self::RecordTooLarge | Self::BodyTooLarge | Self::Overloaded => Code::ResourceExhausted,
            Self::BodyTimeout => Code::DeadlineExceeded,
            Self::Draining | Self::LogUnavailable | Self::DedupeUnavailable => Code::Unavailable,
            Self::ReceiptUnknown => Code::NotFound,
            Self::Internal | Self::Unspecified => Code::Internal,
        }
    }

    /// The HTTP status of this reason.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::MalformedRecord
            | Self::GatewayOwnedField
            | Self::RequestIdMissing
            | Self::FieldTooLong
            | Self::TooManyItems
            | Self::UnknownDestination
            | Self::BatchSize
            | Self::InvalidJson => 400,
            Self::UnsupportedMediaType => 415,
            Self::BodyTimeout => 408,
            Self::RecordTooLarge | Self::BodyTooLarge => 413,
            Self::Overloaded => 429,
            Self::Draining | Self::LogUnavailable | Self::DedupeUnavailable => 503,
            Self::ReceiptUnknown => 404,
            Self::Internal | Self::Unspecified => 500,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// A refusal that no retry will change.
    #[must_use]
    pub fn permanent(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: None,
            message: message.into(),
            retry_delay: None,
        }
    }

    /// A refusal for the fault of one field.
    #[must_use]
    pub fn of_field(reason: ErrorReason, field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            ..Self::permanent(reason, message)
        }
    }

    /// A refusal for now: the same may be accepted after `delay`.
    #[must_use]
    pub fn retryable(reason: ErrorReason, delay: Duration, message: impl Into<String>) -> Self {
        Self {
            retry_delay: Some(delay),
            ..Self::permanent(reason, message)
        }
    }

    /// The status of an RPC that ends with this refusal. Overload also carries the trailer
    /// `grpc-retry-pushback-ms` (gRFC A6).
    #[must_use]
    pub fn to_status(&self) -> Status {
        let mut details = ErrorDetails::with_error_info(self.reason.name(), DOMAIN, []);
        if let Some(field) = self.field {
            details.add_bad_request_violation(field, self.message.as_str());
        }
        if let Some(delay) = self.retry_delay {
            details.set_retry_info(Some(delay));
        }
        let mut status =
            Status::with_error_details(self.reason.grpc_code(), self.message.as_str(), details);
        if let (ErrorReason::Overloaded, Some(delay)) = (self.reason, self.retry_delay) {
            let pushback = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            status
                .metadata_mut()
                .insert("grpc-retry-pushback-ms", pushback.into());
        }
        status
    }
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        refusal.to_status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_says_when_to_come_back_three_times_over() {
        let delay = Duration::from_millis(250);
        let status = Refusal::retryable(ErrorReason::Overloaded, delay, "too much").to_status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.metadata().get("grpc-retry-pushback-ms").unwrap(),
            "250"
        );
        let details = status.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(delay));
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("OVERLOADED", "cloudsync")
        );
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let refusal = Refusal::of_field(ErrorReason::FieldTooLong, "record.key", "too long");
        let details = refusal.to_status().get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "record.key");
        assert!(details.retry_info().is_none());
    }

    /// Only what is worth sending again is a code that clients retry by themselves.
    #[test]
    fn no_permanent_reason_has_a_code_that_clients_retry() {
        for number in 0..64 {
            let Ok(reason) = ErrorReason::try_from(number) else {
                break;
            };
            let retried = matches!(
                reason,
                ErrorReason::Draining
                    | ErrorReason::LogUnavailable
                    | ErrorReason::DedupeUnavailable
            );
            assert_eq!(
                reason.grpc_code() == Code::Unavailable,
                retried,
                "{}",
                reason.name()
            );
        }
    }
}
