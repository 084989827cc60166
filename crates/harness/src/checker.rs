//! Holds a destination against the journal.
//!
//! In: a destination's directory and what the client knows. Out: a [`Verdict`]: what is lost,
//! doubled, altered or never sent, and whether each chain of segments is whole. It reads the
//! objects with its own few lines over zstd and JSON, so a fault in the program's reader cannot
//! hide a fault of its writer.

use crate::endpoint::Endpoint;
use crate::journal::{Entry, Journal, Name};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// What the checker found. A run is good when [`Verdict::is_clean`] holds.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Lines read.
    pub lines: usize,
    /// Acknowledged names that are not there.
    pub lost: Vec<Name>,
    /// Names that are there more than once, with every place in the log, if it tells.
    pub doubled: Vec<(Name, Vec<Place>)>,
    /// Places in the log that were written more than once: never allowed.
    pub places_doubled: Vec<Place>,
    /// Names whose payload is none that was sent.
    pub altered: Vec<Name>,
    /// Names that nobody sent, or not to this destination.
    pub phantoms: Vec<Name>,
    /// Segments that do not join, or do not hold what they say.
    pub broken_chains: Vec<String>,
}

/// Log id, partition, offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The log.
    pub log: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A segment as a link of its chain.
struct Link {
    start: i64,
    end: i64,
    shown: String,
}

#[derive(Debug, Deserialize)]
struct Header {
    log: String,
    partition: i32,
    start: i64,
    end: i64,
    lines: usize,
}

#[derive(Debug, Deserialize)]
struct Line<'a> {
    offset: i64,
    tenant: String,
    id: String,
    #[serde(default)]
    key: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

// === impl Verdict ===

impl Verdict {
    /// Nothing lost, doubled, altered or made up.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.doubled.is_empty() && self.is_clean_but_for_resends()
    }

    /// As [`Verdict::is_clean`], but a name may be there once for each record of the log: what a
    /// store that forgets at a kill allows in batch mode.
    #[must_use]
    pub fn is_clean_but_for_resends(&self) -> bool {
        self.lost.is_empty()
            && self.places_doubled.is_empty()
            && self.altered.is_empty()
            && self.phantoms.is_empty()
            && self.broken_chains.is_empty()
    }

    /// The figures in one line, and the first names at fault.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "lines {} lost {} doubled {} places doubled {} altered {} phantoms {} broken chains {}; \
             first: lost {:?} doubled {:?} altered {:?} phantom {:?} chain {:?}",
            self.lines,
            self.lost.len(),
            self.doubled.len(),
            self.places_doubled.len(),
            self.altered.len(),
            self.phantoms.len(),
            self.broken_chains.len(),
            self.lost.first(),
            self.doubled.first(),
            self.altered.first(),
            self.phantoms.first(),
            self.broken_chains.first(),
        )
    }
}

/// Reads `directory`, the destination `name`, and compares it with `journal`.
///
/// # Errors
/// When the directory cannot be read.
pub fn check(directory: &Path, name: &str, journal: &Journal) -> anyhow::Result<Verdict> {
    let mut reading = Reading {
        destination: name,
        journal,
        verdict: Verdict::default(),
        found: HashMap::new(),
        places: HashSet::new(),
        chains: BTreeMap::new(),
    };
    for file in &segments(directory)? {
        if let Err(error) = reading.file(file) {
            let broken = format!("{}: {error:#}", file.display());
            reading.verdict.broken_chains.push(broken);
        }
    }
    let Reading {
        mut verdict,
        found,
        chains,
        ..
    } = reading;
    verdict
        .broken_chains
        .extend(chains.values().flat_map(|chain| gaps(chain)));
    verdict.lost = lost(journal, name, |wanted| found.contains_key(wanted));
    verdict.doubled = found
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .collect();
    Ok(verdict)
}

/// Compares what `endpoint`, the destination `name`, has done under each request id with `journal`,
/// in which no two records share one.
pub fn check_endpoint(endpoint: &Endpoint, name: &str, journal: &Journal) -> Verdict {
    let mut verdict = Verdict::default();
    let (seen, mut found) = (endpoint.seen(), HashSet::new());
    let names: HashMap<&str, (&Name, &Entry)> = journal
        .entries()
        .map(|(name, entry)| (name.id.as_str(), (name, entry)))
        .collect();
    for (id, seen) in seen.iter().filter(|(_, seen)| seen.effects > 0) {
        verdict.lines += seen.effects as usize;
        let Some((wanted, entry)) = names
            .get(id.as_str())
            .filter(|(_, entry)| is_for(entry, name))
        else {
            let (tenant, key) = (String::new(), seen.key.clone());
            let id = id.clone();
            verdict.phantoms.push(Name { tenant, key, id });
            continue;
        };
        found.insert(*wanted);
        let is_sent = |payload| entry.payloads.contains(&payload);
        if !seen.payload.is_some_and(is_sent) || seen.key != wanted.key {
            verdict.altered.push((*wanted).clone());
        }
        if seen.effects > 1 {
            verdict.doubled.push(((*wanted).clone(), Vec::new()));
        }
    }
    verdict.lost = lost(journal, name, |wanted| found.contains(wanted));
    verdict
}

/// Whether the destination `name` shall have it.
fn is_for(entry: &Entry, name: &str) -> bool {
    entry.destinations.is_empty() || entry.destinations.iter().any(|it| it == name)
}

