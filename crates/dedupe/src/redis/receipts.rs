//! What gateways share of the records that they have accepted.
//!
//! In: accepted records. Out: by id, what was written. Promises: seen for one to two windows; a
//! write is one round trip, and of two under one id the one that came last stands.
//!
//! They lie as the marks of the layout `buckets` do, whatever the layout of the namespace, as if
//! `receipts` were a destination: `cs1:{<namespace>.receipts.<shard>}:<generation>` is a hash of
//! ids. Names of destinations in keys have a number behind them, so none is called so.
//!
//! ```text
//! A <fingerprint, 8> <partition> <offset> <milliseconds since 1970> <names, 0x1F between them>
//! ```
//! The numbers are LEB128. No names: every destination. Names and not bits, since another gateway
//! may have other destinations.

use super::buckets::Buckets;
use super::fault::Fault;
use crate::claim::{LogPosition, Subject};
use crate::receipts::Accepted;
use crate::settings::{DedupeSettings, OpenError};
use crate::store::StoreError;
use cloudsync::identity::Fingerprint;
use redis::{Cmd, Value};

/// What stands in front of every value.
const ACCEPTED: u8 = b'A';
/// What stands between two names.
const BETWEEN: char = '\u{1f}';

/// What gateways share of accepted records.
#[derive(Debug)]
pub struct SharedReceipts {
    buckets: Buckets,
    /// The destinations, in the order of their bits.
    names: Vec<String>,
}

// === impl SharedReceipts ===

impl SharedReceipts {
    pub(crate) fn open(settings: &DedupeSettings, names: Vec<String>) -> Result<Self, OpenError> {
        // As one who looks: what a namespace is laid out like is for the consumers to say.
        let held = super::connected_later(settings, "receipts", true)?;
        let buckets = Buckets::new(held, settings);
        Ok(Self { buckets, names })
    }

    pub(crate) async fn write(&self, accepted: &[Accepted]) -> Result<(), StoreError> {
        let subjects: Vec<Subject> = accepted.iter().map(|one| one.subject).collect();
        let value = |place: usize, field: &mut Cmd| {
            if let Some(one) = accepted.get(place) {
                field.arg(written(one, &self.names));
            }
        };
        self.buckets.set(&subjects, value).await
    }

    pub(crate) async fn find(
        &self,
        subjects: &[Subject],
    ) -> Result<Vec<Option<Accepted>>, StoreError> {
        let mut all = vec![None; subjects.len()];
        let take = |place: usize, _: u64, newer: &Value, older: &Value| {
            let value = match (newer, older) {
                (Value::BulkString(value), _) | (Value::Nil, Value::BulkString(value)) => value,
                _ => return Ok(()),
            };
            let pair = subjects.get(place).zip(all.get_mut(place));
            if let Some((subject, found)) = pair {
                let accepted = read(value, subject, &self.names);
                let unreadable = || Fault::unreadable("the value of a receipt");
                *found = Some(accepted.ok_or_else(unreadable)?);
            }
            Ok(())
        };
        self.buckets.read(subjects, take).await?;
        Ok(all)
    }
}

fn written(accepted: &Accepted, names: &[String]) -> Vec<u8> {
    let LogPosition { partition, offset } = accepted.subject.position;
    let mut value = Vec::with_capacity(32);
    value.push(ACCEPTED);
    value.extend_from_slice(&accepted.subject.fingerprint.0.to_be_bytes());
    put(&mut value, u64::from(partition.cast_unsigned()));
    put(&mut value, offset.cast_unsigned());
    put(&mut value, accepted.at);
    if accepted.destinations != Accepted::EVERYWHERE {
        let named = names
            .iter()
            .zip(0..32)
            .filter(|(_, bit)| accepted.destinations & (1 << bit) != 0);
        for (at, (name, _)) in named.enumerate() {
            if at > 0 {
                value.push(BETWEEN as u8);
            }
            value.extend_from_slice(name.as_bytes());
        }
    }
    value
}

/// `None`: no value of ours.
fn read(value: &[u8], subject: &Subject, names: &[String]) -> Option<Accepted> {
    let (kind, rest) = value.split_first()?;
    let (fingerprint, mut rest) = rest.split_first_chunk::<8>()?;
    let partition = u32::try_from(get(&mut rest)?).ok()?.cast_signed();
    let offset = get(&mut rest)?.cast_signed();
    let at = get(&mut rest)?;
    let named = std::str::from_utf8(rest).ok()?;
    let destinations = if named.is_empty() {
        Accepted::EVERYWHERE
    } else {
        let is_named = |name: &str| named.split(BETWEEN).any(|it| it == name);
        let bits = names.iter().zip(0..32).filter(|(name, _)| is_named(name));
        bits.fold(0, |bits, (_, bit)| bits | 1 << bit)
    };
    (*kind == ACCEPTED).then_some(Accepted {
        subject: Subject {
            fingerprint: Fingerprint(u64::from_be_bytes(*fingerprint)),
            position: LogPosition { partition, offset },
            ..*subject
        },
        at,
        destinations,
    })
}

fn put(value: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        value.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    value.push((number & 0x7f) as u8);
}

fn get(value: &mut &[u8]) -> Option<u64> {
    let ends = value.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (digits, rest) = value.split_at_checked(ends + 1)?;
    *value = rest;
    let join = |number: u64, digit: &u8| (number << 7) | u64::from(digit & 0x7f);
    Some(digits.iter().rev().fold(0, join))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::identity::Id16;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            fp: u64, partition: i32, offset: i64, at: u64, everywhere: bool, bits in 1u32..8
        ) {
            let names = ["aws", "azure", "gcp"].map(str::to_owned);
            let subject = Subject {
                id: Id16([7; 16]),
                fingerprint: Fingerprint(fp),
                shard: 3,
                position: LogPosition { partition, offset },
            };
            let destinations = if everywhere { Accepted::EVERYWHERE } else { bits };
            let accepted = Accepted { subject, at, destinations };
            prop_assert_eq!(read(&written(&accepted, &names), &subject, &names), Some(accepted));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let position = LogPosition { partition: 0, offset: 0 };
            let (id, fingerprint) = (Id16([7; 16]), Fingerprint(0));
            let _ = read(&bytes, &Subject { id, fingerprint, shard: 0, position }, &[]);
        }
    }

    #[test]
    fn a_destination_keeps_its_name_where_others_have_other_bits() {
        let position = LogPosition {
            partition: 0,
            offset: 5,
        };
        let subject = Subject {
            id: Id16([7; 16]),
            fingerprint: Fingerprint(1),
            shard: 0,
            position,
        };
        let accepted = Accepted {
            subject,
            at: 1,
            destinations: 0b10,
        };
        let names = ["aws", "azure"].map(str::to_owned);
        let value = written(&accepted, &names);
        let bits = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            read(&value, &subject, &names).unwrap().destinations
        };
        assert_eq!(bits(&["azure", "gcp"]), 0b1);
        assert_eq!(bits(&["gcp"]), 0, "none that is known, and not all");
    }
}
