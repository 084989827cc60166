//! Reads back everything that there is, and makes the ledger of it.
//!
//! In: what was sent, where the log is, and where the destinations are. Out: the [`Ledger`], of
//! everything or of one run among others. Reads only; nothing is made, moved or repaired.

use super::account::{Account, ReadLine};
use super::book::Book;
use super::expected::Expected;
use super::{Fault, Faults, Ledger, LogPosition, NAMED_FAULTS};
use crate::demo::journal::{ContentHash, Sent};
use cloudsync::identity::Id16;
use cloudsync::partition::partition_of;
use cloudsync::wire::RecordView;
use cloudsync_consumers::{DeliveredLine, DestinationSettings, read_back, read_back_since};
use cloudsync_kafka::{DeadLetterHeaders, Ends, KafkaSettings, Redrive, read_topic_since};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// What the ledger is made from.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// Where the log is.
    pub kafka: &'a KafkaSettings,
    /// Its identity; `None` takes every log for this one.
    pub log_id: Option<String>,
    /// What of it cannot be read, as sentences: each is a problem of the ledger.
    pub log_damage: Vec<String>,
    /// Name and settings of each destination.
    pub destinations: Vec<(String, DestinationSettings)>,
    /// Which records are counted, if not all.
    pub only: Option<Only>,
}

/// The records of one run in a log and at destinations that others use as well. What is damaged
/// there may be anybody's: what it held of the run is missing.
#[derive(Clone, Debug)]
pub struct Only {
    /// What their request ids begin with, and no other's.
    pub prefix: String,
    /// Where the log ended before the first of them was sent.
    pub log: Ends,
    /// The same of the dead-letter topic.
    pub dead_letters: Ends,
}

/// What cannot be read back, because it leaves no trace.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Remembered {
    /// Acknowledged sends that the gateway did not write again, as it told the client.
    pub duplicates_at_gateway: u64,
    /// Pieces of the input that are no records, and were not sent.
    pub not_records: u64,
    /// For each destination: places of the log met again.
    pub redelivered: std::collections::BTreeMap<String, u64>,
    /// From the first send until every group had committed everything.
    pub elapsed_seconds: f64,
}

/// Why no ledger could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CountError {
    /// The log cannot be read.
    #[error("cannot read the topic {topic} back")]
    Log {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: cloudsync_kafka::KafkaError,
    },
    /// A destination cannot be read.
    #[error("cannot read the destination {name} back")]
    Destination {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: cloudsync_consumers::ReadBackError,
    },
}

/// Makes the ledger of what was sent.
///
/// # Errors
/// [`CountError`], when something cannot be read at all. What can be read and is damaged is part
/// of the ledger.
pub async fn count(
    expected: Expected,
    sources: &Sources<'_>,
    remembered: &Remembered,
) -> Result<Ledger, CountError> {
    let expected = Arc::new(expected);
    let book = read_log(sources, &expected).await?;
    let mut ledger = Ledger {
        sent: expected.sent,
        acked: expected.acked,
        resent: expected.resent,
        refused: expected.refused,
        not_records: remembered.not_records,
        duplicates_at_gateway: remembered.duplicates_at_gateway,
        in_log: book.records(),
        elapsed_seconds: remembered.elapsed_seconds,
        faults: book.faults.clone(),
        problems: sources.log_damage.clone(),
        ..Ledger::default()
    };
    if remembered.elapsed_seconds > 0.0 {
        let rate = expected.sent as f64 / remembered.elapsed_seconds;
        ledger.records_per_second = (rate * 10.0).round() / 10.0;
    }
    balance_gateway(&mut ledger, &expected, &book);
    for (index, (name, destination)) in sources.destinations.iter().enumerate() {
        let mut account = Account::open(name, index, &expected, &book);
        ledger
            .problems
            .extend(read_destination(sources, name, destination, &mut account).await?);
        let (mut destination, faults, problem) = account.close();
        destination.redelivered = remembered.redelivered.get(name).copied().unwrap_or(0);
        ledger.destinations.push(destination);
        ledger.faults.extend(faults);
        ledger.problems.extend(problem);
    }
    name_faults(&mut ledger.faults, sources).await?;
    Ok(ledger)
}

async fn read_log(sources: &Sources<'_>, expected: &Arc<Expected>) -> Result<Book, CountError> {
    let names = sources
        .destinations
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let book = match sources.log_damage.is_empty() {
        true => Book::new(names),
        false => Book::of_torn_log(names),
    };
    let book = Arc::new(Mutex::new(book));
    let (visited, known) = (Arc::clone(&book), Arc::clone(expected));
    let topic = &sources.kafka.topic;
    let failed = |topic: &str| {
        let topic = topic.to_owned();
        move |source| CountError::Log { topic, source }
    };
    let (only, nothing) = (sources.only.clone(), Ends::new());
    let (since, dead_since) = match &sources.only {
        Some(only) => (&only.log, &only.dead_letters),
        None => (&nothing, &nothing),
    };
    read_topic_since(sources.kafka, topic, since, move |partition, record, _| {
        let at = LogPosition {
            partition,
            offset: record.offset,
        };
        let value = record.value.as_deref();
        if only.as_ref().is_none_or(|only| only.has(value)) {
            let redrive = record.headers.as_deref().and_then(Redrive::of);
            let for_one = redrive.as_ref().map(|redrive| &*redrive.destination);
            visited.lock().record(&known, at, value, for_one);
        }
    })
    .await
    .map_err(failed(topic))?;
    let visited = Arc::clone(&book);
    let (topic, data_topic) = (&sources.kafka.dlq_topic, sources.kafka.topic.clone());
    read_topic_since(sources.kafka, topic, dead_since, move |_, _, headers| {
        if let Some(letter) = DeadLetterHeaders::parse(&headers)
            && *letter.origin.topic == *data_topic
        {
            let origin = &letter.origin;
            let at = LogPosition {
                partition: origin.partition,
                offset: origin.offset,
            };
            visited.lock().dead_letter(&letter.destination, at);
        }
    })
    .await
    .map_err(failed(topic))?;
    let book = std::mem::take(&mut *book.lock());
    Ok(book)
}

