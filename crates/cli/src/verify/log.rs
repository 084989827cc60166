//! What the log says to a comparison: the commits first, then its records and the dead letters.
//!
//! In: where the log is, and the two groups. Out: a [`LogScope`], and an entry for each record.
//! Promises: joins no group and commits nothing; the commits are asked before anything is read.

use anyhow::Context;
use cloudsync::wire::RecordView;
use cloudsync_consumers::parse::{Content, Polled};
use cloudsync_consumers::verify::VerifyError;
use cloudsync_consumers::verify::entry::{Entry, Place, Voice};
use cloudsync_consumers::verify::scan::Seen;
use cloudsync_consumers::verify::scope::LogScope;
use cloudsync_consumers::verify::work::Work;
use cloudsync_kafka::{
    DeadLetterHeaders, Ends, EntryId, KafkaError, KafkaSettings, Line, PolledRecord, Settled,
    inspect, lag, read_topic, read_topic_since,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the log says before anything is read.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its id, and what the groups have committed.
    pub scope: LogScope,
    /// First offset, and offset behind the last one, of each partition.
    pub ranges: BTreeMap<i32, (i64, i64)>,
}

/// Asks the log of `kafka` where both `groups` stand. `id`: its id, if that is known.
///
/// # Errors
/// When it does not answer.
pub async fn ask(
    kafka: &KafkaSettings,
    groups: [&str; 2],
    id: Option<String>,
) -> anyhow::Result<Asked> {
    let mut committed = [BTreeMap::new(), BTreeMap::new()];
    let mut ranges = BTreeMap::new();
    for (group, committed) in groups.into_iter().zip(&mut committed) {
        let partitions = lag(kafka, group).await?;
        for it in partitions {
            committed.extend(it.committed.map(|offset| (it.partition, offset)));
            ranges.insert(it.partition, (it.start, it.end));
        }
    }
    let id = match id {
        Some(id) => id,
        None => inspect(kafka)
            .await?
            .cluster_id
            .context("the log does not say its id, so nobody can tell which chains are its own")?,
    };
    let scope = LogScope {
        id,
        topic: kafka.topic.clone(),
        partitions: kafka.partitions,
        committed,
        starts: None,
    };
    Ok(Asked { scope, ranges })
}

/// What a reader of a topic writes to, until the reading is over.
type Shared = Arc<Mutex<(Option<Work>, Option<VerifyError>)>>;

/// Reads the topic into `work`, as far back as it goes.
///
/// # Errors
/// [`VerifyError`].
pub async fn read_records(
    work: Work,
    kafka: &KafkaSettings,
    seen: &Arc<Seen>,
) -> Result<Work, VerifyError> {
    let seen = Arc::clone(seen);
    let take = move |work: &mut Work, partition, record: PolledRecord, _: &[(String, _)]| {
        seen.0.fetch_add(1, Ordering::Relaxed);
        work.count_log(1, 0);
        match entry_of(work, partition, record) {
            Some(entry) => work.add(&entry),
            None => Ok(()),
        }
    };
    read(work, kafka, &kafka.topic, take).await
}

/// Reads the dead letters of the data topic into `work`, but for those that were redriven: they are
/// to be delivered like any other. Where there is no such topic, nothing was ever set aside.
///
/// # Errors
/// [`VerifyError`].
pub async fn read_dead_letters(work: Work, kafka: &KafkaSettings) -> Result<Work, VerifyError> {
    let topic = kafka.topic.clone();
    let redriven = redriven(kafka).await?;
    let take = move |work: &mut Work, _, record: PolledRecord, headers: &[(String, _)]| {
        let letter = DeadLetterHeaders::parse(headers);
        let Some(letter) = letter.filter(|letter| *letter.origin.topic == *topic) else {
            return Ok(());
        };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let id = EntryId::of(&letter.destination, &letter.origin, key, value);
        if redriven.contains(&id) {
            return Ok(());
        }
        work.count_log(0, 1);
        let addressed = work.scope().flag_of(&letter.destination);
        let Some((id, fingerprint, _)) = names_of(&record) else {
            return Ok(());
        };
        let place = Place::Log(letter.origin.partition);
        let place = work.places().number(&place);
        let entry = Entry::new(Voice::DeadLetter, id, fingerprint, addressed);
        work.add(&entry.at(place, -1, letter.origin.offset))
    };
    read(work, kafka, &kafka.dlq_topic, take).await
}

/// The dead letters that went back into the log.
async fn redriven(kafka: &KafkaSettings) -> Result<HashSet<EntryId>, KafkaError> {
    let found = Arc::new(Mutex::new(HashSet::new()));
    let into = Arc::clone(&found);
    let visit = move |partition, record| {
        if let Line::Marker(id, Settled::Redriven) = Line::read(partition, record) {
            into.lock().insert(id);
        }
    };
    match read_topic(kafka, &kafka.dlq_topic, visit).await {
        Ok(_) | Err(KafkaError::NoTopic { .. }) => {}
        Err(error) => return Err(error),
    }
    let found = std::mem::take(&mut *found.lock());
    Ok(found)
}

async fn read(
    work: Work,
    kafka: &KafkaSettings,
    topic: &str,
    mut take: impl FnMut(
        &mut Work,
        i32,
        PolledRecord,
        &[(String, bytes::Bytes)],
    ) -> Result<(), VerifyError>
    + Send
    + 'static,
) -> Result<Work, VerifyError> {
    let shared: Shared = Arc::new(Mutex::new((Some(work), None)));
    let (visited, everything) = (Arc::clone(&shared), Ends::new());
    let read = read_topic_since(
        kafka,
        topic,
        &everything,
        move |partition, record, headers| {
            let (work, failed) = &mut *visited.lock();
            let (Some(work), None) = (work, &failed) else {
                return;
            };
            if let Err(error) = take(work, partition, record, &headers) {
                *failed = Some(error);
            }
        },
    );
    match read.await {
        Ok(_) | Err(KafkaError::NoTopic { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut shared = shared.lock();
    match (shared.0.take(), shared.1.take()) {
        (_, Some(error)) => Err(error),
        (Some(work), None) => Ok(work),
        (None, None) => Err(VerifyError::Ended),
    }
}

/// Identity, fingerprint, and when it was accepted, in ms since 1970.
fn names_of(
    record: &PolledRecord,
) -> Option<(
    cloudsync::identity::Id16,
    cloudsync::identity::Fingerprint,
    i64,
)> {
    let polled = Polled::parse(record.clone(), "", 1);
    let Content::Record { named, .. } = polled.content else {
        return None;
    };
    let accepted = polled.view()?.accept_time;
    let accepted =
        accepted.map(|it| it.seconds.saturating_mul(1_000) + i64::from(it.nanos) / 1_000_000);
    let time = accepted.unwrap_or(record.timestamp_ms);
    Some((named.id, named.fingerprint, time))
}

/// `None`: what cannot be decoded is set aside for every destination, and has no id.
fn entry_of(work: &mut Work, partition: i32, record: PolledRecord) -> Option<Entry> {
    let (id, fingerprint, time) = names_of(&record)?;
    let view = RecordView::parse(record.value.as_deref()?).ok()?;
    let place = Place::Log(partition);
    let scope = work.scope();
    let flags = scope.flags(&place, partition, record.offset, Some(time))
        | scope.addressed(view.destinations());
    let number = work.places().number(&place);
    let entry = Entry::new(Voice::Log, id, fingerprint, flags);
    Some(entry.at(number, i64::from(partition), record.offset))
}
