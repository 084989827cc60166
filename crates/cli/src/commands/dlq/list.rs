//! `cloudsync dlq ls` and `show`, and what `--dry-run` prints.
//!
//! In: the entries that are meant. Out: a line for each, or one JSON object, written as they come;
//! and how many there are of each kind.

use super::row;
use super::which::{Found, Which};
use crate::args::Output;
use crate::commands::Common;
use crate::failure::Failure;
use crate::ledger::grouped;
use crate::say;
use anyhow::anyhow;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is printed of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// A line of each.
    Lines,
    /// Everything, and each must be there.
    Whole,
    /// How many there are.
    Histogram,
}

/// Entries of one kind: destination, reason, class, code.
type Kind = [String; 4];

/// How many there are of each kind.
#[derive(Debug, Default)]
struct Counts(BTreeMap<Kind, u64>);

pub(super) async fn run(
    which: Which,
    how: How,
    output: Output,
    common: &Common,
) -> Result<(), Failure> {
    let fold = which.fold().await?;
    let foreign = fold.foreign();
    let mut entries = which.entries(fold);
    let mut counts = Counts::default();
    let mut reads = output == Output::Table || say::data("{\"entries\":[");
    while let Some(found) = entries.queue.recv().await {
        if !which.states().touches(found.state) {
            continue;
        }
        let first = counts.0.is_empty();
        counts.take(&found);
        reads = reads && print(&found, how, output, first);
        if !reads {
            return Ok(());
        }
    }
    entries.ended(&which.kafka).await?;
    match output {
        Output::Json => {
            let histogram = counts.json();
            say::data(format_args!(
                "],\"histogram\":{histogram},\"total\":{}}}\n",
                counts.total()
            ));
        }
        Output::Table if how == How::Histogram => {
            say::data(counts.table());
        }
        Output::Table => common.note(counts.sentence()),
    }
    if foreign > 0 {
        let topic = &which.kafka.dlq_topic;
        common.note(format_args!(
            "{foreign} records of {topic} are no entries of ours"
        ));
    }
    match how {
        How::Whole if counts.total() == 0 => {
            Err(Failure::Failed(anyhow!("there is no such entry")))
        }
        _ => Ok(()),
    }
}

/// Whether somebody still reads.
fn print(found: &Found, how: How, output: Output, first: bool) -> bool {
    let comma = if first { "" } else { "," };
    match (how, output) {
        (How::Histogram, _) => true,
        (How::Lines, Output::Json) => say::data(format_args!("{comma}{}", row::json_of(found))),
        (How::Whole, Output::Json) => say::data(format_args!("{comma}{}", row::whole_of(found))),
        (How::Lines, Output::Table) => {
            let head = if first { row::head() } else { String::new() };
            say::data(format_args!("{head}{}", row::line_of(found)))
        }
        (How::Whole, Output::Table) => {
            let between = if first { "" } else { "\n" };
            say::data(format_args!("{between}{}", page(&row::whole_of(found))))
        }
    }
}

/// A line for each thing that is known.
fn page(json: &Value) -> String {
    let mut page = String::new();
    let order = [
        "entry",
        "state",
        "destination",
        "group",
        "origin",
        "id",
        "key",
        "tenant",
        "reason",
        "class",
        "code",
        "message",
        "attempts",
        "first_at",
        "failed_at",
        "redrives",
        "trace_id",
        "fingerprint",
        "at",
        "bytes",
        "headers",
        "content_type",
        "payload",
        "value",
    ];
    for name in order {
        let text = match &json[name] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Object(place) => {
                let places = ["topic", "partition", "offset"].iter();
                let places = places.filter_map(|part| place.get(*part));
                let places = places.map(|part| {
                    part.as_str()
                        .map_or_else(|| part.to_string(), str::to_owned)
                });
                places.collect::<Vec<_>>().join("/")
            }
            Value::Array(headers) => headers.iter().map(Value::to_string).collect(),
            other => other.to_string(),
        };
        if !text.is_empty() {
            let _infallible = writeln!(page, "{name:<12}  {}", row::shown(&text));
        }
    }
    page
}

// === impl Counts ===

impl Counts {
    fn take(&mut self, found: &Found) {
        let headers = &found.entry.headers;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        let kind = [
            headers.destination.clone(),
            headers.reason.clone(),
            or_none(&headers.class),
            or_none(&headers.code),
        ];
        *self.0.entry(kind).or_default() += 1;
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    fn json(&self) -> Value {
        let kinds = self
            .0
            .iter()
            .map(|([destination, reason, class, code], count)| {
                let or_null = |text: &String| (!text.is_empty()).then(|| text.clone());
                json!({
                    "destination": destination, "reason": reason, "class": or_null(class),
                    "code": or_null(code), "count": count,
                })
            });
        kinds.collect()
    }

    fn table(&self) -> String {
        let mut table = String::new();
        let mut line = |cells: [&str; 4], count: &str| {
            let [destination, reason, class, code] = cells.map(row::shown);
            let _infallible = writeln!(
                table,
                "{destination:<16}  {reason:<12}  {class:<10}  {code:<16}  {count:>12}"
            );
        };
        line(["destination", "reason", "class", "code"], "entries");
        for (kind, count) in &self.0 {
            line([0, 1, 2, 3].map(|at| kind[at].as_str()), &grouped(*count));
        }
        table
    }

    /// All of it in a line.
    fn sentence(&self) -> String {
        let mut reasons: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for ([destination, reason, ..], count) in &self.0 {
            *reasons.entry((destination, reason)).or_default() += count;
        }
        let parts = reasons.iter().map(|((destination, reason), count)| {
            format!("{destination} {reason} {}", grouped(*count))
        });
        let parts: Vec<String> = parts.collect();
        match parts.is_empty() {
            true => "no entries".to_owned(),
            false => {
                let entries = match self.total() {
                    1 => "1 entry".to_owned(),
                    many => format!("{} entries", grouped(many)),
                };
                format!("{entries}: {}", row::shown(&parts.join(", ")))
            }
        }
    }
}