/// acked + unacknowledged in the log = duplicates at the gateway + records in the log.
///
/// Records in the log that no acknowledgement stands for are what is left over; there cannot be
/// fewer than none, and no acknowledged record may be missing from the log unless the gateway
/// said that it did not write it again.
fn balance_gateway(ledger: &mut Ledger, expected: &Expected, book: &Book) {
    let stand_for = ledger.in_log + ledger.duplicates_at_gateway;
    ledger.unacked_in_log = stand_for.saturating_sub(ledger.acked);
    let occurrences = book.occurrences(expected);
    let not_written: u64 = expected
        .known()
        .iter()
        .zip(&occurrences)
        .map(|(known, found)| u64::from(known.acks.saturating_sub(*found)))
        .sum();
    if not_written > ledger.duplicates_at_gateway || ledger.acked > stand_for {
        ledger.problems.push(format!(
            "the sum of the gateway does not hold: of {} acknowledged sends {not_written} do not \
             stand in the log, but the gateway reported {} duplicates",
            ledger.acked, ledger.duplicates_at_gateway,
        ));
    }
}

/// Returns the sentences about damaged and missing objects.
async fn read_destination(
    sources: &Sources<'_>,
    name: &str,
    destination: &DestinationSettings,
    account: &mut Account<'_>,
) -> Result<Vec<String>, CountError> {
    let mut visit = |line: DeliveredLine<'_>| {
        // An object of `record` mode does not say where in the log it comes from; its key does.
        let of_record = line.partition < 0;
        let partition = if of_record {
            let key = if line.key.is_empty() {
                line.id
            } else {
                line.key
            };
            partition_of(key.as_bytes(), sources.kafka.partitions)
        } else {
            line.partition
        };
        if sources.only.as_ref().is_some_and(|it| !it.names(line.id)) {
            return;
        }
        let other_log = sources.log_id.as_ref().is_some_and(|ours| ours != line.log);
        account.line(&ReadLine {
            position: LogPosition {
                partition,
                offset: line.offset,
            },
            foreign: !of_record && (other_log || line.topic != sources.kafka.topic),
            sent: Sent {
                id: Id16::of(line.tenant, line.key, line.id),
                content: ContentHash::of(line.payload, line.content_type),
            },
            request_id: line.id,
            fingerprint_holds: line.stated == line.fingerprint,
        });
    };
    let topic = &sources.kafka.topic;
    let read = match &sources.only {
        Some(only) => read_back_since(destination, topic, &only.log, &mut visit).await,
        None => read_back(destination, &mut visit).await,
    };
    let read = read.map_err(|source| CountError::Destination {
        name: name.to_owned(),
        source,
    })?;
    if sources.only.is_some() {
        return Ok(Vec::new());
    }
    let damaged = read.damaged.iter();
    let mut problems: Vec<String> = damaged
        .map(|object| format!("damaged at {name}: {}: {}", object.name, object.why))
        .take(NAMED_FAULTS)
        .collect();
    let unnamed = read.damage_count - problems.len() as u64;
    if unnamed > 0 {
        problems.push(format!("damaged at {name}: … and {unnamed} more"));
    }
    problems.extend(read.gaps.iter().take(NAMED_FAULTS).map(|gap| {
        let partition = gap.chain.partition;
        let (start, end) = (gap.start, gap.end);
        format!("missing at {name}: the segment of partition {partition}, offsets {start} to {end}")
    }));
    Ok(problems)
}

/// Finds the request ids of faults that have none yet, by their place in the log.
async fn name_faults(faults: &mut Faults, sources: &Sources<'_>) -> Result<(), CountError> {
    let nameless = |fault: &&mut Fault| fault.request_id.is_none() && fault.position.is_some();
    let wanted: HashMap<LogPosition, Option<String>> = faults
        .named
        .iter_mut()
        .filter(nameless)
        .filter_map(|f| Some((f.position?, None)))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let found = Arc::new(Mutex::new(wanted));
    let visited = Arc::clone(&found);
    let topic = sources.kafka.topic.clone();
    let since = sources.only.as_ref().map(|only| only.log.clone());
    let since = since.unwrap_or_default();
    read_topic_since(
        sources.kafka,
        &topic,
        &since,
        move |partition, record, _| {
            let at = LogPosition {
                partition,
                offset: record.offset,
            };
            if let Some(name) = visited.lock().get_mut(&at) {
                let view = record.value.as_deref().map(RecordView::parse);
                *name = view
                    .and_then(Result::ok)
                    .map(|view| view.request_id.to_owned());
            }
        },
    )
    .await
    .map_err(|source| CountError::Log { topic, source })?;
    for fault in &mut faults.named {
        if fault.request_id.is_none()
            && let Some(position) = fault.position
        {
            fault.request_id = found.lock().get(&position).cloned().flatten();
        }
    }
    Ok(())
}

// === impl Only ===

impl Only {
    /// Whether `value`, as it stands in the log, is one of them.
    fn has(&self, value: Option<&[u8]>) -> bool {
        let view = value.and_then(|value| RecordView::parse(value).ok());
        view.is_some_and(|view| self.names(view.request_id))
    }

    fn names(&self, request_id: &str) -> bool {
        request_id.starts_with(&self.prefix)
    }
}
