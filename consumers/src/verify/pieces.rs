//! One segment made anew.
//!
//! In: the range that it covers, what lies there now, and the lines that belong into it. Out: the
//! object. Promises: its header satisfies every reader; what the log or the other destination knows
//! of the covered records stands in it, and where nobody knows, a number of records that no log
//! reaches: then a consumer that meets the segment compares its lines with the log, one by one.

use super::VerifyError;
use super::found::Fix;
use super::repair::Repair;
use super::source::{each_line, key_of};
use crate::chain::ChainName;
use crate::chain::closed::What;
use crate::chain::reader::{SegmentReader, raw_lines};
use crate::chain::segment::{Digest, Header, KIND, VERSION, seal};
use crate::parse::{Content, Polled};
use bytes::Bytes;
use cloudsync_kafka::read_range;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A range of offsets that becomes one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its chain.
    pub(super) chain: ChainName,
    /// First offset covered.
    pub(super) start: i64,
    /// First offset behind.
    pub(super) end: i64,
    /// It takes the place of an object that lies there.
    pub(super) replaces: bool,
}

/// Its lines, by offset.
pub(super) type PieceLines = BTreeMap<i64, Vec<u8>>;

/// Fixes that are fetched at once: a record may have a megabyte.
const AT_ONCE: usize = 64;
/// Lines of one segment, in bytes: a longer gap becomes several segments.
const MOST_BYTES: usize = 64 << 20;

impl Repair<'_> {
    /// The lines of `piece` out of `fixes` (in order of offset, all inside it), and how many of them
    /// these are. A piece that would be too long ends early, unless it takes an object's place.
    pub(super) async fn lines_of(
        &mut self,
        piece: &mut Piece,
        fixes: &[Fix],
        lines: &mut PieceLines,
    ) -> Result<usize, VerifyError> {
        let (mut taken, mut bytes) = (0, 0);
        for chunk in fixes.chunks(AT_ONCE) {
            if bytes > MOST_BYTES && !piece.replaces {
                piece.end = chunk.first().map_or(piece.end, Fix::offset);
                break;
            }
            let wanted: Vec<_> = chunk.iter().map(|fix| fix.right).collect();
            let found = self.source.fetch(&wanted, self.places).await?;
            for fix in chunk {
                taken += 1;
                let Some(line) = found.get(&key_of(&fix.right)) else {
                    self.nobody_has(&piece.chain.segment(piece.start).to_string(), fix);
                    continue;
                };
                let line = with_offset(line, fix.offset());
                if lines
                    .get(&fix.offset())
                    .is_some_and(|there| !same_id(there, &line))
                {
                    // Another log's record, from a place that does not say which log.
                    self.not_there(&piece.chain.segment(piece.start).to_string(), fix);
                    continue;
                }
                bytes += line.len();
                lines.insert(fix.offset(), line);
            }
        }
        Ok(taken)
    }

    /// The object of `piece`.
    pub(super) async fn seal(
        &self,
        piece: &Piece,
        lines: &PieceLines,
        before: Option<&Bytes>,
    ) -> Result<Bytes, VerifyError> {
        let Piece {
            chain, start, end, ..
        } = piece;
        let mut digest = Digest::default();
        let text: Vec<u8> = lines.values().flatten().copied().collect();
        each_line(&text, |line, id, _, _| {
            if let Some(stated) = line.fingerprint() {
                digest.record(line.offset, id, stated);
            }
        });
        let count = lines.len() as u64;
        let of_lines = digest.text();
        // Every record written: then the lines alone make the digest, and every reader holds it
        // against them.
        let fits = |(records, digest): &(u64, String)| match count {
            _ if count == *records => *digest == of_lines,
            _ => count < *records,
        };
        let known = self.covered(piece, before).await?.filter(fits);
        // One more than there are offsets: no log has as many, so the lines decide.
        let unknown = || (end.abs_diff(*start) + 1, of_lines.clone());
        let (records, digest) = known.unwrap_or_else(unknown);
        let header = Header {
            cloudsync: KIND.to_owned(),
            version: VERSION,
            log: chain.log.as_ref().to_owned(),
            topic: chain.topic.as_ref().to_owned(),
            partition: chain.partition,
            start: *start,
            end: *end,
            lines: count,
            records,
            digest,
        };
        let sealed = seal(&header, &text);
        sealed.map_err(|error| VerifyError::state(std::path::Path::new("memory"), error))
    }

    /// How many records `piece` covers, and their digest, from whoever knows: the log, where it
    /// still has the whole range; the other destination, where a segment covers the same; the object
    /// of before.
    async fn covered(
        &self,
        piece: &Piece,
        before: Option<&Bytes>,
    ) -> Result<Option<(u64, String)>, VerifyError> {
        if let Some(known) = self.covered_in_log(piece).await? {
            return Ok(Some(known));
        }
        let same = |object: &Bytes| {
            let header = SegmentReader::open(object).ok()?.header;
            let same = header.name() == piece.chain.segment(piece.start) && header.end == piece.end;
            same.then_some((header.records, header.digest))
        };
        let name = piece.chain.segment(piece.start).to_string();
        let other = &self.source.sides[usize::from(1 - self.side)];
        let other = other.sink.get(&name).await?;
        Ok(other
            .as_ref()
            .and_then(same)
            .or_else(|| before.and_then(same)))
    }

    /// Whether the log still has all of `piece`, and so was asked for it.
    pub(super) fn log_has(&self, piece: &Piece) -> bool {
        let Piece {
            chain, start, end, ..
        } = piece;
        let ours = self
            .log
            .is_some_and(|log| *log.topic == *chain.topic && *log.id == *chain.log);
        let has = |(from, to): &(i64, i64)| from <= start && end <= to;
        ours && self.source.kafka.is_some() && self.ranges.get(&chain.partition).is_some_and(has)
    }

    async fn covered_in_log(&self, piece: &Piece) -> Result<Option<(u64, String)>, VerifyError> {
        let Piece {
            chain, start, end, ..
        } = piece;
        let (true, Some(kafka)) = (self.log_has(piece), &self.source.kafka) else {
            return Ok(None);
        };
        let covered = Arc::new(Mutex::new((0u64, Digest::default())));
        let taken = Arc::clone(&covered);
        read_range(kafka, chain.partition, *start..*end, move |record| {
            let offset = record.offset;
            let mut taken = taken.lock();
            taken.0 += 1;
            match what(&Polled::parse(record, "", 1)) {
                What::Named(named) => taken.1.record(offset, named.id, named.fingerprint),
                What::Undecodable(hash) => taken.1.undecodable(offset, hash),
            }
        })
        .await?;
        let covered = covered.lock();
        Ok(Some((covered.0, covered.1.text())))
    }
}

