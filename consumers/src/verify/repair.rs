//! What is missing or altered, made anew, each under its own name.
//!
//! In: what was found. Out: what was created or replaced, and what was left, with the reason.
//! Promises: nothing goes through the topic, so nobody else sees it again; what is missing is
//! created only where nothing lies, what is altered replaced only if nobody changed it meanwhile;
//! nothing is ever removed: a line of a replaced object stays unless a better one was found.

use super::VerifyError;
use super::entry::Places;
use super::found::{Fix, Found};
use super::judge::Kind;
use super::pieces::{Piece, PieceLines, own_lines};
use super::scope::LogScope;
use super::source::{Source, each_line, key_of};
use super::work::Fault;
use crate::chain::ChainName;
use crate::chain::SegmentName;
use crate::chain::reader::SegmentReader;
use crate::record::name::ObjectName;
use crate::sink::{Create, Replace, SegmentSink};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Mended {
    /// Objects that were created.
    pub created: u64,
    /// Objects that were replaced.
    pub replaced: u64,
    /// Records in them that had been missing or altered.
    pub records: u64,
    /// The first 1,000 objects, as `destination: name`.
    pub objects: Vec<String>,
    /// What was left, and why: the first 1,000.
    pub left: Vec<String>,
    /// How much was left in all.
    pub left_count: u64,
}

/// A repair of one destination.
#[derive(Debug)]
pub(super) struct Repair<'a> {
    pub(super) source: &'a Source,
    pub(super) places: &'a Places,
    pub(super) log: Option<&'a LogScope>,
    /// What the log holds of each partition.
    pub(super) ranges: &'a BTreeMap<i32, (i64, i64)>,
    /// The destination.
    pub(super) side: u8,
    name: &'a str,
    mended: Mended,
}

/// Most objects that are named.
const NAMED: usize = 1_000;
/// Records that are fetched at once in `record` mode.
const AT_ONCE: usize = 64;

/// Mends what `found` says at both destinations. `ranges`: first offset, and offset behind the last
/// one, of each partition that the log has.
///
/// # Errors
/// [`VerifyError`], when a destination or the log does not answer; what was mended by then stays.
pub async fn mend(
    found: &mut Found,
    source: &Source,
    ranges: &BTreeMap<i32, (i64, i64)>,
) -> Result<Mended, VerifyError> {
    let mut all = Mended::default();
    let Some(mut fixes) = found.fixes.take() else {
        return Ok(all);
    };
    for side in [0, 1] {
        let mut repair = Repair {
            source,
            places: &found.places,
            log: found.scope.log.as_ref(),
            ranges,
            side,
            name: &found.scope.names[usize::from(side)],
            mended: std::mem::take(&mut all),
        };
        let of_side = found.faults.iter().filter(|fault| fault.side == side);
        let faults: Vec<&Fault> = of_side.filter(|fault| fault.kind != Kind::Extra).collect();
        let mut chains: BTreeSet<u32> = fixes.chains(side).into_iter().collect();
        chains.extend(faults.iter().filter_map(|fault| fault.place));
        let directory = fixes.directory().to_owned();
        let failed = |error| VerifyError::state(&directory, error);
        for chain in chains {
            let of_chain = fixes.of_chain(side, chain).map_err(failed)?;
            let broken = faults.iter().filter(|fault| fault.place == Some(chain));
            let broken: Vec<&Fault> = broken.copied().collect();
            repair.chain(chain, &broken, &of_chain).await?;
        }
        let objects = fixes.of_objects(side).map_err(failed)?;
        repair.objects(&objects).await?;
        all = repair.mended;
    }
    if fixes.unknown > 0 {
        all.leave(format!(
            "{} records: nothing tells what they should be; --with-topic asks the log",
            fixes.unknown
        ));
    }
    if fixes.left_out > 0 {
        let more = fixes.left_out;
        all.leave(format!(
            "{more} records more than one repair takes: run it again"
        ));
    }
    Ok(all)
}

// === impl Repair ===

