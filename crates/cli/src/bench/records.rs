//! The records of a bench: encoded ahead, so that making one costs two copies and a few digits.
//!
//! In: the size of the payload. Out: encoded records of [`KEYS`] keys, each with an id of its own
//! (a UUID's text) and a JSON payload of exactly that size, half of which is noise, since records
//! that repeat themselves compress as no real ones do.

use crate::input::generate::mix;
use bytes::{Bytes, BytesMut};
use cloudsync::identity::Id16;
use cloudsync::partition::partition_of;
use cloudsync::wire::{Time, with_gateway_fields};
use cloudsync::{DEFAULT_TENANT, SyncRecord};
use cloudsync_kafka::ProduceRecord;
use prost::Message;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Where the key stands in the payload.
pub(crate) const KEY_POINTER: &str = "/device";
/// Number of different keys.
pub(crate) const KEYS: usize = 1_024;
/// Makers of one series.
const MAKERS: usize = 1 << 16;
/// Where in a UUID's text the digits of the maker begin, and those of its record.
const MAKER_AT: usize = 24;
const RECORD_AT: usize = 28;
const ID_BYTES: usize = 36;
const NOISE_BYTES: usize = 1 << 20;
/// Records are cut from blocks of so many bytes.
const BLOCK: usize = 64 * 1024;
const TEXT: &str = "the quick brown fox jumps over the lazy dog while the log keeps what it has ";

/// What the records of all makers are cut from.
pub(crate) struct Stock {
    templates: Vec<Template>,
    noise: Vec<u8>,
    noise_at: Range<usize>,
    id_at: usize,
}

/// Records of one maker.
pub(crate) struct Maker {
    stock: Arc<Stock>,
    /// The id as far as it tells makers apart.
    id: [u8; RECORD_AT],
    seed: u64,
    next: u64,
    block: BytesMut,
}

/// A record without its own id and noise.
struct Template {
    encoded: Vec<u8>,
    key: Range<usize>,
    payload: Range<usize>,
    partition: i32,
}

/// A record, encoded.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) encoded: Bytes,
    pub(crate) partition: i32,
    id: Range<usize>,
    key: Range<usize>,
    payload: Range<usize>,
}

/// How records look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) payload_bytes: usize,
    /// Partitions of the topic that they go to.
    pub(crate) partitions: u32,
    /// With what the gateway adds, as they lie in the log.
    pub(crate) stamped: bool,
}

// === impl Stock ===

impl Stock {
    /// Everything that does not change from record to record.
    pub(crate) fn new(shape: Shape) -> Arc<Self> {
        let id = Uuid::nil().hyphenated().to_string();
        let templates: Vec<_> = (0..KEYS)
            .map(|key| Template::new(shape, &id, key))
            .collect();
        let first = templates.first();
        // The payload ends with the noise, a quotation mark and a brace.
        let noise_end = first.map_or(0, |template| template.payload.end - 2);
        Arc::new(Self {
            noise: noise(),
            noise_at: noise_end - noise_bytes(shape.payload_bytes)..noise_end,
            id_at: first.map_or(0, |template| find(&template.encoded, id.as_bytes())),
            templates,
        })
    }
}

// === impl Maker ===

impl Maker {
    /// Maker `number` (below `MAKERS`) of the series `id`, which no other run has.
    pub(crate) fn new(stock: &Arc<Stock>, id: Uuid, number: usize) -> Self {
        let mut text = [0; RECORD_AT];
        let prefix = id.hyphenated().to_string();
        text[..MAKER_AT].copy_from_slice(&prefix.as_bytes()[..MAKER_AT]);
        write_hex(&mut text[MAKER_AT..], (number % MAKERS) as u64);
        Self {
            stock: Arc::clone(stock),
            id: text,
            seed: mix(id.as_u64_pair().0 ^ number as u64),
            next: 0,
            block: BytesMut::new(),
        }
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> Made {
        let number = self.next;
        self.next += 1;
        let stock = &*self.stock;
        let template = &stock.templates[number as usize % KEYS];
        let bytes = template.encoded.len();
        if self.block.capacity() < bytes {
            self.block = BytesMut::with_capacity(BLOCK.max(bytes));
        }
        self.block.extend_from_slice(&template.encoded);
        let id = stock.id_at..stock.id_at + ID_BYTES;
        let text = &mut self.block[id.clone()];
        text[..RECORD_AT].copy_from_slice(&self.id);
        write_hex(&mut text[RECORD_AT..], number);
        let length = stock.noise_at.len();
        let from = mix(self.seed ^ number) as usize % (NOISE_BYTES - length);
        self.block[stock.noise_at.clone()].copy_from_slice(&stock.noise[from..from + length]);
        Made {
            encoded: self.block.split().freeze(),
            partition: template.partition,
            id,
            key: template.key.clone(),
            payload: template.payload.clone(),
        }
    }
}

// === impl Template ===

impl Template {
    fn new(shape: Shape, id: &str, key: usize) -> Self {
        let key = format!("device-{key:04}");
        let payload = payload(&key, shape.payload_bytes);
        let record = SyncRecord {
            request_id: id.to_owned(),
            key: key.clone(),
            payload: payload.clone().into(),
            content_type: "application/json".to_owned(),
            ..SyncRecord::default()
        };
        let mut encoded = record.encode_to_vec();
        if shape.stamped {
            let accepted = Time {
                seconds: 1_795_329_601,
                nanos: 7,
            };
            encoded = with_gateway_fields(&encoded, None, DEFAULT_TENANT, accepted).to_vec();
        }
        let range = |part: &[u8]| {
            let at = find(&encoded, part);
            at..at + part.len()
        };
        // The key stands in the payload as well, behind its own field.
        let (key_at, payload_at) = (range(key.as_bytes()), range(&payload));
        Self {
            partition: partition_of(key.as_bytes(), shape.partitions),
            key: key_at,
            payload: payload_at,
            encoded,
        }
    }
}

// === impl Made ===

impl Made {
    /// Its request id.
    pub(crate) fn request_id(&self) -> &str {
        self.text(&self.id)
    }

