//! Reading a destination.
//!
//! In: a place for objects. Out: an entry for each record that lies there, and every object that is
//! missing, altered or not ours. Promises: one chain, or one 256th of a tenant's objects, at a time:
//! the names of more than that are never in memory; everything is computed from what lies there.

use super::VerifyError;
use super::entry::{ALTERED, Entry, Place, SUSPECT, Voice, addressed};
use super::follow::Follow;
use super::judge::Kind;
use super::patient::Patient;
use super::scope::Scope;
use super::work::{Fault, Work};
use crate::chain::reader::{IdentifiedLine, SegmentReader};
use crate::chain::{ChainName, SegmentName};
use crate::record::name::ObjectName;
use crate::record::object;
use crate::sink::SegmentSink;
use crate::sink::marker::is_own_name;
use bytes::Bytes;
use cloudsync::identity::Fingerprint;
use cloudsync_runtime::chain as error_chain;
use futures::{StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Segments that are read at once: up to 4 MiB each, more for large records.
const SEGMENTS_AT_ONCE: usize = 4;
/// Objects of one record each that are read at once.
const OBJECTS_AT_ONCE: usize = 32;

/// A destination.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its number, 0 or 1.
    pub number: u8,
    /// What stands at its URL.
    pub sink: Arc<dyn SegmentSink>,
}

impl Side {
    /// The destination of this number at `sink`; what fails there for a moment is read again.
    #[must_use]
    pub fn new(number: u8, sink: Arc<dyn SegmentSink>) -> Self {
        let sink = Arc::new(Patient(sink));
        Self { number, sink }
    }
}

/// How many records have been read, for whoever shows it.
#[derive(Debug, Default)]
pub struct Seen(pub AtomicU64);

/// What lies together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unit {
    Chain(ChainName),
    Objects { tenant: String, prefix: String },
}

/// What one object holds.
struct Parsed {
    /// Start and end of a segment.
    start: i64,
    end: Option<i64>,
    entries: Vec<Entry>,
    /// It is not whole, or not what its name says.
    wrong: Option<String>,
}

/// Reads everything that lies at `side` and has not been read yet.
///
/// # Errors
/// [`VerifyError`], when the destination cannot be read; an object that cannot is a [`Fault`].
pub async fn read(work: &mut Work, side: &Side, seen: &Seen) -> Result<(), VerifyError> {
    let (units, strange) = units(side.sink.as_ref()).await?;
    let part = format!("{} strange", side.number);
    if !work.is_done(&part) {
        for name in strange {
            work.fault(not_ours(side.number, name));
        }
        work.done(part)?;
    }
    for unit in units {
        let part = format!("{} {}", side.number, unit.prefix());
        if work.is_done(&part) {
            continue;
        }
        match &unit {
            Unit::Chain(chain) => read_chain(work, side, chain, seen).await?,
            Unit::Objects { tenant, prefix } => {
                read_objects(work, side, tenant, prefix, seen).await?;
            }
        }
        work.done(part)?;
    }
    Ok(())
}

/// What there is to be read, and the names that are none of ours.
async fn units(sink: &dyn SegmentSink) -> Result<(Vec<Unit>, Vec<String>), VerifyError> {
    let (mut units, mut strange) = (Vec::new(), Vec::new());
    let top = sink.level("").await?;
    strange.extend(top.names.into_iter().filter(|name| !is_own_name(name)));
    for topic in top.prefixes {
        let below = sink.level(&topic).await?;
        strange.extend(below.names);
        if let Some(tenant) = topic.strip_prefix("t=") {
            let tenant = tenant.trim_end_matches('/').to_owned();
            units.extend(below.prefixes.into_iter().map(|prefix| Unit::Objects {
                tenant: tenant.clone(),
                prefix,
            }));
            continue;
        }
        for log in below.prefixes {
            let below = sink.level(&log).await?;
            strange.extend(below.names);
            for prefix in below.prefixes {
                let first = SegmentName::parse(&format!("{prefix}{:020}.ndjson.zst", 0));
                match first {
                    Some(first) => units.push(Unit::Chain(first.chain)),
                    None => strange.extend(sink.list(&prefix).await?),
                }
            }
        }
    }
    Ok((units, strange))
}

fn not_ours(side: u8, name: String) -> Fault {
    Fault {
        side,
        kind: Kind::Extra,
        name,
        place: None,
        start: -1,
        end: None,
        why: "no object of a destination has such a name".to_owned(),
    }
}

// === batch ===

async fn read_chain(
    work: &mut Work,
    side: &Side,
    chain: &ChainName,
    seen: &Seen,
) -> Result<(), VerifyError> {
    let place = Place::of_chain(chain);
    let number = work.places().number(&place);
    let mut names = side.sink.list(&chain.prefix()).await?;
    names.sort_unstable();
    let (ours, strange): (Vec<_>, Vec<_>) = names
        .into_iter()
        .partition(|name| SegmentName::parse(name).is_some());
    for name in strange {
        work.fault(not_ours(side.number, name));
    }
    let (scope, here) = (Arc::new(work.scope().clone()), Arc::new(place.clone()));
    let parse = |name: String| {
        let (sink, scope, place) = (&side.sink, Arc::clone(&scope), Arc::clone(&here));
        let voice = Voice::Side(side.number);
        async move {
            let found = sink.get(&name).await?;
            let parse = move || segment(&name, found, voice, number, &place, &scope);
            tokio::task::spawn_blocking(parse)
                .await
                .map_err(|_| VerifyError::Ended)
        }
    };
    let mut segments = stream::iter(ours).map(parse).buffered(SEGMENTS_AT_ONCE);
    let log = scope.log.as_ref().filter(|log| log.has(&place));
    let committed = log.map(|log| {
        let of_side = &log.committed[usize::from(side.number & 1)];
        of_side.get(&chain.partition).copied().unwrap_or(0)
    });
    let mut follow = Follow::new(side.number, number, chain.clone(), committed);
    while let Some(parsed) = segments.next().await {
        let parsed = parsed?;
        let records = parsed.entries.len() as u64;
        work.count(side.number, 1, records);
        seen.0.fetch_add(records, Ordering::Relaxed);
        for entry in &parsed.entries {
            work.add(entry)?;
        }
        let Parsed {
            start, end, wrong, ..
        } = parsed;
        follow.segment(start, end, wrong, &mut |fault| work.fault(fault));
    }
    follow.end(&mut |fault| work.fault(fault));
    Ok(())
}

