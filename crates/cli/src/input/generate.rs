//! Made records: load without a file.
//!
//! In: how many. Out: records of about 250 bytes of JSON with unique ids and 10,000 keys, made
//! one at a time. Every run makes other ids, so that two runs against one log stay apart.

use super::InputRecord;
use std::fmt::Write as _;
use uuid::Uuid;

/// Number of different keys.
pub const KEYS: u64 = 10_000;

/// Records that are made when asked for.
#[derive(Clone, Debug)]
pub struct Load {
    run: String,
    made: u64,
    count: u64,
}

// === impl Load ===

impl Load {
    /// `count` records.
    #[must_use]
    pub fn new(count: u64) -> Self {
        // The last twelve digits of a UUID are random.
        let run = Uuid::now_v7().simple().to_string();
        let run = run.get(20..).unwrap_or_default().to_owned();
        Self {
            run,
            made: 0,
            count,
        }
    }
}

impl Iterator for Load {
    type Item = InputRecord;

    fn next(&mut self) -> Option<InputRecord> {
        if self.made == self.count {
            return None;
        }
        let index = self.made;
        self.made += 1;
        let noise = mix(index);
        let key = format!("device-{:05}", noise % KEYS);
        let mut payload = String::with_capacity(288);
        let written = write!(
            payload,
            "{{\"device\":\"{key}\",\"reading\":{index},\"temperature\":{}.{:02},\
             \"humidity\":{},\"battery\":{},\"firmware\":\"4.{}.{}\",\"position\":\
             {{\"latitude\":{}.{:05},\"longitude\":{}.{:05}}},\"checksum\":\"{:016x}{:016x}\",\
             \"note\":\"made by cloudsync demo\"}}",
            noise >> 8 & 31,
            noise >> 16 & 63,
            noise >> 24 & 63,
            noise >> 32 & 63,
            noise >> 40 & 15,
            noise >> 44 & 15,
            noise >> 48 & 63,
            noise >> 4 & 65_535,
            noise >> 54 & 127,
            noise >> 20 & 65_535,
            mix(noise),
            mix(noise ^ index),
        );
        debug_assert!(written.is_ok(), "writing into a string cannot fail");
        let request_id = format!("{}-{index:010}", self.run);
        let unit = "record";
        Some(InputRecord {
            unit,
            number: self.made,
            request_id,
            key,
            payload: payload.into(),
            content_type: "application/json",
        })
    }
}

/// The splitmix64 step: numbers that look random, the same for the same index.
pub(crate) fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn made_records_are_json_of_the_promised_size_with_unique_ids() {
        let records: Vec<_> = Load::new(20_000).collect();
        let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
        let mean = bytes / records.len();
        assert!((230..=290).contains(&mean), "{mean}");
        let ids: HashSet<_> = records.iter().map(|record| &record.request_id).collect();
        assert_eq!(ids.len(), records.len());
        let keys: HashSet<_> = records.iter().map(|record| &record.key).collect();
        assert!(keys.len() > 8_000 && keys.len() <= 10_000, "{}", keys.len());
        for record in &records {
            let json: serde_json::Value = serde_json::from_slice(&record.payload).unwrap();
            assert_eq!(json["device"], record.key.as_str());
        }
        let other = Load::new(1).next().unwrap();
        assert_ne!(other.request_id, records[0].request_id);
    }
}
