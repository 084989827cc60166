//! `Retry-After`: for how long a service asks to be left alone.

use http::HeaderValue;
use std::time::{Duration, SystemTime};

/// Longest wait that a service is granted at a time.
const LONGEST: Duration = Duration::from_secs(600);

/// How long the sender of `value` wants to be left alone, by seconds or by date (RFC 9110, 10.2.3).
pub(super) fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let after = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are as good as for ever.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        at.duration_since(now).unwrap_or_default()
    };
    Some(after.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Fri, 15 Nov 2023 would be a lie; the 14th was a Tuesday.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let seconds = |n| Some(Duration::from_secs(n));
        for (text, expected) in [
            ("0", seconds(0)),
            ("7", seconds(7)),
            (" 30 ", seconds(30)),
            ("601", seconds(600)),
            ("18446744073709551616", seconds(600)),
            ("Tue, 14 Nov 2023 22:13:50 GMT", seconds(30)),
            ("Tuesday, 14-Nov-23 22:13:50 GMT", seconds(30)),
            ("Tue Nov 14 22:13:50 2023", seconds(30)),
            ("Tue, 14 Nov 2023 22:13:10 GMT", seconds(0)),
            ("Thu, 14 Nov 2033 22:13:20 GMT", None),
            ("Mon, 14 Nov 2033 22:13:20 GMT", seconds(600)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(retry_after(&value, now), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_header_says_it_is_a_bounded_wait_or_none(text in "[ -~]{0,40}") {
            let value = HeaderValue::from_str(&text).unwrap();
            let after = retry_after(&value, SystemTime::now());
            prop_assert!(after.is_none_or(|after| after <= LONGEST));
        }
    }
}
