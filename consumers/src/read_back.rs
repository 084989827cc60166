//! What lies at a destination, read back: the evidence for ledgers.
//!
//! In: a destination's settings. Out: every delivered record, with the identity and the fingerprint
//! computed anew from what lies there, and a list of what is damaged, by name. Promises: memory
//! stays constant, whatever lies there; what cannot be read is named, never passed over.

use crate::chain::reader::{IdentifiedLine, SegmentReader};
use crate::chain::{ChainName, SegmentName};
use crate::record::name::ObjectName;
use crate::record::object;
use crate::settings::DestinationSettings;
use crate::sink::marker::is_own_name;
use crate::sink::{self, OpenError, SegmentSink, SinkError};
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_runtime::chain;
use std::collections::BTreeMap;

/// A record as it lies at the destination.
#[derive(Clone, Copy, Debug)]
pub struct DeliveredLine<'a> {
    /// The topic it comes from; empty where a record lies as an object of its own, which does not
    /// say.
    pub topic: &'a str,
    /// The log it comes from; empty in the same case.
    pub log: &'a str,
    /// Its partition; -1 in the same case.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its tenant.
    pub tenant: &'a str,
    /// Its key; may be empty.
    pub key: &'a str,
    /// Its request id.
    pub id: &'a str,
    /// Its content type; may be empty.
    pub content_type: &'a str,
    /// Its payload, as it was sent.
    pub payload: &'a [u8],
    /// Its identity, computed from what lies there.
    pub id16: Id16,
    /// Its fingerprint, computed from what lies there.
    pub fingerprint: Fingerprint,
    /// Its fingerprint, as stated there; another than the computed one is damage.
    pub stated: Fingerprint,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Objects that hold records.
    pub objects: u64,
    /// Records in them.
    pub lines: u64,
    /// Offsets that segments account for, written or not.
    pub records: u64,
    /// Everything that is not as it should be: at most 1,000 of them.
    pub damaged: Vec<Damage>,
    /// How many there are in all.
    pub damage_count: u64,
    /// Ranges between two segments of a chain that no segment covers: at most 1,000 of them.
    pub gaps: Vec<Gap>,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of the object.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// A range of offsets that no segment of a chain covers, though one behind it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The chain.
    pub chain: ChainName,
    /// First offset that is not covered.
    pub start: i64,
    /// First offset that is covered again.
    pub end: i64,
}

/// Why a destination could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// The URL names no destination.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It keeps nothing that could be read.
    #[error("{0} keeps nothing that could be read back")]
    KeepsNothing(String),
    /// It does not answer.
    #[error("cannot read the destination back")]
    Sink(#[from] SinkError),
}

/// Most damages and gaps that are listed.
const LISTED: usize = 1_000;