impl Repair<'_> {
    /// What `fix` says would take the place of another record.
    pub(super) fn not_there(&mut self, name: &str, fix: &Fix) {
        let (id, offset) = (fix.entry.id, fix.offset());
        let to = self.name;
        self.mended.leave(format!(
            "{to}: {name}: offset {offset} is another record than id16 {id}, which came from another \
             log: nothing tells where it belongs"
        ));
    }

    fn sink(&self) -> &Arc<dyn SegmentSink> {
        &self.source.sides[usize::from(self.side & 1)].sink
    }

    /// Nobody has the line that `fix` needs.
    pub(super) fn nobody_has(&mut self, name: &str, fix: &Fix) {
        let (id, offset) = (fix.entry.id, fix.offset());
        let to = self.name;
        self.mended.leave(format!(
            "{to}: {name}: offset {offset}, id16 {id}: nobody has it any more"
        ));
    }

    fn wrote(&mut self, name: &str, replaced: bool, records: u64) {
        let mended = &mut self.mended;
        *match replaced {
            true => &mut mended.replaced,
            false => &mut mended.created,
        } += 1;
        mended.records += records;
        if mended.objects.len() < NAMED {
            mended.objects.push(format!("{}: {name}", self.name));
        }
    }

    fn leave(&mut self, name: &str, why: &str) {
        let left = format!("{}: {name}: {why}", self.name);
        self.mended.leave(left);
    }

    // === batch ===

    async fn chain(
        &mut self,
        place: u32,
        faults: &[&Fault],
        fixes: &[Fix],
    ) -> Result<(), VerifyError> {
        let chain = self.places.get(place).and_then(|place| place.chain());
        let Some(chain) = chain else {
            return Ok(());
        };
        let here = starts(self.sink().as_ref(), &chain).await?;
        let mut pieces: BTreeMap<i64, Piece> = BTreeMap::new();
        for fault in faults {
            let name = chain.segment(fault.start).to_string();
            let end = match fault.end {
                Some(end) => Some(end),
                None => self.other_end(&name).await?,
            };
            let Some(end) = end.filter(|end| *end > fault.start) else {
                self.leave(&name, "nothing tells where it ends");
                continue;
            };
            let ours = self.log;
            let ours = ours.filter(|log| *log.topic == *chain.topic && *log.id == *chain.log);
            if ours.is_some_and(|log| end > log.bound(chain.partition)) {
                self.leave(
                    &name,
                    "the other destination has not come so far; run it again later",
                );
                continue;
            }
            let piece = Piece {
                chain: chain.clone(),
                start: fault.start,
                end,
                replaces: fault.kind == Kind::Altered,
            };
            pieces.insert(fault.start, piece);
        }
        for fix in fixes {
            let at = fix.offset();
            let before = pieces.range(..=at).next_back();
            if before.is_none_or(|(_, piece)| piece.end <= at) {
                let last = fixes.last().map_or(at, Fix::offset);
                let piece = self.piece_around(&chain, &here, at, last).await?;
                pieces.insert(piece.start, piece);
            }
        }
        for piece in pieces.into_values() {
            self.piece(piece, fixes).await?;
        }
        Ok(())
    }

    /// The piece around offset `at`, which no fault of an object covers: the segment that lies
    /// there, or the part of the chain that has none.
    async fn piece_around(
        &self,
        chain: &ChainName,
        here: &BTreeSet<i64>,
        at: i64,
        last: i64,
    ) -> Result<Piece, VerifyError> {
        let partition = chain.partition;
        let ours = self
            .log
            .filter(|log| *log.topic == *chain.topic && *log.id == *chain.log);
        let committed = ours.and_then(|log| log.committed[usize::from(self.side)].get(&partition));
        let behind = here.range(at.saturating_add(1)..).next().copied();
        let end = behind.unwrap_or_else(|| {
            let last = last.saturating_add(1);
            committed.map_or(last, |committed| last.max(*committed))
        });
        let piece = |start, end, replaces| Piece {
            chain: chain.clone(),
            start,
            end,
            replaces,
        };
        let Some(start) = here.range(..=at).next_back().copied() else {
            let other = &self.source.sides[usize::from(1 - self.side)].sink;
            let other = starts(other.as_ref(), chain).await?;
            let begins = other.first().copied().filter(|start| *start <= at);
            return Ok(piece(begins.unwrap_or(at), end, false));
        };
        let name = chain.segment(start).to_string();
        Ok(match end_in(self.sink().as_ref(), &name).await? {
            Some(own) if own > at => piece(start, own, true),
            Some(own) => piece(own, end, false),
            None => piece(start, end, true),
        })
    }

    /// Where the segment `name` ends at the other destination.
    async fn other_end(&self, name: &str) -> Result<Option<i64>, VerifyError> {
        let other = &self.source.sides[usize::from(1 - self.side)].sink;
        end_in(other.as_ref(), name).await
    }

    /// Makes `piece`, or as many as it takes.
    async fn piece(&mut self, mut piece: Piece, fixes: &[Fix]) -> Result<(), VerifyError> {
        let whole = piece.end;
        loop {
            let from = fixes.partition_point(|fix| fix.offset() < piece.start);
            let to = fixes.partition_point(|fix| fix.offset() < whole);
            let inside = fixes.get(from..to).unwrap_or_default();
            let name = piece.chain.segment(piece.start).to_string();
            let before = match piece.replaces {
                true => self.sink().get_versioned(&name).await?,
                false => None,
            };
            let read = before.as_ref().map(|(object, _)| own_lines(object, &piece));
            let mut lines = match read {
                Some(Some(lines)) => lines,
                // What was for this destination alone is nowhere else, unless the log has it.
                Some(None) if !self.log_has(&piece) => {
                    self.leave(
                        &name,
                        "it cannot be read, and without the log nothing tells what was in it for this \
                         destination alone; once it is removed, the next repair makes it of what the \
                         other one has",
                    );
                    return Ok(());
                }
                Some(None) | None => PieceLines::new(),
            };
            let taken = self.lines_of(&mut piece, inside, &mut lines).await?;
            let object = self
                .seal(&piece, &lines, before.as_ref().map(|(object, _)| object))
                .await?;
            match before {
                Some((_, version)) => match self.sink().replace(&name, object, &version).await? {
                    Replace::Replaced => self.wrote(&name, true, taken as u64),
                    Replace::Changed => self.leave(&name, "somebody changed it meanwhile"),
                },
                None => self.create(&name, object, taken as u64).await?,
            }
            if piece.end >= whole {
                return Ok(());
            }
            (piece.start, piece.end) = (piece.end, whole);
        }
    }

    async fn create(&mut self, name: &str, object: Bytes, records: u64) -> Result<(), VerifyError> {
        match self.sink().create_if_absent(name, object).await? {
            Create::Created => self.wrote(name, false, records),
            Create::AlreadyExists => self.leave(name, "somebody created it meanwhile"),
        }
        Ok(())
    }

    // === record ===

    async fn objects(&mut self, fixes: &[Fix]) -> Result<(), VerifyError> {
        for chunk in fixes.chunks(AT_ONCE) {
            let wanted: Vec<_> = chunk.iter().map(|fix| fix.right).collect();
            let lines = self.source.fetch(&wanted, self.places).await?;
            for fix in chunk {
                match lines.get(&key_of(&fix.right)) {
                    Some(line) => self.object(fix, line).await?,
                    None => self.nobody_has("an object", fix),
                }
            }
        }
        Ok(())
    }

    async fn object(&mut self, fix: &Fix, line: &[u8]) -> Result<(), VerifyError> {
        let mut name = None;
        each_line(line, |line, id, _, _| {
            name = Some(ObjectName::new(&line.tenant, id).to_string());
        });
        let Some(name) = name else {
            self.nobody_has("an object", fix);
            return Ok(());
        };
        let body = Bytes::copy_from_slice(line);
        if !fix.replaces {
            return self.create(&name, body, 1).await;
        }
        let Some((_, version)) = self.sink().get_versioned(&name).await? else {
            return self.create(&name, body, 1).await;
        };
        match self.sink().replace(&name, body, &version).await? {
            Replace::Replaced => self.wrote(&name, true, 1),
            Replace::Changed => self.leave(&name, "somebody changed it meanwhile"),
        }
        Ok(())
    }
}

// === impl Mended ===

impl Mended {
    fn leave(&mut self, what: String) {
        self.left_count += 1;
        if self.left.len() < NAMED {
            self.left.push(what);
        }
    }
}

/// The starts of the segments of `chain` at `sink`.
async fn starts(sink: &dyn SegmentSink, chain: &ChainName) -> Result<BTreeSet<i64>, VerifyError> {
    let names = sink.list(&chain.prefix()).await?;
    let segments = names.iter().filter_map(|name| SegmentName::parse(name));
    Ok(segments.map(|segment| segment.start).collect())
}

/// Where the segment `name` ends, as its header says; `None` if it cannot be read.
async fn end_in(sink: &dyn SegmentSink, name: &str) -> Result<Option<i64>, VerifyError> {
    let object = sink.get(name).await?;
    let reader = object.as_ref().map(|object| SegmentReader::open(object));
    Ok(reader.and_then(Result::ok).map(|reader| reader.header.end))
}
