//! An HTTP endpoint as the destination, and a dedupe store that goes away or forgets.

use crate::door::Door;
use crate::support::{Log, Running, consume_when, eventually, get};
use cloudsync_consumers::{DestinationSettings, Repeats};
use cloudsync_dedupe::{DedupeStore, OnUnavailable};
use cloudsync_harness::endpoint::{Behaviour, Endpoint, Fault, Faults};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

const GROUP: &str = "aws-sync-group";
const LEASE: Duration = Duration::from_secs(3);

/// A log, an endpoint, and a store behind a door.
struct Place {
    log: Log,
    endpoint: Endpoint,
    store: Arc<Door>,
    lease: Duration,
    keyed: bool,
}

impl Place {
    async fn new(keyed: bool, faults: Faults) -> Self {
        let behaviour = Behaviour {
            keyed,
            faults,
            seed: 7,
        };
        Self {
            log: Log::start(3).await,
            endpoint: Endpoint::start(behaviour).await.unwrap(),
            store: Door::new(LEASE),
            lease: LEASE,
            keyed,
        }
    }

    fn with_lease(self, lease: Duration) -> Self {
        Self {
            store: Door::new(lease),
            lease,
            ..self
        }
    }

    fn member(&self, on_unavailable: OnUnavailable) -> Running {
        let idempotence = if self.keyed {
            Repeats::Keyed
        } else {
            Repeats::Plain
        };
        let settings = DestinationSettings {
            idempotence,
            allow_private: true,
            attempt_timeout: Some(Duration::from_secs(1)),
            ..DestinationSettings::new(self.endpoint.url(), GROUP)
        };
        let store = Arc::clone(&self.store) as Arc<dyn DedupeStore>;
        consume_when(
            &self.log.settings,
            settings,
            &store,
            self.lease,
            on_unavailable,
        )
    }

    async fn produce(&self, numbers: std::ops::Range<u32>) {
        let payload = |n| format!("{{\"n\":{n}}}");
        let records = numbers.map(|n| self.log.record(&format!("id-{n}"), &payload(n), &[]));
        self.log.append(records.collect()).await;
    }

    fn shut(&self, shut: bool) {
        self.store.shut.store(shut, Ordering::Relaxed);
    }

    /// Waits until so many ids have had their effect.
    async fn has(&self, ids: usize) {
        let what = || {
            format!(
                "{ids} ids at the endpoint, not {}",
                self.endpoint.with_effect()
            )
        };
        eventually(what, || self.endpoint.with_effect() >= ids).await;
    }

