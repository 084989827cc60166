//! An HTTP endpoint as the destination `aws`, sound and faulty, and the real program before it.

use crate::support::{CATCH_UP, START, caught_up, plain_load, seed, stop};
use cloudsync::wire::RecordView;
use cloudsync_harness::client::{Load, record, send};
use cloudsync_harness::endpoint::{Behaviour, Endpoint, Fault, Faults, Seen};
use cloudsync_harness::journal::Journal;
use cloudsync_harness::program::Up;
use cloudsync_kafka::{DeadLetterHeaders, KafkaSettings, lag, read_topic_with_headers};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::time::{Duration, Instant, sleep};
use xxhash_rust::xxh3::xxh3_128;

const KEYS: u32 = 60;

/// `cloudsync up` that posts what is for `aws` to `endpoint`.
pub(crate) async fn posting(data: &Path, endpoint: &Endpoint, more: &[(&str, &str)]) -> Up {
    posting_to(data, &endpoint.url(), more).await
}

/// The same to `url`.
pub(crate) async fn posting_to(data: &Path, url: &str, more: &[(&str, &str)]) -> Up {
    let mut up = Up::new(data).unwrap();
    let of = |key: &str| format!("CLOUDSYNC_DESTINATIONS__AWS__{key}");
    up.program.set(&of("URL"), url);
    up.program.set(&of("ALLOW_PRIVATE"), "true");
    // What the journal knows.
    up.program.set(&of("IDEMPOTENCY_KEY"), "request_id");
    for (key, value) in more {
        up.program.set(&of(key), value);
    }
    up.program.start().unwrap();
    up.program.ready(START).await.unwrap();
    up
}

pub(crate) fn kafka(up: &Up) -> KafkaSettings {
    KafkaSettings {
        brokers: up.log.to_string(),
        ..KafkaSettings::default()
    }
}