fn segment(
    name: &str,
    object: Option<Bytes>,
    voice: Voice,
    number: u32,
    place: &Place,
    scope: &Scope,
) -> Parsed {
    let mut parsed = Parsed {
        start: SegmentName::parse(name).map_or(-1, |name| name.start),
        end: None,
        entries: Vec::new(),
        wrong: None,
    };
    let Some(object) = object else {
        parsed.wrong = Some("it was listed and is gone".to_owned());
        return parsed;
    };
    let reader = match SegmentReader::open(&object) {
        Ok(reader) => reader,
        Err(error) => {
            parsed.wrong = Some(error_chain(&error));
            return parsed;
        }
    };
    let says = reader.header.name().to_string();
    let end = reader.header.end;
    let (start, mut entries) = (parsed.start, Vec::new());
    let read = reader.for_each(|found| {
        entries.push(entry_of(&found, voice, number, place, start, scope));
    });
    if let Err(error) = read {
        parsed.wrong = Some(error_chain(&error));
    } else if says != name {
        parsed.wrong = Some(format!("it says that it is {says}"));
    } else {
        parsed.end = Some(end);
    }
    if parsed.wrong.is_some() {
        entries = entries.iter().map(|it: &Entry| it.with(SUSPECT)).collect();
    }
    parsed.entries = entries;
    parsed
}

/// The entry of a line.
fn entry_of(
    found: &IdentifiedLine<'_>,
    voice: Voice,
    number: u32,
    place: &Place,
    within: i64,
    scope: &Scope,
) -> Entry {
    let line = &found.line;
    let payload = line.payload();
    let fingerprint = payload
        .as_ref()
        .map(|it| Fingerprint::of(it, &line.content_type));
    let computed = fingerprint.unwrap_or(Fingerprint(0));
    let (mut flags, partition) = scope.of_line(place, line, computed);
    if fingerprint.is_none() {
        flags |= ALTERED;
    }
    let within = match place {
        Place::Tenant(_) => i64::from(partition),
        Place::Chain(..) | Place::Log(_) => within,
    };
    let entry = Entry::new(voice, found.id, computed, flags);
    entry.at(number, within, line.offset)
}

// === record ===

async fn read_objects(
    work: &mut Work,
    side: &Side,
    tenant: &str,
    prefix: &str,
    seen: &Seen,
) -> Result<(), VerifyError> {
    let place = Place::Tenant(tenant.to_owned());
    let number = work.places().number(&place);
    let scope = Arc::new(work.scope().clone());
    let mut names = side.sink.list(prefix).await?;
    names.sort_unstable();
    let parse = |name: String| {
        let (scope, place) = (&scope, &place);
        async move {
            let Some(own) = ObjectName::parse(&name) else {
                return Ok::<_, VerifyError>(Err(name));
            };
            let found = side.sink.get(&name).await?;
            Ok(Ok(found.map(|body| {
                let voice = Voice::Side(side.number);
                object_of(&own, &body, voice, number, place, scope)
            })))
        }
    };
    let mut objects = stream::iter(names).map(parse).buffered(OBJECTS_AT_ONCE);
    while let Some(found) = objects.next().await {
        match found? {
            Ok(Some(entry)) => {
                work.count(side.number, 1, 1);
                seen.0.fetch_add(1, Ordering::Relaxed);
                work.add(&entry)?;
            }
            // Listed, and gone since: the other destination will show that it is missing.
            Ok(None) => {}
            Err(strange) => work.fault(not_ours(side.number, strange)),
        }
    }
    Ok(())
}

/// The entry of an object: what is no record of that name is an altered one of it.
fn object_of(
    name: &ObjectName,
    body: &[u8],
    voice: Voice,
    number: u32,
    place: &Place,
    scope: &Scope,
) -> Entry {
    if let Ok(found) = object::read(body)
        && found.id == name.id
    {
        let found = IdentifiedLine {
            line: found.line,
            id: found.id,
        };
        return entry_of(&found, voice, number, place, -1, scope);
    }
    let side = match voice {
        Voice::Side(side) => addressed(side),
        Voice::Log | Voice::DeadLetter => 0,
    };
    // What it says counts for nothing, so neither do its time and its destinations.
    Entry::new(voice, name.id, Fingerprint(0), ALTERED | side).at(number, -1, -1)
}

// === impl Unit ===

impl Unit {
    fn prefix(&self) -> String {
        match self {
            Self::Chain(chain) => chain.prefix(),
            Self::Objects { prefix, .. } => prefix.clone(),
        }
    }
}
