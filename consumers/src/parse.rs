//! Step 1 of the walk: a record as the log gave it → what it is: identity and fingerprint, or
//! undecodable. Promises: never fails, and says the same about the same bytes on every run.

use cloudsync::DEFAULT_TENANT;
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync::wire::RecordView;
use cloudsync_dedupe::{LogPosition, shard_of};
use cloudsync_kafka::{PolledRecord, Redrive};
use xxhash_rust::xxh3::xxh3_128;

/// A record of the log, and what it is.
#[derive(Clone, Debug)]
pub struct Polled {
    /// As the log has it.
    pub record: PolledRecord,
    /// What it is.
    pub content: Content,
    /// It was dead-lettered before and lies in the log again: what the dedupe store knows of that
    /// dead letter does not hold it up.
    pub redriven: bool,
}

/// What a record of the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A record that can be delivered.
    Record {
        /// Which effect it names, and with what content.
        named: Named,
        /// Whether this destination shall have it.
        addressed: bool,
    },
    /// Nothing that can be delivered anywhere.
    Undecodable {
        /// XXH3-128 of its value, little-endian.
        hash: [u8; 16],
        /// Why, for a person.
        why: String,
        /// Whether this destination is concerned: a redrive names one.
        addressed: bool,
    },
}

/// The identity and the fingerprint of a record, and the part of the dedupe store they lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which effect.
    pub id: Id16,
    /// Which content.
    pub fingerprint: Fingerprint,
    /// The shard of the dedupe store that knows it.
    pub shard: u32,
}

// === impl Polled ===

impl Polled {
    /// Looks at `record` on behalf of `destination`, whose dedupe store has `shards` shards.
    #[must_use]
    pub fn parse(record: PolledRecord, destination: &str, shards: u32) -> Self {
        let value = record.value.as_deref().unwrap_or_default();
        let redrive = record.headers.as_deref().and_then(Redrive::of);
        let concerned = redrive
            .as_ref()
            .is_none_or(|redrive| redrive.destination == destination);
        let content = match view_of(value) {
            Ok(view) => Content::Record {
                named: Named::of(&view, shards),
                addressed: concerned && view.is_addressed_to(destination),
            },
            Err(why) => Content::Undecodable {
                hash: xxh3_128(value).to_le_bytes(),
                why,
                addressed: concerned,
            },
        };
        Self {
            record,
            content,
            redriven: redrive.is_some(),
        }
    }

    /// The record in place; `None` if it is undecodable.
    #[must_use]
    pub fn view(&self) -> Option<RecordView<'_>> {
        view_of(self.record.value.as_deref().unwrap_or_default()).ok()
    }

    /// Whether the dead letter of its id, from `position`, is one that it was redriven for: what it
    /// was set aside for is over, or somebody thinks so. It lies in `partition` now.
    #[must_use]
    pub fn reopens(&self, partition: i32, position: LogPosition) -> bool {
        let here = LogPosition {
            partition,
            offset: self.offset(),
        };
        self.redriven && here.comes_after(position)
    }

    /// Its offset.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// Size of its value, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.record.value.as_ref().map_or(0, bytes::Bytes::len) as u64
    }
}

// === impl Named ===

impl Named {
    /// The names of a record that has an id; a record that no gateway has seen belongs to the
    /// default tenant.
    #[must_use]
    pub fn of(view: &RecordView<'_>, shards: u32) -> Self {
        Self {
            id: Id16::of(tenant_of(view), view.key, view.request_id),
            fingerprint: Fingerprint::of(view.payload, view.content_type),
            shard: shard_of(view.partition_key().as_bytes(), shards),
        }
    }
}

/// The tenant of a record.
#[must_use]
pub fn tenant_of<'a>(view: &RecordView<'a>) -> &'a str {
    if view.tenant.is_empty() {
        DEFAULT_TENANT
    } else {
        view.tenant
    }
}

fn view_of(value: &[u8]) -> Result<RecordView<'_>, String> {
    if value.is_empty() {
        return Err("the record has no value".into());
    }
    let view = RecordView::parse(value).map_err(|error| error.to_string())?;
    if view.request_id.is_empty() {
        return Err("the record has no request_id".into());
    }
    Ok(view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use cloudsync::SyncRecord;
    use cloudsync_kafka::RecordHeaders;
    use proptest::prelude::*;
    use prost::Message;

    fn polled(value: Option<Vec<u8>>) -> Polled {
        let value = value.map(Bytes::from);
        let record = PolledRecord {
            offset: 7,
            timestamp_ms: 0,
            key: None,
            value,
            headers: None,
        };
        Polled::parse(record, "aws", 12)
    }

    #[test]
    fn a_record_for_another_destination_is_known_as_such() {
        let record = SyncRecord {
            request_id: "a".into(),
            destinations: vec!["azure".into()],
            ..SyncRecord::default()
        };
        let polled = polled(Some(record.encode_to_vec()));
        assert!(matches!(
            polled.content,
            Content::Record {
                addressed: false,
                ..
            }
        ));
    }

    #[test]
    fn a_redrive_concerns_the_destination_that_it_names() {
        let record = SyncRecord {
            request_id: "a".into(),
            ..SyncRecord::default()
        };
        let mut headers = RecordHeaders::default();
        headers.push("cloudsync.redrive.destination", Some(b"aws"));
        headers.push("cloudsync.redrive.count", Some(b"1"));
        for value in [record.encode_to_vec(), b"no record".to_vec()] {
            let again = PolledRecord {
                headers: Some(Box::new(headers.clone())),
                ..polled(Some(value)).record
            };
            for (destination, concerned) in [("aws", true), ("azure", false)] {
                let polled = Polled::parse(again.clone(), destination, 12);
                let (Content::Record { addressed, .. } | Content::Undecodable { addressed, .. }) =
                    polled.content;
                assert_eq!(
                    (addressed, polled.redriven),
                    (concerned, true),
                    "{destination}"
                );
            }
        }
    }

    #[test]
    fn tombstones_and_records_without_an_id_are_undecodable() {
        let nameless = SyncRecord {
            key: "k".into(),
            ..SyncRecord::default()
        };
        for value in [None, Some(Vec::new()), Some(nameless.encode_to_vec())] {
            let polled = polled(value);
            assert!(
                matches!(polled.content, Content::Undecodable { .. }),
                "{polled:?}"
            );
            assert!(polled.view().is_none());
        }
    }

    proptest! {
        #[test]
        fn whatever_lies_in_the_log_is_one_of_the_two(
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
        ) {
            let polled = polled(value);
            let decodable = matches!(polled.content, Content::Record { .. });
            prop_assert_eq!(decodable, polled.view().is_some());
        }
    }
}