/// Waits until everything in the log has come to its end at `aws`.
pub(crate) async fn settled(up: &Up, endpoint: &Endpoint) {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let lags = lag(&kafka(up), "aws-sync-group").await.unwrap();
        if lags.iter().all(|partition| partition.lag() == 0) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "aws stays behind with {} ids at the endpoint: {lags:?}\n{}",
            endpoint.with_effect(),
            up.program.tail()
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// The dead letters of `aws`: request id → reason, and how many there are of it.
pub(crate) async fn dead_letters(up: &Up) -> BTreeMap<String, (String, u32)> {
    let found = Arc::new(Mutex::new(BTreeMap::new()));
    let into = Arc::clone(&found);
    let visit = move |_, record: cloudsync_kafka::PolledRecord, headers: Vec<_>| {
        let headers = DeadLetterHeaders::parse(&headers).unwrap();
        assert_eq!(headers.destination, "aws", "{headers:?}");
        let value = record.value.unwrap();
        let id = RecordView::parse(&value).unwrap().request_id.to_owned();
        let mut found = into.lock().unwrap();
        let entry: &mut (String, u32) = found.entry(id).or_default();
        *entry = (headers.reason, entry.1 + 1);
    };
    let settings = kafka(up);
    read_topic_with_headers(&settings, &settings.dlq_topic, visit)
        .await
        .unwrap();
    std::mem::take(&mut *found.lock().unwrap())
}

/// Whatever was acknowledged has had its effect or is a dead letter for the reason that the
/// endpoint gave; nothing else has; and an effect more than one is owed to a reply that nobody got.
pub(crate) fn check(
    journal: &Journal,
    seen: &BTreeMap<String, Seen>,
    letters: &BTreeMap<String, (String, u32)>,
    keyed: bool,
) {
    let reason = if keyed { "id_conflict" } else { "rejected" };
    for (name, entry) in journal.entries() {
        assert!(entry.acked > 0, "{name:?} was not acknowledged");
        let seen = seen.get(&name.id).cloned().unwrap_or_default();
        match letters.get(&name.id) {
            Some((found, _)) => {
                assert_eq!(found, reason, "{name:?}: {seen:?}");
                assert!(seen.unprocessable > 0, "{name:?}: {seen:?}");
            }
            None => {
                assert!(seen.effects > 0, "lost: {name:?}: {seen:?}");
                assert_eq!(seen.unprocessable, 0, "{name:?}: {seen:?}");
            }
        }
        let most = if keyed { 1 } else { 1 + seen.replies_lost };
        assert!(seen.effects <= most, "doubled: {name:?}: {seen:?}");
        if seen.effects > 0 {
            assert!(entry.payloads.contains(&seen.payload.unwrap()), "{name:?}");
            assert_eq!(
                (&seen.key, &*seen.content_type),
                (&name.key, "application/json")
            );
        }
    }
    let known = |id: &String| journal.entries().any(|(name, _)| name.id == *id);
    assert!(seen.len() <= journal.len() && letters.keys().all(known));
}

/// First effects of a key stand in the order in which the log has its records. Not those of an id
/// among `letters`: it was refused at its place, and may have its effect when it is sent again.
pub(crate) fn in_order(
    endpoint: &Endpoint,
    load: &Load,
    letters: &BTreeMap<String, (String, u32)>,
) {
    for (key, mut ids) in endpoint.order() {
        let of_load = format!("{}-", load.prefix);
        ids.retain(|id| id.starts_with(&of_load) && !letters.contains_key(id));
        let sent = (0..load.records).map(|n| record(load, n));
        let of_key = sent.filter(|record| record.key == key);
        let sent: Vec<String> = of_key.map(|record| record.request_id).collect();
        let place = |id: &String| sent.iter().position(|sent| sent == id).unwrap();
        assert!(ids.iter().map(place).is_sorted(), "{key}: {ids:?}");
    }
}

#[tokio::test]
async fn resends_have_one_effect_at_a_plain_endpoint() {
    let data = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    let mut up = posting(data.path(), &endpoint, &[]).await;
    let load = Load {
        resend: 0.2,
        ..plain_load(&up, "post", 3_000, KEYS, seed())
    };
    let journal = send(load.clone()).await.unwrap().journal;
    settled(&up, &endpoint).await;
    let seen = endpoint.seen();
    assert_eq!(seen.len(), 3_000);
    assert!(
        seen.values()
            .all(|seen| (seen.posts, seen.effects) == (1, 1))
    );
    let letters = dead_letters(&up).await;
    check(&journal, &seen, &letters, false);
    in_order(&endpoint, &load, &letters);
    // Once more, all of it: nothing comes to the endpoint, and the other destination has it too.
    let again = send(load.clone()).await.unwrap().journal;
    settled(&up, &endpoint).await;
    assert_eq!(endpoint.seen(), seen);
    let azure = caught_up(&up.data.join("azure"), "azure", &again).await;
    assert!(azure.is_clean_but_for_resends(), "{}", azure.summary());
    stop(&mut up).await;
}

/// A faulty endpoint, with everything that can go wrong at one.
async fn faulty(keyed: bool) {
    let data = tempfile::tempdir().unwrap();
    let seed = seed();
    let behaviour = Behaviour {
        keyed,
        faults: Faults::all(0.03),
        seed,
    };
    let endpoint = Endpoint::start(behaviour).await.unwrap();
    let idempotence = if keyed { "keyed" } else { "plain" };
    let settings = [("IDEMPOTENCE", idempotence), ("ATTEMPT_TIMEOUT", "1500ms")];
    let mut up = posting(data.path(), &endpoint, &settings).await;
    let load = Load {
        resend: 0.2,
        ..plain_load(&up, idempotence, 1_500, KEYS, seed)
    };
    let journal = send(load.clone()).await.unwrap().journal;
    settled(&up, &endpoint).await;
    let (seen, letters) = (endpoint.seen(), dead_letters(&up).await);
    let sum = |of: fn(&Seen) -> u32| seen.values().map(of).sum::<u32>();
    println!(
        "{idempotence}: {} posts, {} effects, {} replies lost, {} dead letters, {:?}",
        sum(|seen| seen.posts),
        sum(|seen| seen.effects),
        sum(|seen| seen.replies_lost),
        letters.len(),
        endpoint.faults()
    );
    check(&journal, &seen, &letters, keyed);
    in_order(&endpoint, &load, &letters);
    let faults = endpoint.faults();
    for fault in [
        Fault::HangDone,
        Fault::DropDone,
        Fault::Broken,
        Fault::Throttle,
    ] {
        assert!(faults.contains_key(&fault), "no {fault:?}: {faults:?}");
    }
    stop(&mut up).await;
}

#[tokio::test]
async fn a_faulty_plain_endpoint_loses_nothing_and_doubles_only_what_it_did_not_answer() {
    faulty(false).await;
}

#[tokio::test]
async fn a_faulty_keyed_endpoint_has_one_effect_for_each_id() {
    faulty(true).await;
}

#[tokio::test]
async fn an_id_used_again_with_another_payload_is_a_dead_letter_and_no_effect() {
    let data = tempfile::tempdir().unwrap();
    let behaviour = Behaviour {
        keyed: true,
        ..Behaviour::default()
    };
    let endpoint = Endpoint::start(behaviour).await.unwrap();
    let mut up = posting(data.path(), &endpoint, &[("IDEMPOTENCE", "keyed")]).await;
    // What was posted before CloudSync came: only the endpoint knows of it.
    let load = plain_load(&up, "used", 50, 5, 1);
    let http = format!(
        "POST /records HTTP/1.1\r\nhost: {}\r\nidempotency-key: {}\r\ncontent-length: 5\r\n\
         connection: close\r\n\r\nother",
        endpoint.address(),
        record(&load, 7).request_id
    );
    let answer = cloudsync_harness::program::http_exchange(endpoint.address(), &http).await;
    assert_eq!(answer.unwrap().0, 201);
    let journal = send(load).await.unwrap().journal;
    settled(&up, &endpoint).await;
    let letters = dead_letters(&up).await;
    let expected = BTreeMap::from([("used-00000007".to_owned(), ("id_conflict".to_owned(), 1))]);
    assert_eq!(letters, expected);
    let seen = endpoint.seen();
    assert_eq!(seen["used-00000007"].payload, Some(xxh3_128(b"other")));
    assert_eq!(journal.len(), seen.len());
    stop(&mut up).await;
}

#[tokio::test]
async fn an_endpoint_that_goes_away_is_waited_for() {
    let data = tempfile::tempdir().unwrap();
    let mut endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    let mut up = posting(data.path(), &endpoint, &[]).await;
    let mut journal = send(plain_load(&up, "before", 200, KEYS, 1)).await.unwrap();
    settled(&up, &endpoint).await;
    endpoint.go_away().await.unwrap();
    let during = send(plain_load(&up, "during", 200, KEYS, 1)).await.unwrap();
    journal.journal.merge(during.journal);
    let deadline = Instant::now() + START;
    loop {
        let (status, body) = up.program.readyz().await.unwrap();
        if status == 503 && body.contains("destination aws") {
            assert!(body.contains("takes no connection"), "{body}");
            break;
        }
        assert!(Instant::now() < deadline, "/readyz says {status} {body}");
        sleep(Duration::from_millis(50)).await;
    }
    let azure = caught_up(&up.data.join("azure"), "azure", &journal.journal).await;
    assert!(azure.is_clean(), "azure goes on: {}", azure.summary());
    endpoint.come_back().await.unwrap();
    settled(&up, &endpoint).await;
    up.program.ready(START).await.unwrap();
    check(
        &journal.journal,
        &endpoint.seen(),
        &dead_letters(&up).await,
        false,
    );
    stop(&mut up).await;
}

/// A URL that is about nobody's record does not fill the dead-letter topic, and no password shows.
#[tokio::test]
async fn an_address_that_is_not_allowed_is_said_and_nothing_is_sent() {
    let data = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(Behaviour::default()).await.unwrap();
    let mut up = Up::new(data.path()).unwrap();
    let url = format!("https://me:hush@localhost:{}/x", endpoint.address().port());
    up.program.set("CLOUDSYNC_DESTINATIONS__AWS__URL", &url);
    up.program.start().unwrap();
    let (status, body) = waits(&mut up, "allow_private").await;
    assert_eq!(status, 503, "{body}");
    assert!(!body.contains("hush"), "{body}");
    assert_eq!(up.program.wrote("hush"), 0, "{}", up.program.tail());
    assert_eq!(endpoint.seen().len(), 0);
}

async fn waits(up: &mut Up, text: &str) -> (u16, String) {
    let deadline = Instant::now() + START;
    loop {
        if let Ok((status, body)) = up.program.readyz().await
            && body.contains(text)
        {
            return (status, body);
        }
        assert!(
            Instant::now() < deadline,
            "no {text}\n{}",
            up.program.tail()
        );
        sleep(Duration::from_millis(50)).await;
    }
}
