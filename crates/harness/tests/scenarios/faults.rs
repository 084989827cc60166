//! A keyed HTTP endpoint behind a proxy with faults as the destination `aws`, and the real program
//! before it: what fails is tried again, an outage is waited for, nothing is lost or doubled.

use crate::endpoint::{check, dead_letters, in_order, posting_to, settled};
use crate::support::{CATCH_UP, START, caught_up, plain_load, repetitions, seed, stop};
use cloudsync_cli::faults::{Fault, FaultyProxy, Only, Outage, Plan};
use cloudsync_harness::client::{record, send};
use cloudsync_harness::endpoint::{Behaviour, Endpoint};
use cloudsync_harness::metrics::Numbers;
use cloudsync_harness::program::Up;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const KEYS: u32 = 60;
const STATE: &str = "cloudsync_consumer_breaker_state";
const DENIED: &str = "cloudsync_consumer_denied";
/// Failures of its own after which a record is dead-lettered, by default.
const ATTEMPTS: u32 = 16;

/// An endpoint, a proxy with `plan` before it, and `up` that posts there.
async fn behind(data: &Path, plan: Plan, more: &[(&str, &str)]) -> (Endpoint, FaultyProxy, Up) {
    let behaviour = Behaviour {
        keyed: true,
        ..Behaviour::default()
    };
    let endpoint = Endpoint::start(behaviour).await.unwrap();
    let upstream = endpoint.address();
    let proxy = FaultyProxy::start(upstream, plan, seed()).await.unwrap();
    let url = format!("http://{}/records", proxy.address());
    let settings = [&[("IDEMPOTENCE", "keyed")], more].concat();
    let up = posting_to(data, &url, &settings).await;
    (endpoint, proxy, up)
}

