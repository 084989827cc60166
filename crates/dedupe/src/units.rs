//! Durations and sizes as people write them in a configuration.
//!
//! In: `60min`, `30 s`, `256 MiB`. Out: a [`Duration`], or bytes; and back. A bare number is
//! refused, since nobody can see its unit.

use std::time::Duration;

const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZES: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads a duration: a whole number and one of `ms`, `s`, `min`, `h`, `d`.
///
/// # Errors
/// A sentence with the text and what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, &TIMES)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!(
                "{text:?} is no duration: a whole number and ms, s, min, h or d, as in \"30 s\""
            )
        })
}

/// Reads a size: a whole number and one of `B`, `KiB`, `MiB`, `GiB`.
///
/// # Errors
/// A sentence with the text and what would be right.
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZES).ok_or_else(|| {
        format!("{text:?} is no size: a whole number and B, KiB, MiB or GiB, as in \"256 MiB\"")
    })
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(value: u64, units: &[(&str, u64)]) -> String {
    let whole = units
        .iter()
        .rev()
        .find(|(_, factor)| value.is_multiple_of(*factor) && value >= *factor);
    let (name, factor) = whole.unwrap_or(&units[0]);
    format!("{} {name}", value / factor)
}

/// For `#[serde(with = "duration")]`.
pub(crate) mod duration {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        to.serialize_str(&super::print(millis, &super::TIMES))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        super::parse_duration(&text).map_err(D::Error::custom)
    }
}

/// For `#[serde(with = "optional_size")]`.
pub(crate) mod optional_size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(crate) fn serialize<S: Serializer>(value: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(bytes) => to.serialize_some(&super::print(*bytes, &super::SIZES)),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::parse_size(&text).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_is_read() {
        let seconds = |text| parse_duration(text).map(|value| value.as_secs());
        assert_eq!(seconds("60min"), Ok(3_600));
        assert_eq!(seconds(" 5 min "), Ok(300));
        assert_eq!(seconds("2 h"), Ok(7_200));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_size("256 MiB"), Ok(256 << 20));
        for wrong in [
            "",
            "5",
            "min",
            "5 m",
            "-5 s",
            "1.5 s",
            "5 min 3 s",
            "99999999999999999 d",
            "5ß",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse_size("5 MB").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(value in 0u64..1 << 50) {
            prop_assert_eq!(parse(&print(value, &TIMES), &TIMES), Some(value));
            prop_assert_eq!(parse(&print(value, &SIZES), &SIZES), Some(value));
        }
    }
}