fn what(polled: &Polled) -> What {
    match polled.content {
        Content::Record { named, .. } => What::Named(named),
        Content::Undecodable { hash, .. } => What::Undecodable(hash),
    }
}

/// The lines of a segment that lie in `piece`: also those that are altered, for whom nobody may have
/// the right one. `None`: it cannot be read.
pub(super) fn own_lines(object: &[u8], piece: &Piece) -> Option<PieceLines> {
    let mut lines = PieceLines::new();
    let text = raw_lines(object).ok()?;
    each_line(&text, |line, _, _, text| {
        if (piece.start..piece.end).contains(&line.offset) {
            lines.insert(line.offset, text.to_vec());
        }
    });
    Some(lines)
}

/// Whether two lines are of one identity.
fn same_id(one: &[u8], other: &[u8]) -> bool {
    let id_of = |text: &[u8]| {
        let mut found = None;
        each_line(text, |_, id, _, _| found = Some(id));
        found
    };
    id_of(one) == id_of(other)
}

/// `line`, saying `offset`: the first thing that a line says.
fn with_offset(line: &[u8], offset: i64) -> Vec<u8> {
    const FIRST: &[u8] = b"{\"offset\":";
    let Some(rest) = line.strip_prefix(FIRST) else {
        return line.to_vec();
    };
    let digits = rest.iter().take_while(|byte| **byte != b',').count();
    let mut out = FIRST.to_vec();
    out.extend_from_slice(offset.to_string().as_bytes());
    out.extend_from_slice(&rest[digits..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_to_another_offset_and_stays_what_it_is() {
        let line = b"{\"offset\":17,\"time\":\"t\",\"payload\":{\"offset\":17}}\n";
        let moved = with_offset(line, 900);
        let wanted = b"{\"offset\":900,\"time\":\"t\",\"payload\":{\"offset\":17}}\n";
        assert_eq!(moved, wanted);
    }
}