/// Visits every record that lies at `destination`, of all logs, in the order of the
/// names.
///
/// # Errors
/// [`ReadBackError`], when the destination cannot be read at all; a single object that cannot is
/// a [`Damage`].
pub async fn read_back(
    destination: &DestinationSettings,
    visit: &mut (dyn FnMut(DeliveredLine<'_>) + Send),
) -> Result<ReadBack, ReadBackError> {
    read_back_since(destination, "", &BTreeMap::new(), visit).await
}

/// Whether what is delivered to `destination` can be read back at all: not from an HTTP endpoint, and not
/// where nothing is kept.
///
/// # Errors
/// [`ReadBackError`], when it could be, but does not answer or is not there.
pub async fn can_be_read_back(destination: &DestinationSettings) -> Result<bool, ReadBackError> {
    if sink::is_http(&destination.url) {
        return Ok(false);
    }
    let sink = sink::connect(destination)?;
    if sink.is_conditional() {
        // Below a name that nothing has: it is there if it says that nothing is.
        sink.list("nothing/").await?;
    }
    Ok(sink.is_conditional())
}

/// As [`read_back`], but without the segments that end below where `topic` ended at an earlier
/// moment, as far as their names tell: `since` has that offset for each partition.
///
/// # Errors
/// As [`read_back`].
pub async fn read_back_since(
    destination: &DestinationSettings,
    topic: &str,
    since: &BTreeMap<i32, i64>,
    visit: &mut (dyn FnMut(DeliveredLine<'_>) + Send),
) -> Result<ReadBack, ReadBackError> {
    let sink = sink::connect(destination)?;
    if !sink.is_conditional() {
        return Err(ReadBackError::KeepsNothing(destination.url.clone()));
    }
    let mut names = sink.list("").await?;
    names.sort_unstable();
    let mut read = ReadBack::default();
    let mut ends = BTreeMap::new();
    let mut names = names.into_iter().peekable();
    while let Some(name) = names.next() {
        match SegmentName::parse(&name) {
            Some(segment) => {
                // A segment ends where the next one of its chain begins.
                let next = names.peek().and_then(|next| SegmentName::parse(next));
                let next = next.filter(|next| next.chain == segment.chain);
                let since = since.get(&segment.chain.partition);
                let since = since.filter(|_| *segment.chain.topic == *topic);
                if let (Some(next), Some(since)) = (next, since)
                    && next.start <= *since
                {
                    continue;
                }
                let end = read_segment(sink.as_ref(), &segment, &mut read, visit).await;
                read.take_end(&mut ends, segment, end);
            }
            None if is_own_name(&name) => {}
            None => match ObjectName::parse(&name) {
                Some(object) => read_object(sink.as_ref(), &object, &mut read, visit).await,
                None => read.damage(&name, "no object of a destination has such a name"),
            },
        }
        // One segment is some ten milliseconds of work: let others have their turn.
        tokio::task::yield_now().await;
    }
    Ok(read)
}

/// Reads one segment. Out: its end, or its start if it does not tell.
async fn read_segment(
    sink: &dyn SegmentSink,
    name: &SegmentName,
    read: &mut ReadBack,
    visit: &mut (dyn FnMut(DeliveredLine<'_>) + Send),
) -> Option<i64> {
    let text = name.to_string();
    let object = match sink.get(&text).await {
        Ok(Some(object)) => object,
        Ok(None) => {
            read.damage(&text, "it was listed and is gone");
            return None;
        }
        Err(error) => {
            read.damage(&text, &error.chain());
            return None;
        }
    };
    read.objects += 1;
    let reader = match SegmentReader::open(&object) {
        Ok(reader) => reader,
        Err(error) => {
            read.damage(&text, &chain(&error));
            return None;
        }
    };
    if reader.header.name() != *name {
        let why = format!("it says that it is {}", reader.header.name());
        read.damage(&text, &why);
    }
    let (records, end) = (reader.header.records, reader.header.end);
    read.records += records;
    match reader.for_each(|line| read.line(name, &text, &line, visit)) {
        Ok(_) => {}
        Err(error) => read.damage(&text, &chain(&error)),
    }
    Some(end)
}

/// Reads the object of one record. It does not say which log it comes from, so it belongs to all.
async fn read_object(
    sink: &dyn SegmentSink,
    name: &ObjectName,
    read: &mut ReadBack,
    visit: &mut (dyn FnMut(DeliveredLine<'_>) + Send),
) {
    let text = name.to_string();
    let body = match sink.get(&text).await {
        Ok(Some(body)) => body,
        Ok(None) => return read.damage(&text, "it was listed and is gone"),
        Err(error) => return read.damage(&text, &error.chain()),
    };
    read.objects += 1;
    match object::read(&body) {
        Ok(found) if found.id == name.id => {
            let identified = IdentifiedLine {
                line: found.line,
                id: found.id,
            };
            read.line(&nowhere(), &text, &identified, visit);
        }
        Ok(found) => read.damage(&text, &format!("it holds the record {}", found.id)),
        Err(why) => read.damage(&text, &why),
    }
}

/// Where a record comes from that lies as an object of its own: that does not say.
fn nowhere() -> SegmentName {
    ChainName {
        topic: "".into(),
        log: "".into(),
        partition: -1,
    }
    .segment(0)
}

// === impl ReadBack ===

impl ReadBack {
    fn line(
        &mut self,
        name: &SegmentName,
        text: &str,
        identified: &IdentifiedLine<'_>,
        visit: &mut (dyn FnMut(DeliveredLine<'_>) + Send),
    ) {
        let line = &identified.line;
        let Some(payload) = line.payload() else {
            self.damage(
                text,
                &format!("the line of offset {} has no one payload", line.offset),
            );
            return;
        };
        let fingerprint = Fingerprint::of(&payload, &line.content_type);
        let stated = line.fingerprint();
        if stated != Some(fingerprint) {
            let why = format!(
                "the line of offset {} (id {}) states fingerprint {} and has {fingerprint}",
                line.offset, line.id, line.fp
            );
            self.damage(text, &why);
        }
        self.lines += 1;
        visit(DeliveredLine {
            topic: &name.chain.topic,
            log: &name.chain.log,
            partition: name.chain.partition,
            offset: line.offset,
            tenant: &line.tenant,
            key: &line.key,
            id: &line.id,
            content_type: &line.content_type,
            payload: &payload,
            id16: identified.id,
            fingerprint,
            stated: stated.unwrap_or(fingerprint),
        });
    }

    /// Takes note of where `segment` ends; the next one of its chain starts there.
    fn take_end(
        &mut self,
        ends: &mut BTreeMap<ChainName, Option<i64>>,
        segment: SegmentName,
        end: Option<i64>,
    ) {
        let SegmentName { chain, start } = segment;
        if let Some(Some(before)) = ends.insert(chain.clone(), end) {
            if start < before {
                let name = chain.segment(start).to_string();
                self.damage(&name, &format!("the segment before it ends at {before}"));
            } else if start > before && self.gaps.len() < LISTED {
                self.gaps.push(Gap {
                    chain,
                    start: before,
                    end: start,
                });
            }
        }
    }

    fn damage(&mut self, name: &str, why: &str) {
        self.damage_count += 1;
        if self.damaged.len() < LISTED {
            self.damaged.push(Damage {
                name: name.to_owned(),
                why: why.to_owned(),
            });
        }
    }
}

#[cfg(test)]
mod tests;