/// Waits until the numbers of `up` are as `wanted`; returns how long it waited.
async fn until(up: &Up, what: &str, wanted: impl Fn(&Numbers) -> bool) -> Duration {
    let began = Instant::now();
    loop {
        let numbers = up.program.numbers().await.unwrap();
        if wanted(&numbers) {
            return began.elapsed();
        }
        assert!(
            began.elapsed() < START,
            "not {what}: {numbers:?}\n{}",
            up.program.tail()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// The breaker of `aws`; that of the other destination, a directory, is closed and adds nothing.
fn breaker(numbers: &Numbers) -> u64 {
    numbers.get(STATE)
}

/// 20 % of 5xx, 2 % of 429, 1 % of replies lost: no reason to stop. Then an outage: it stops at
/// once, the other destination does not, and it goes on by itself.
#[tokio::test]
async fn faults_and_an_outage_lose_nothing_and_double_nothing() {
    let data = tempfile::tempdir().unwrap();
    let shares = [
        (Fault::Broken, 0.2),
        (Fault::Throttle, 0.02),
        (Fault::LostReply, 0.01),
    ];
    let (endpoint, mut proxy, mut up) = behind(data.path(), Plan::of(shares), &[]).await;
    let load = plain_load(&up, "faulty", 800, KEYS, 1);
    let mut journal = send(load.clone()).await.unwrap().journal;
    settled(&up, &endpoint).await;
    let numbers = up.program.numbers().await.unwrap();
    // A machine that stands still for seconds makes attempts that hang; nothing else may open it.
    let written = up.program.written();
    let opened = written
        .lines()
        .filter(|line| line.contains("the breaker opened"));
    assert!(
        opened.clone().all(|line| line.contains("not over after")),
        "{}",
        up.program.tail()
    );
    println!("opened {} times before the outage", opened.count());
    assert!(numbers.consumer("retries") > 0);

    proxy.set_outage(Some(Outage::Refuses)).await.unwrap();
    let began = Instant::now();
    let during = plain_load(&up, "during", 300, KEYS, 2);
    journal.merge(send(during).await.unwrap().journal);
    until(&up, "open", |numbers| breaker(numbers) > 0).await;
    let opened = began.elapsed();
    let azure = caught_up(&up.data.join("azure"), "azure", &journal).await;
    assert!(azure.is_clean(), "azure goes on: {}", azure.summary());
    // How long the outage lasts is what is tested; nothing waits for its end here.
    let lasts = Duration::from_secs(if repetitions() >= 10 { 20 } else { 5 });
    sleep(lasts.saturating_sub(began.elapsed())).await;
    proxy.set_outage(None).await.unwrap();
    let closed = until(&up, "closed", |numbers| breaker(numbers) == 0).await;
    settled(&up, &endpoint).await;
    up.program.ready(START).await.unwrap();

    let (seen, letters) = (endpoint.seen(), dead_letters(&up).await);
    let numbers = up.program.numbers().await.unwrap();
    println!(
        "open {opened:?} after the outage began, the sending of 300 records included, closed {closed:?} after its end; {} requests, \
         {} retries, {:?}",
        proxy.requests(),
        numbers.consumer("retries"),
        proxy.counts()
    );
    assert_eq!(
        proxy.missing(),
        [],
        "a fault that never happened proves nothing"
    );
    assert_eq!(letters, BTreeMap::new());
    check(&journal, &seen, &letters, true);
    in_order(&endpoint, &load, &letters);
    assert!(seen.values().all(|seen| seen.posts <= ATTEMPTS));
    // 5 s and 10 s are what is promised; the rest is for a machine that is busy otherwise.
    assert!(opened < Duration::from_secs(15), "{opened:?}");
    assert!(closed < Duration::from_secs(30), "{closed:?}");
    stop(&mut up).await;
}

#[tokio::test]
async fn revoked_credentials_pause_and_alarm_and_set_nothing_aside() {
    let data = tempfile::tempdir().unwrap();
    let (endpoint, proxy, mut up) = behind(data.path(), Plan::none(), &[]).await;
    let mut journal = send(plain_load(&up, "let-in", 200, KEYS, 1))
        .await
        .unwrap()
        .journal;
    settled(&up, &endpoint).await;
    proxy.set_denied(true);
    journal.merge(
        send(plain_load(&up, "denied", 300, KEYS, 2))
            .await
            .unwrap()
            .journal,
    );
    until(&up, "denied", |numbers| numbers.get(DENIED) == 1).await;
    let (status, body) = up.program.readyz().await.unwrap();
    assert!(status == 503 && body.contains("403"), "{status} {body}");
    up.program
        .wait_until_wrote("until somebody acts", 1, START)
        .await
        .unwrap();
    let azure = caught_up(&up.data.join("azure"), "azure", &journal).await;
    assert!(azure.is_clean(), "azure goes on: {}", azure.summary());
    let denied = |proxy: &FaultyProxy| proxy.counts().get(&Fault::Denied).copied();
    assert!(denied(&proxy) > Some(0));
    assert_eq!(endpoint.with_effect(), 200);

    proxy.set_denied(false);
    settled(&up, &endpoint).await;
    up.program.ready(START).await.unwrap();
    assert_eq!(up.program.numbers().await.unwrap().get(DENIED), 0);
    let letters = dead_letters(&up).await;
    assert_eq!(letters, BTreeMap::new());
    check(&journal, &endpoint.seen(), &letters, true);
    stop(&mut up).await;
}

/// A firewall does not like one record. It delays its key and nobody else, and because others are
/// taken all the while it is set aside in the end, and its key goes on.
#[tokio::test]
async fn a_record_that_is_denied_alone_holds_its_key_for_a_while_and_nobody_else() {
    let data = tempfile::tempdir().unwrap();
    let plan = Plan {
        only: Some(Only {
            header: "idempotency-key".into(),
            value: "alone-00000007".into(),
        }),
        ..Plan::of([(Fault::Denied, 1.0)])
    };
    let (endpoint, proxy, mut up) = behind(data.path(), plan, &[("ATTEMPTS", "6")]).await;
    let load = plain_load(&up, "alone", 600, KEYS, 1);
    let disliked = record(&load, 7);
    assert_eq!(disliked.request_id, "alone-00000007");
    let mut journal = send(load.clone()).await.unwrap().journal;
    let others: Vec<_> = (0..load.records)
        .map(|n| record(&load, n))
        .filter(|record| record.key != disliked.key)
        .collect();
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let seen = endpoint.seen();
        if others
            .iter()
            .all(|other| seen.contains_key(&other.request_id))
        {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "others wait\n{}",
            up.program.tail()
        );
        sleep(Duration::from_millis(50)).await;
    }
    // Others come, and are taken: that it is not the destination's fault is told by them alone.
    let mut waves = 0u64;
    while dead_letters(&up).await.is_empty() {
        assert!(Instant::now() < deadline, "it waits\n{}", up.program.tail());
        waves += 1;
        let wave = plain_load(&up, &format!("wave-{waves}"), 60, KEYS, waves);
        journal.merge(send(wave).await.unwrap().journal);
    }
    settled(&up, &endpoint).await;
    let letters = dead_letters(&up).await;
    let expected = ("alone-00000007".to_owned(), ("exhausted".to_owned(), 1));
    assert_eq!(letters, BTreeMap::from([expected]));
    let seen = endpoint.seen();
    assert_eq!(seen.len(), journal.len() - 1, "all but it");
    assert!(seen.values().all(|seen| seen.effects == 1));
    in_order(&endpoint, &load, &letters);
    assert_eq!(proxy.missing(), []);
    up.program.ready(START).await.unwrap();
    stop(&mut up).await;
}
