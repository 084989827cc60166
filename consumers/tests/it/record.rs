//! `record` mode through the whole consumer: a real log, real files, and a dedupe store that is
//! the real one behind a door that a test can watch, delay and shut.

use crate::door::Door;
use crate::support::{Log, Running, at, eventually, get};
use bytes::Bytes;
use cloudsync::SyncRecord;
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync::partition::partition_of;
use cloudsync_consumers::record::name::ObjectName;
use cloudsync_consumers::{Counters, DeliveredLine, DestinationSettings, WriteMode, read_back};
use cloudsync_dedupe::{DedupeStore, LogPosition, Lookup, Subject, Token, shard_of};
use cloudsync_kafka::{ProduceRecord, lag};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::sleep;

const PARTITIONS: u32 = 3;
const SHARDS: u32 = 12;
const GROUP: &str = "aws-sync-group";
const LEASE: Duration = Duration::from_secs(30);

// === a log, a directory, members ===

struct Place {
    log: Log,
    temp: TempDir,
}

impl Place {
    async fn new() -> Self {
        Self {
            log: Log::start(PARTITIONS).await,
            temp: TempDir::new().unwrap(),
        }
    }

    fn settings(&self) -> DestinationSettings {
        let mode = Some(WriteMode::Record);
        DestinationSettings {
            mode,
            ..at(&self.temp.path().join("aws"))
        }
    }

    fn member(&self, store: &Arc<Door>) -> Running {
        self.log.consume(
            self.settings(),
            &(Arc::clone(store) as Arc<dyn DedupeStore>),
        )
    }

    async fn produce(&self, records: &[SyncRecord]) {
        let batch = records.iter().map(|record| ProduceRecord {
            partition: partition_of(record.key.as_bytes(), PARTITIONS),
            key: Bytes::from(record.key.clone()),
            value: Bytes::from(record.encode_to_vec()),
        });
        self.log.append(batch.collect()).await;
    }

    async fn behind(&self) -> i64 {
        let lags = lag(&self.log.settings, GROUP).await.unwrap();
        lags.iter().map(cloudsync_kafka::PartitionLag::lag).sum()
    }

    async fn settled(&self) {
        self.log.settled(GROUP).await;
    }

    /// Every record lies at the destination once, as it was sent, and nothing else does.
    async fn holds(&self, records: &[SyncRecord]) {
        let mut found: BTreeMap<Id16, Fingerprint> = BTreeMap::new();
        let mut visit = |line: DeliveredLine<'_>| {
            assert_eq!(
                found.insert(line.id16, line.fingerprint),
                None,
                "{} twice",
                line.id
            );
        };
        let read = read_back(&self.settings(), &mut visit).await.unwrap();
        assert_eq!(read.damage_count, 0, "{:?}", read.damaged);
        assert_eq!(read.objects, read.lines);
        let expected: BTreeMap<Id16, Fingerprint> = records
            .iter()
            .map(|record| (id_of(record), fingerprint_of(record)))
            .collect();
        assert_eq!(found.len(), expected.len());
        assert!(found == expected, "other ids or contents than were sent");
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    polled: u64,
    delivered: u64,
    duplicates: u64,
    redelivered: u64,
    dead_lettered: u64,
    not_addressed: u64,
}

impl Counts {
    fn of(counters: &Counters) -> Self {
        Self {
            polled: get(&counters.polled),
            delivered: get(&counters.delivered),
            duplicates: get(&counters.duplicates),
            redelivered: get(&counters.redelivered),
            dead_lettered: get(&counters.dead_lettered),
            not_addressed: get(&counters.not_addressed),
        }
    }

    fn sum(&self) -> u64 {
        let ended = self.delivered + self.duplicates + self.redelivered;
        ended + self.dead_lettered + self.not_addressed
    }
}

// === records ===

fn record(n: u64, keys: u64) -> SyncRecord {
    SyncRecord {
        request_id: format!("r{n}"),
        key: format!("k{}", n % keys),
        payload: Bytes::from(format!("{{\"n\":{n}}}")),
        content_type: "application/json".into(),
        tenant: "default".into(),
        ..SyncRecord::default()
    }
}

fn records(numbers: std::ops::Range<u64>, keys: u64) -> Vec<SyncRecord> {
    numbers.map(|n| record(n, keys)).collect()
}

fn other_content(record: &SyncRecord) -> SyncRecord {
    SyncRecord {
        payload: Bytes::from_static(b"another"),
        ..record.clone()
    }
}

fn id_of(record: &SyncRecord) -> Id16 {
    Id16::of("default", &record.key, &record.request_id)
}

fn fingerprint_of(record: &SyncRecord) -> Fingerprint {
    Fingerprint::of(&record.payload, &record.content_type)
}

