//! Durations as people write them.
//!
//! In: text such as `7d`, `5ms` or `1h`. Out: a [`Duration`], and back. A bare number is refused,
//! since nobody can know its unit. Use as `#[serde(with = "cloudsync_kafka::duration")]`.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use std::time::Duration;

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a duration; write a whole number and ms, s, m (or min), h or d, as in 7d"
)]
pub struct DurationError {
    /// What stood there.
    pub text: String,
}

/// Reads `text`: a whole number, then `ms`, `s`, `m` or `min`, `h`, or `d`.
///
/// # Errors
/// [`DurationError`], when the number or the unit is missing or unknown, or it is too long.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError {
        text: text.to_owned(),
    };
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let unit = match unit.trim_start() {
        "min" => "m",
        other => other,
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(refused)?;
    number
        .checked_mul(*factor)
        .map(Duration::from_millis)
        .ok_or_else(refused)
}

/// Writes `duration` in the largest unit that holds it exactly; below a millisecond is cut off.
#[must_use]
pub fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, factor): &&(&str, u64)| millis != 0 && millis % factor == 0;
    let (unit, factor) = UNITS.iter().find(fits).unwrap_or(&("ms", 1));
    std::format!("{}{unit}", millis / factor)
}

/// For `#[serde(with)]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*duration))
}

/// For `#[serde(with)]`.
///
/// # Errors
/// Those of the deserializer, and [`DurationError`].
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_read_and_bare_numbers_are_not() {
        let cases = [
            ("5ms", 5),
            ("2 s", 2_000),
            ("3min", 180_000),
            ("3m", 180_000),
            ("0s", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("7d"), Ok(Duration::from_secs(604_800)));
        for text in [
            "",
            "5",
            "ms",
            "-1s",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "5ms5s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0u64..u64::from(u32::MAX) * 1_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
