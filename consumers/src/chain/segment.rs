//! A segment as bytes: what lies at a destination in `batch` mode.
//!
//! In: the lines of a closed segment and what it covers. Out: one object that describes itself: a
//! zstd skippable frame with the [`Header`] as one line of JSON, then one zstd frame of lines
//! ([`super::line`]). `zstdcat` passes over the first, so `zstdcat FILE | jq` shows the records.
//! Promises: the same bytes at every destination.

use super::line::push_hex;
use super::lines::Lines;
use super::name::SegmentName;
use bytes::Bytes;
use cloudsync::identity::{Fingerprint, Id16};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use xxhash_rust::xxh3::Xxh3Default;

/// The version of the format that this build writes, and the only one that it reads.
pub const VERSION: u32 = 1;
/// First 4 bytes of the skippable frame, little-endian.
pub(super) const MAGIC: u32 = 0x184D_2A50;
/// What `cloudsync` says in the header of a segment.
pub(crate) const KIND: &str = "segment";

/// What stands between the rest of the header and its sum.
const SUM: &str = ",\"sum\":\"";

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Header {
    /// `segment`.
    pub cloudsync: String,
    /// [`VERSION`].
    pub version: u32,
    /// The log id.
    pub log: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// First offset covered.
    pub start: i64,
    /// First offset behind those covered.
    pub end: i64,
    /// Records written: so many lines follow.
    pub lines: u64,
    /// Records covered, written or not.
    pub records: u64,
    /// [`Digest`] of the records covered, 32 hex digits.
    pub digest: String,
    // Behind it stands `sum`: see `seal`.
}

/// XXH3-128 over each covered record in order of offset: the offset (8 bytes, little-endian), then
/// id16 and fingerprint (8 bytes, little-endian), or XXH3-128 of its bytes (16 bytes,
/// little-endian) if it is undecodable. Two logs that agree on it hold the same records there.
#[derive(Clone, Default)]
pub struct Digest(Xxh3Default);

// === impl Digest ===

impl Digest {
    /// Adds a record.
    pub fn record(&mut self, offset: i64, id: Id16, fingerprint: Fingerprint) {
        self.0.update(&offset.to_le_bytes());
        self.0.update(&id.0);
        self.0.update(&fingerprint.0.to_le_bytes());
    }

    /// Adds an undecodable record.
    pub fn undecodable(&mut self, offset: i64, hash: [u8; 16]) {
        self.0.update(&offset.to_le_bytes());
        self.0.update(&hash);
    }

    /// As the header states it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut hex = Vec::with_capacity(32);
        push_hex(&mut hex, &self.0.digest128().to_be_bytes());
        String::from_utf8(hex).unwrap_or_default()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.text())
    }
}

// === impl Header ===

impl Header {
    /// The name under which a segment with this header lies.
    #[must_use]
    pub fn name(&self) -> SegmentName {
        let chain = super::ChainName {
            topic: self.topic.as_str().into(),
            log: self.log.as_str().into(),
            partition: self.partition,
        };
        SegmentName {
            chain,
            start: self.start,
        }
    }
}

/// The object that holds `lines`, as they are, under `header`.
///
/// # Errors
/// What zstd says; it has no reason to but a lack of memory.
pub fn seal(header: &Header, lines: &[u8]) -> io::Result<Bytes> {
    let mut packed = Lines::default();
    packed.append(|piece| piece.extend_from_slice(lines));
    seal_frame(header, &packed.frame()?)
}

/// The object that holds the lines in `frame` under `header`.
///
/// Last in the header stands `sum`, 16 hex digits: XXH3-64 of what stands before it in the header
/// and of the zstd frame. So no byte of an object can be altered unnoticed, not even in the header
/// or where zstd itself would not mind.
///
/// # Errors
/// When the header cannot be written as JSON, which has no reason either.
pub fn seal_frame(header: &Header, frame: &[u8]) -> io::Result<Bytes> {
    let mut head = serde_json::to_vec(header)?;
    head.pop();
    let sum = sum(&head, frame);
    head.extend_from_slice(SUM.as_bytes());
    push_hex(&mut head, &sum.to_be_bytes());
    head.extend_from_slice(b"\"}\n");
    let head_length = u32::try_from(head.len()).map_err(io::Error::other)?;
    let mut object = Vec::with_capacity(8 + head.len() + frame.len());
    object.extend_from_slice(&MAGIC.to_le_bytes());
    object.extend_from_slice(&head_length.to_le_bytes());
    object.extend_from_slice(&head);
    object.extend_from_slice(frame);
    Ok(object.into())
}

/// Whether `head`, the header of an object as text, ends in the sum of itself and of `packed`.
pub(super) fn has_its_sum(head: &[u8], packed: &[u8]) -> bool {
    let Some(at) = head.len().checked_sub(SUM.len() + 16 + 3) else {
        return false;
    };
    let (before, end) = head.split_at(at);
    let mut expected = SUM.as_bytes().to_vec();
    push_hex(&mut expected, &sum(before, packed).to_be_bytes());
    expected.extend_from_slice(b"\"}\n");
    expected == end
}

fn sum(head: &[u8], packed: &[u8]) -> u64 {
    let mut sum = Xxh3Default::new();
    sum.update(head);
    sum.update(packed);
    sum.digest()
}