    /// So many ids, each with one effect.
    fn has_each_once(&self, ids: usize) {
        let seen = self.endpoint.seen();
        assert_eq!(seen.len(), ids);
        for (id, seen) in seen {
            assert_eq!(seen.effects, 1, "{id}: {seen:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_endpoint_waits_for_the_store_and_goes_on_by_itself() {
    let place = Place::new(false, Faults::default()).await;
    let member = place.member(OnUnavailable::Auto);
    place.produce(0..200).await;
    place.has(200).await;
    place.log.settled(GROUP).await;
    place.shut(true);
    place.produce(200..400).await;
    member.waits_for("the dedupe store").await;
    // Asked again and again by now, and in vain.
    assert_eq!(
        place.endpoint.seen().len(),
        200,
        "no attempt without a claim"
    );
    place.shut(false);
    place.has(400).await;
    member.is_ready().await;
    place.log.settled(GROUP).await;
    place.has_each_once(400);
    let counters = member.drain().await;
    assert_eq!(get(&counters.delivered), 400);
    assert_eq!(get(&counters.dedupe_bypassed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_endpoint_goes_on_without_the_store() {
    let faults = Faults {
        shares: vec![(Fault::DropDone, 0.2)],
    };
    let place = Place::new(true, faults).await;
    place.shut(true);
    let member = place.member(OnUnavailable::Auto);
    place.produce(0..200).await;
    place.has(200).await;
    place.log.settled(GROUP).await;
    member.is_ready().await;
    // Sent again, and nobody there who remembers, but the endpoint.
    place.produce(0..200).await;
    place.log.settled(GROUP).await;
    place.has_each_once(200);
    let counters = member.drain().await;
    assert!(get(&counters.dedupe_bypassed) >= 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_it_waits_for_the_store_can_be_decided_otherwise() {
    let place = Place::new(false, Faults::default()).await;
    place.shut(true);
    place.produce(0..50).await;
    let member = place.member(OnUnavailable::Continue);
    place.log.settled(GROUP).await;
    place.has_each_once(50);
    member.drain().await;

    let place = Place::new(true, Faults::default()).await;
    place.shut(true);
    place.produce(0..50).await;
    let member = place.member(OnUnavailable::Pause);
    member.waits_for("the dedupe store").await;
    assert_eq!(place.endpoint.seen().len(), 0);
    place.shut(false);
    place.log.settled(GROUP).await;
    place.has_each_once(50);
    member.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_could_not_be_marked_keeps_its_place() {
    let place = Place::new(false, Faults::default()).await;
    place.store.refuse_marks.store(true, Ordering::Relaxed);
    let member = place.member(OnUnavailable::Auto);
    place.produce(0..20).await;
    place.has(1).await;
    member.waits_for("the dedupe store").await;
    assert_eq!(get(&member.counters.polled), 0, "nothing is settled");
    place.store.refuse_marks.store(false, Ordering::Relaxed);
    place.log.settled(GROUP).await;
    place.has_each_once(20);
    let counters = member.drain().await;
    assert_eq!(get(&counters.delivered), 20);
    assert_eq!(place.store.completed.lock().len(), 20, "each is marked");
}

/// The mark is tried for as long as the lease keeps others away, also by a partition that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_taken_away_marks_what_it_wrote() {
    let place = Place::new(false, Faults::default()).await;
    let place = place.with_lease(20 * Duration::from_secs(1));
    place.store.refuse_marks.store(true, Ordering::Relaxed);
    let member = place.member(OnUnavailable::Auto);
    place.produce(0..5).await;
    place.has(1).await;
    member.waits_for("the dedupe store").await;
    let (store, posted) = (Arc::clone(&place.store), place.endpoint.with_effect());
    let refused = || store.refused_marks.load(Ordering::Relaxed);
    let before = refused();
    let back = async {
        eventually(|| "two more tries".to_owned(), || refused() >= before + 2).await;
        store.refuse_marks.store(false, Ordering::Relaxed);
    };
    let (_, counters) = tokio::join!(back, member.drain());
    assert!(
        get(&counters.delivered) >= posted as u64,
        "marked and settled"
    );
    let next = place.member(OnUnavailable::Auto);
    place.log.settled(GROUP).await;
    place.has_each_once(5);
    next.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_store_forgot_a_plain_endpoint_waits_one_lease() {
    let place = Place::new(false, Faults::default()).await;
    let member = place.member(OnUnavailable::Auto);
    place.produce(0..20).await;
    place.log.settled(GROUP).await;
    let claims = place.store.claims.load(Ordering::Relaxed);
    let forgot = Instant::now();
    place.store.losses.fetch_add(1, Ordering::Relaxed);
    place.produce(20..40).await;
    member.waits_for("the dedupe store forgot").await;
    let during = place.store.claims.load(Ordering::Relaxed);
    assert_eq!((during, place.endpoint.with_effect()), (claims, 20));
    place.has(21).await;
    assert!(forgot.elapsed() >= LEASE, "only {:?}", forgot.elapsed());
    place.log.settled(GROUP).await;
    place.has_each_once(40);
    member.is_ready().await;
    member.drain().await;

    // Where a second write does no harm there is nothing to wait for.
    let place = Place::new(true, Faults::default()).await;
    let member = place.member(OnUnavailable::Auto);
    place.store.losses.fetch_add(1, Ordering::Relaxed);
    place.produce(0..20).await;
    place.log.settled(GROUP).await;
    assert!(member.readiness.is_ready());
    member.drain().await;
}