/// What was acknowledged and shall be at the destination `name`, and is not found.
fn lost(journal: &Journal, name: &str, is_found: impl Fn(&Name) -> bool) -> Vec<Name> {
    let wanted = journal
        .entries()
        .filter(|(wanted, entry)| entry.acked > 0 && is_for(entry, name) && !is_found(wanted));
    wanted.map(|(wanted, _)| wanted.clone()).collect()
}

/// What has been read of a destination so far.
struct Reading<'a> {
    destination: &'a str,
    journal: &'a Journal,
    verdict: Verdict,
    found: HashMap<Name, Vec<Place>>,
    places: HashSet<Place>,
    chains: BTreeMap<(String, i32), Vec<Link>>,
}

impl Reading<'_> {
    fn file(&mut self, file: &Path) -> anyhow::Result<()> {
        let shown = file.display().to_string();
        if is_segment(file) {
            let (header, lines) = read_segment(file)?;
            let Header {
                log,
                partition,
                start,
                end,
                ..
            } = header;
            for line in lines {
                let place = Place {
                    log: log.clone(),
                    partition,
                    offset: line.offset,
                };
                self.note(line, place);
            }
            self.chains
                .entry((log, partition))
                .or_default()
                .push(Link { start, end, shown });
        } else {
            let line = read_object(file)?;
            // An object does not say where in the log it comes from; its name is its own place.
            let place = Place {
                log: shown,
                partition: -1,
                offset: line.offset,
            };
            self.note(line, place);
        }
        Ok(())
    }

    fn note(&mut self, line: OwnedLine, place: Place) {
        let verdict = &mut self.verdict;
        verdict.lines += 1;
        let addressed = |entry: &Entry| is_for(entry, self.destination);
        match self.journal.get(&line.name) {
            Some(entry) if !entry.payloads.contains(&xxh3_128(&line.payload)) => {
                verdict.altered.push(line.name.clone());
            }
            Some(entry) if addressed(entry) => {}
            _ => verdict.phantoms.push(line.name.clone()),
        }
        if !self.places.insert(place.clone()) {
            verdict.places_doubled.push(place.clone());
        }
        self.found.entry(line.name).or_default().push(place);
    }
}

/// Where a chain's segments do not join.
fn gaps(chain: &[Link]) -> Vec<String> {
    let joints = chain.windows(2).filter(|pair| pair[0].end != pair[1].start);
    let gap = |pair: &[Link]| {
        let (before, behind) = (&pair[0], &pair[1]);
        format!(
            "{} ends at {}, {} follows",
            before.shown, before.end, behind.shown
        )
    };
    joints.map(gap).collect()
}

struct OwnedLine {
    offset: i64,
    name: Name,
    payload: Vec<u8>,
}

/// One segment: its header, from the skippable frame, and its lines.
fn read_segment(path: &Path) -> anyhow::Result<(Header, Vec<OwnedLine>)> {
    let bytes = fs::read(path)?;
    let magic = bytes
        .get(..4)
        .context("shorter than a frame's magic number")?;
    ensure!(
        magic[1..] == [0x2a, 0x4d, 0x18] && magic[0] & 0xf0 == 0x50,
        "no skippable frame"
    );
    let length = bytes.get(4..8).context("no frame length")?;
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let header = bytes.get(8..8 + length).context("header cut off")?;
    let header: Header = serde_json::from_slice(header).context("header")?;
    let mut lines = Vec::new();
    for line in BufReader::new(zstd::stream::Decoder::new(&bytes[..])?).lines() {
        let line = read_line(&line?)?;
        ensure!(
            (header.start..header.end).contains(&line.offset),
            "offset {}",
            line.offset
        );
        lines.push(line);
    }
    ensure!(
        lines.len() == header.lines,
        "{} lines, {} said",
        lines.len(),
        header.lines
    );
    ensure!(
        lines.windows(2).all(|pair| pair[0].offset < pair[1].offset),
        "offsets out of order"
    );
    Ok((header, lines))
}

/// One record as an object of its own: `t=<tenant>/<2 hex>/<identity>.json`.
fn read_object(path: &Path) -> anyhow::Result<OwnedLine> {
    let text = fs::read_to_string(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    ensure!(!line.contains('\n'), "more than one line");
    read_line(line)
}

fn read_line(line: &str) -> anyhow::Result<OwnedLine> {
    let line: Line<'_> = serde_json::from_str(line).context("line")?;
    let payload = match (line.payload, line.text, line.base64) {
        (Some(json), None, None) => json.get().as_bytes().to_vec(),
        (None, Some(text), None) => text.into_bytes(),
        (None, None, Some(text)) => decode_base64(&text)?,
        _ => bail!("not exactly one of payload, text and base64"),
    };
    let name = Name {
        tenant: line.tenant,
        key: line.key,
        id: line.id,
    };
    Ok(OwnedLine {
        offset: line.offset,
        name,
        payload,
    })
}

fn decode_base64(text: &str) -> anyhow::Result<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for byte in text.trim_end_matches('=').bytes() {
        let value = ALPHABET
            .iter()
            .position(|c| *c == byte)
            .context("not base64")?;
        bits = (bits << 6) | u32::try_from(value)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff)?);
        }
    }
    Ok(out)
}

/// Every segment and every object of a record below `directory`.
///
/// # Errors
/// When a directory cannot be read.
pub fn segments(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(directory, &mut files)?;
    files.sort();
    Ok(files)
}

fn is_segment(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".ndjson.zst")
}

fn is_object(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
        && path.to_string_lossy().contains("/t=")
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| directory.display().to_string()),
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if is_segment(&path) || is_object(&path) {
            files.push(path);
        }
    }
    Ok(())
}
