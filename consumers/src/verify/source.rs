//! The lines themselves, fetched once more for what is named or mended.
//!
//! In: entries. Out: the line of each, as it lies at its destination, or as a consumer makes it of
//! what the log has. Promises: an object is read once for all of its lines that are wanted; a line
//! is given only if it is the one that the entry speaks of.

use super::VerifyError;
use super::entry::{Entry, Place, Places, Voice};
use super::scan::Side;
use crate::chain::line::{Line, Stamp, TimeText, append};
use crate::chain::reader::raw_lines;
use crate::parse::{Content, Named, Polled};
use bytes::Bytes;
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_kafka::{KafkaSettings, PolledRecord, read_range};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Where lines come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The two destinations.
    pub sides: [Side; 2],
    /// The log, if it is asked.
    pub kafka: Option<KafkaSettings>,
}

/// Which line: of which identity, at which place, at which offset.
pub type LineKey = (Id16, u32, i64);

/// Lines, each with its line feed.
pub type LinesByKey = HashMap<LineKey, Vec<u8>>;

/// What an entry's line is known by.
#[must_use]
pub fn key_of(entry: &Entry) -> LineKey {
    (entry.id, entry.place, entry.offset)
}

// === impl Source ===

impl Source {
    /// The lines of `wanted`, as far as they can still be read.
    ///
    /// # Errors
    /// [`VerifyError`], when a destination or the log does not answer.
    pub async fn fetch(
        &self,
        wanted: &[Entry],
        places: &Places,
    ) -> Result<LinesByKey, VerifyError> {
        let mut objects: BTreeMap<(u8, String), Vec<Entry>> = BTreeMap::new();
        let mut in_log: BTreeMap<i32, Vec<Entry>> = BTreeMap::new();
        for entry in wanted {
            match entry.voice() {
                Voice::Side(side) => {
                    if let Some(name) = places.object_of(entry) {
                        objects.entry((side, name)).or_default().push(*entry);
                    }
                }
                Voice::Log | Voice::DeadLetter => {
                    if let Some(Place::Log(partition)) = places.get(entry.place) {
                        in_log.entry(*partition).or_default().push(*entry);
                    }
                }
            }
        }
        let mut lines = HashMap::new();
        for ((side, name), entries) in objects {
            let sink = &self.sides[usize::from(side & 1)].sink;
            if let Some(object) = sink.get(&name).await? {
                take_from(&object, &entries, places, &mut lines);
            }
        }
        for (partition, entries) in in_log {
            self.ask_log(partition, &entries, &mut lines).await?;
        }
        Ok(lines)
    }

    async fn ask_log(
        &self,
        partition: i32,
        entries: &[Entry],
        lines: &mut LinesByKey,
    ) -> Result<(), VerifyError> {
        let Some(kafka) = &self.kafka else {
            return Ok(());
        };
        let by_offset: BTreeMap<i64, Entry> = entries.iter().map(|it| (it.offset, *it)).collect();
        let (Some(first), Some(last)) = (by_offset.keys().next(), by_offset.keys().next_back())
        else {
            return Ok(());
        };
        let range = *first..last.saturating_add(1);
        let found = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&found);
        read_range(kafka, partition, range, move |record| {
            if let Some(entry) = by_offset.get(&record.offset)
                && let Some((named, line)) = line_of(record)
                && named.id == entry.id
                && named.fingerprint == entry.fingerprint
            {
                taken.lock().push((key_of(entry), line));
            }
        })
        .await?;
        lines.extend(found.lock().drain(..));
        Ok(())
    }
}

/// The line of a record of the log, as every destination has it; `None` if it is undecodable.
#[must_use]
pub fn line_of(record: PolledRecord) -> Option<(Named, Vec<u8>)> {
    let polled = Polled::parse(record, "", 1);
    let Content::Record { named, .. } = polled.content else {
        return None;
    };
    let stamp = Stamp {
        offset: polled.offset(),
        timestamp_ms: polled.record.timestamp_ms,
        fingerprint: named.fingerprint,
    };
    let mut line = Vec::new();
    append(&mut line, &mut TimeText::default(), &polled.view()?, stamp);
    Some((named, line))
}

fn take_from(object: &Bytes, entries: &[Entry], places: &Places, lines: &mut LinesByKey) {
    let of_chain = entries.first().and_then(|it| places.get(it.place));
    let text = match of_chain {
        Some(Place::Chain(..)) => raw_lines(object).unwrap_or_default(),
        _ => object.to_vec(),
    };
    let wanted: BTreeSet<(i64, Id16)> = entries.iter().map(|it| (it.offset, it.id)).collect();
    let place = entries.first().map_or(u32::MAX, |it| it.place);
    each_line(&text, |line, id, _, text| {
        if wanted.contains(&(line.offset, id)) {
            lines.insert((id, place, line.offset), text.to_vec());
        }
    });
}

/// Visits every line of `text` that can be read: the line, its identity, the fingerprint of its
/// content, and the line as it stands there, with its line feed.
pub fn each_line(text: &[u8], mut visit: impl FnMut(&Line<'_>, Id16, Fingerprint, &[u8])) {
    for text in text.split_inclusive(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Line<'_>>(text) else {
            continue;
        };
        let Some(payload) = line.payload() else {
            continue;
        };
        let id = Id16::of(&line.tenant, &line.key, &line.id);
        let fingerprint = Fingerprint::of(&payload, &line.content_type);
        visit(&line, id, fingerprint, text);
    }
}