    /// Its key.
    pub(crate) fn key(&self) -> &str {
        self.text(&self.key)
    }

    /// Its payload.
    pub(crate) fn payload(&self) -> Bytes {
        self.encoded.slice(self.payload.clone())
    }

    /// What effect it names.
    pub(crate) fn identity(&self) -> Id16 {
        Id16::of(DEFAULT_TENANT, self.key(), self.request_id())
    }

    /// As the producer takes it.
    pub(crate) fn to_produce(&self) -> ProduceRecord {
        ProduceRecord {
            partition: self.partition,
            key: self.encoded.slice(self.key.clone()),
            value: self.encoded.clone(),
        }
    }

    /// Ids and keys are ASCII.
    fn text(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(&self.encoded[range.clone()]).unwrap_or_default()
    }
}

/// JSON of `bytes` bytes (at least 64); its last [`noise_bytes`] before the end are to be replaced.
fn payload(key: &str, bytes: usize) -> Vec<u8> {
    let noise = "0".repeat(noise_bytes(bytes));
    let fixed = format!("{{\"device\":\"{key}\",\"text\":\"\",\"noise\":\"{noise}\"}}").len();
    let text: String = TEXT
        .chars()
        .cycle()
        .take(bytes.saturating_sub(fixed))
        .collect();
    format!("{{\"device\":\"{key}\",\"text\":\"{text}\",\"noise\":\"{noise}\"}}").into_bytes()
}

/// How much of a payload of `bytes` bytes is noise.
fn noise_bytes(bytes: usize) -> usize {
    (bytes / 2)
        .min(bytes.saturating_sub(48))
        .min(NOISE_BYTES / 2)
}

/// Hex digits that do not repeat.
fn noise() -> Vec<u8> {
    let mut noise = vec![0; NOISE_BYTES];
    for (index, digits) in noise.chunks_exact_mut(16).enumerate() {
        write_hex(digits, mix(index as u64));
    }
    noise
}

/// The last digits of `number`, as many as there is room.
fn write_hex(room: &mut [u8], mut number: u64) {
    for digit in room.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Where `part` begins; it is there.
fn find(whole: &[u8], part: &[u8]) -> usize {
    whole
        .windows(part.len())
        .position(|window| window == part)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::wire::RecordView;
    use std::collections::HashSet;

    #[test]
    fn records_are_what_they_say_and_no_two_share_an_id() {
        for (payload_bytes, stamped) in [(64, false), (200, true), (1_024, false)] {
            let stock = Stock::new(Shape {
                payload_bytes,
                partitions: 12,
                stamped,
            });
            let id = Uuid::now_v7();
            let mut ids = HashSet::new();
            for number in [0, 1, MAKERS - 1] {
                let mut maker = Maker::new(&stock, id, number);
                for _ in 0..2_000 {
                    let made = maker.next();
                    let view = RecordView::parse(&made.encoded).unwrap();
                    assert_eq!(view.request_id, made.request_id());
                    assert_eq!((view.key, view.payload), (made.key(), &made.payload()[..]));
                    assert_eq!(view.payload.len(), payload_bytes);
                    assert_eq!(view.tenant.is_empty(), !stamped);
                    assert_eq!(view.request_id.len(), 36);
                    let json: serde_json::Value = serde_json::from_slice(view.payload).unwrap();
                    assert_eq!(json.pointer(KEY_POINTER).unwrap(), view.key);
                    assert!(ids.insert(view.request_id.to_owned()));
                }
            }
        }
    }
}