fn subject(record: &SyncRecord) -> Subject {
    Subject {
        id: id_of(record),
        fingerprint: fingerprint_of(record),
        shard: shard_of(record.key.as_bytes(), SHARDS),
        position: LogPosition {
            partition: 0,
            offset: 0,
        },
    }
}

fn object_of(place: &Place, record: &SyncRecord) -> std::path::PathBuf {
    let name = ObjectName::new("default", id_of(record)).to_string();
    place.temp.path().join("aws").join(name)
}

async fn until(what: &str, check: impl FnMut() -> bool) {
    eventually(|| what.to_owned(), check).await;
}

async fn nothing_in_progress(store: &Door) {
    // Sooner than a lease would end by itself.
    let deadline = tokio::time::Instant::now() + LEASE / 3;
    while store.stats().await.unwrap().in_progress > 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "a lease is still held"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

// === the tests ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_comes_to_its_one_end_in_the_order_of_its_key() {
    let (place, store) = (Place::new().await, Door::new(LEASE));
    let unique = records(0..2_000, 40);
    let conflicts: Vec<SyncRecord> = unique.iter().step_by(200).map(other_content).collect();
    let elsewhere = records(5_000..5_050, 40)
        .into_iter()
        .map(|record| SyncRecord {
            destinations: vec!["azure".into()],
            ..record
        });
    // Sent again at once, and a little later.
    let mut sent = Vec::new();
    for (n, record) in unique.iter().enumerate() {
        sent.push(record.clone());
        if n % 10 == 0 {
            sent.extend([record.clone(), unique[n / 2].clone()]);
        }
    }
    sent.extend(elsewhere);
    sent.extend(conflicts.iter().cloned());
    place.produce(&sent).await;
    let broken = (0..20).map(|n| ProduceRecord {
        partition: n % 3,
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"\xff\xff no record"),
    });
    place.log.append(broken.collect()).await;
    let total = sent.len() as u64 + 20;

    let member = place.member(&store);
    place.settled().await;
    let counts = Counts::of(&*member.drain().await);
    place.holds(&unique).await;
    let expected = Counts {
        polled: total,
        delivered: 2_000,
        duplicates: 400,
        redelivered: 0,
        dead_lettered: 30,
        not_addressed: 50,
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.sum(), total);
    let (letters, positions) = place.log.dead_letters().await;
    let expected = [
        ("id_conflict".to_owned(), 10),
        ("undecodable".to_owned(), 20),
    ];
    assert_eq!((letters, positions), (BTreeMap::from(expected), 30));

    // Each id is written and marked once: its duplicates were known before the destination was
    // asked, those in a row as well. And marks of one key come in the order of the log.
    assert_eq!(store.completed.lock().len(), 2_000);
    let key_of: HashMap<Id16, &str> = unique.iter().map(|r| (id_of(r), r.key.as_str())).collect();
    let mut last: HashMap<&str, i64> = HashMap::new();
    for marked in store.completed.lock().iter() {
        let before = last.insert(key_of[&marked.id], marked.position.offset);
        assert!(
            before.is_none_or(|before| before < marked.position.offset),
            "{marked:?}"
        );
    }
    assert_eq!(store.stats().await.unwrap().in_progress, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_forgot_everything_doubles_nothing() {
    let place = Place::new().await;
    let unique = records(0..600, 600);
    place.produce(&unique).await;
    let first = place.member(&Door::new(LEASE));
    until("some delivered", || get(&first.counters.delivered) > 100).await;
    let one = Counts::of(&*first.drain().await);
    place.produce(&unique).await;
    place.produce(&[other_content(&unique[7])]).await;
    let second = place.member(&Door::new(LEASE));
    place.settled().await;
    let two = Counts::of(&*second.drain().await);
    place.holds(&unique).await;
    // What the first one wrote behind a gap is read again, and met in its own place.
    assert_eq!(one.redelivered + one.duplicates, 0, "{one:?}");
    assert_eq!(one.delivered + two.delivered, 600, "{one:?} {two:?}");
    assert_eq!(
        (two.duplicates, two.dead_lettered),
        (600, 1),
        "the object there says so"
    );
    assert_eq!(one.polled + two.polled, 1_201 + two.redelivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torn_away_again_and_again_nothing_is_lost_or_doubled() {
    let place = Place::new().await;
    let unique = records(0..3_000, 200);
    place.produce(&unique).await;
    for _ in 0..5 {
        // The store dies with its process.
        let member = place.member(&Door::new(LEASE));
        until("some written", || get(&member.counters.polled) > 100).await;
        member.tear_away();
    }
    let last = place.member(&Door::new(LEASE));
    place.settled().await;
    let counts = Counts::of(&*last.drain().await);
    place.holds(&unique).await;
    assert_eq!(
        counts.duplicates, 0,
        "what is met again stands where it stood: {counts:?}"
    );
    assert_eq!(counts.polled, counts.sum());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_move_between_two_members_lose_and_double_nothing() {
    let (place, store) = (Place::new().await, Door::new(LEASE));
    let unique = records(0..4_000, 300);
    let stays = place.member(&store);
    let mut delivered = 0;
    for batch in unique.chunks(1_000) {
        place.produce(batch).await;
        let guest = place.member(&store);
        until("the guest works or is not needed", || {
            get(&guest.counters.polled) > 0
                || get(&stays.counters.polled) + delivered >= batch.len() as u64
        })
        .await;
        delivered += get(&guest.drain().await.delivered);
    }
    place.settled().await;
    let counts = Counts::of(&*stays.drain().await);
    place.holds(&unique).await;
    // In step with each other: each effect was made by exactly one write.
    assert_eq!(delivered + counts.delivered, 4_000);
    assert_eq!(
        store.stats().await.unwrap().in_progress,
        0,
        "nobody holds anything"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_is_away_is_waited_for_without_a_lease_and_without_dead_letters() {
    let (place, store) = (Place::new().await, Door::new(LEASE));
    let unique = records(0..300, 100);
    place.produce(&unique[..50]).await;
    let member = place.member(&store);
    place.settled().await;
    let (here, away) = (
        place.temp.path().join("aws"),
        place.temp.path().join("away"),
    );
    std::fs::rename(&here, &away).unwrap();
    std::fs::write(&here, "in its place").unwrap();
    place.produce(&unique[50..]).await;
    member.waits_for("aws").await;
    nothing_in_progress(&store).await;
    assert_eq!(place.behind().await, 250);
    std::fs::remove_file(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    place.settled().await;
    member.is_ready().await;
    let counts = Counts::of(&*member.drain().await);
    place.holds(&unique).await;
    assert_eq!((counts.delivered, counts.dead_lettered), (300, 0));
    assert!(place.log.dead_letters().await.0.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_id_is_parked_while_others_go_and_is_never_passed() {
    let (place, store) = (Place::new().await, Door::new(Duration::from_secs(5)));
    let unique = records(0..200, 200);
    let (held, dead) = (&unique[0], &unique[1]);
    let stranger = Token::random();
    let _granted = store.claim(stranger, &[subject(held)]).await.unwrap();
    // Of this one's holder nothing will be heard again.
    let _granted = store
        .claim(Token::random(), &[subject(dead)])
        .await
        .unwrap();
    place.produce(&unique).await;
    let member = place.member(&store);
    let delivered = || get(&member.counters.delivered);
    let renewing = async {
        loop {
            let renewed = store.renew(stranger, &[subject(held)]).await.unwrap();
            assert_eq!(renewed, [true]);
            sleep(Duration::from_millis(500)).await;
        }
    };
    // The dead one's lease began after the held one's: by its end, only renewing still holds.
    tokio::select! {
        () = renewing => {}
        () = until("all but the held one are delivered", || delivered() == 199) => {}
    }
    assert_eq!(store.takeovers.load(Ordering::Relaxed), 1);
    assert!(
        place.behind().await > 0,
        "committed past a record that another one holds"
    );
    assert!(!object_of(&place, held).exists());
    store.release(stranger, &[subject(held)]).await.unwrap();
    place.settled().await;
    member.drain().await;
    place.holds(&unique).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_stops_nothing_here_and_learns_it_later() {
    let (place, store) = (Place::new().await, Door::new(LEASE));
    store.shut.store(true, Ordering::Relaxed);
    let unique = records(0..300, 100);
    place.produce(&unique).await;
    place.produce(&unique[..20]).await;
    let member = place.member(&store);
    place.settled().await;
    place.holds(&unique).await;
    let counts = Counts::of(&member.counters);
    assert_eq!(
        (counts.delivered, counts.duplicates),
        (300, 20),
        "{counts:?}"
    );
    assert_eq!(get(&member.counters.dedupe_bypassed), 320);
    store.shut.store(false, Ordering::Relaxed);
    until("the marks came", || store.completed.lock().len() >= 320).await;
    let all: Vec<Subject> = unique.iter().map(subject).collect();
    let known = store.lookup(&all).await.unwrap();
    let is_done = |found: &Lookup| matches!(found, Lookup::Done { .. });
    assert!(known.iter().all(is_done), "{known:?}");
    member.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_duplicate_is_recognised_nothing_goes_on_without_the_store() {
    let (place, store) = (Place::new().await, Door::new(LEASE));
    let settings = DestinationSettings {
        url: "null://".into(),
        ..place.settings()
    };
    store.shut.store(true, Ordering::Relaxed);
    let unique = records(0..300, 100);
    place.produce(&unique).await;
    let member = place
        .log
        .consume(settings, &(Arc::clone(&store) as Arc<dyn DedupeStore>));
    member.waits_for("the dedupe store").await;
    store.refuse_marks.store(true, Ordering::Relaxed);
    store.shut.store(false, Ordering::Relaxed);
    member.is_ready().await;
    // What was written waits for its mark, and its offset with it.
    let mut held = 0;
    while held < 64 {
        held = store.stats().await.unwrap().in_progress;
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (place.behind().await, get(&member.counters.polled)),
        (300, 0)
    );
    store.refuse_marks.store(false, Ordering::Relaxed);
    place.settled().await;
    let counters = member.drain().await;
    assert_eq!(counters.tally().count, 300);
    assert_eq!(
        store.completed.lock().len(),
        300,
        "nothing was written twice"
    );
    assert_eq!(get(&counters.dedupe_bypassed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attempt_starts_that_does_not_fit_into_its_lease() {
    // An attempt has 2 s here and the margin is 1 s: what is left of a claim that was answered
    // after 1.5 s is too short, so it is renewed first; and without renewal nothing is written.
    let (place, store) = (Place::new().await, Door::new(Duration::from_secs(4)));
    store.late.store(1_500, Ordering::Relaxed);
    store.refuse_renewals.store(true, Ordering::Relaxed);
    let unique = records(0..3, 3);
    place.produce(&unique).await;
    let member = place.member(&store);
    until("renewals are asked", || {
        store.renewals.load(Ordering::Relaxed) >= 6
    })
    .await;
    assert!(
        unique.iter().all(|r| !object_of(&place, r).exists()),
        "written without a lease"
    );
    store.refuse_renewals.store(false, Ordering::Relaxed);
    place.settled().await;
    member.drain().await;
    place.holds(&unique).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_under_a_records_name_and_is_none_is_waited_for_with_an_alarm() {
    let (place, store) = (Place::new().await, Door::new(LEASE));
    let unique = records(0..3, 3);
    let (altered, foreign) = (object_of(&place, &unique[0]), object_of(&place, &unique[1]));
    place.produce(&unique[..1]).await;
    let member = place.member(&store);
    place.settled().await;
    member.drain().await;
    let body = std::fs::read_to_string(&altered).unwrap();
    std::fs::write(&altered, body.replace("\"n\":0", "\"n\":9")).unwrap();
    std::fs::create_dir_all(Path::new(&foreign).parent().unwrap()).unwrap();
    std::fs::write(&foreign, "{}").unwrap();
    // Another process, whose store knows nothing.
    let store = Door::new(LEASE);
    place.produce(&unique).await;
    let member = place.member(&store);
    until("the sound one is delivered", || {
        get(&member.counters.delivered) == 1
    })
    .await;
    member.waits_for("damaged_object").await;
    assert!(place.behind().await > 0, "nothing settles over it");
    nothing_in_progress(&store).await;
    let read = read_back(&place.settings(), &mut |_| {}).await.unwrap();
    let damaged: Vec<&str> = read.damaged.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(damaged.len(), 2, "{:?}", read.damaged);
    let known = |name: &&str| altered.ends_with(name) || foreign.ends_with(name);
    assert!(damaged.iter().all(known), "{damaged:?}");

    // One is repaired, the other removed.
    std::fs::write(&altered, body).unwrap();
    std::fs::remove_file(&foreign).unwrap();
    place.settled().await;
    member.is_ready().await;
    let counts = Counts::of(&*member.drain().await);
    assert_eq!((counts.delivered, counts.dead_lettered), (2, 0));
    place.holds(&unique).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_wrote_segments_does_not_go_on_with_objects() {
    let (place, store) = (Place::new().await, Door::new(LEASE));
    place.produce(&records(0..10, 3)).await;
    let batch = DestinationSettings {
        mode: Some(WriteMode::Batch),
        ..at(&place.temp.path().join("segments"))
    };
    let member = place
        .log
        .consume(batch, &(Arc::clone(&store) as Arc<dyn DedupeStore>));
    place.settled().await;
    member.drain().await;
    let member = place.member(&store);
    member.waits_for("destination_changed").await;
    member.drain().await;
    place.holds(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_records_to_objects() {
    let unique = records(0..20_000, 1_000);
    for null in [true, false] {
        let (place, store) = (Place::new().await, Door::new(LEASE));
        place.produce(&unique).await;
        let mut settings = place.settings();
        if null {
            settings.url = "null://".into();
        }
        let began = tokio::time::Instant::now();
        let store = Arc::clone(&store) as Arc<dyn DedupeStore>;
        let member = place.log.consume(settings.clone(), &store);
        until("all settled", || get(&member.counters.polled) == 20_000).await;
        let took = began.elapsed();
        member.drain().await;
        let rate = 20_000.0 / took.as_secs_f64();
        println!(
            "{}: {rate:.0} records/s from the first poll on",
            settings.url
        );
    }
}
