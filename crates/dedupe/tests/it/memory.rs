//! The memory store: the laws, and its own bounds.

use crate::conformance::{World, conformance, subject};
use async_trait::async_trait;
use cloudsync_dedupe::{Claim, DedupeSettings, Lookup, Subject, Token, open};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Its clock is tokio's, which a test moves.
struct Paused {
    settings: DedupeSettings,
    began: Instant,
}

impl Paused {
    fn new(settings: DedupeSettings) -> Self {
        let began = Instant::now();
        Self { settings, began }
    }
}

#[async_trait]
impl World for Paused {
    fn settings(&self) -> DedupeSettings {
        self.settings.clone()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

mod small {
    use super::*;
    conformance!(
        Paused::new(DedupeSettings { max_entries: 1_000, ..DedupeSettings::default() }),
        #[tokio::test(start_paused = true)]
    );
}

mod in_several_tables {
    use super::*;
    conformance!(Paused::new(DedupeSettings::default()), #[tokio::test(start_paused = true)]);
}

fn bounded(max_entries: u64) -> Paused {
    Paused::new(DedupeSettings {
        max_entries,
        ..DedupeSettings::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_full_store_drops_the_oldest_marks_and_never_a_running_lease() {
    let world = bounded(10);
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let held: Vec<Subject> = (0..4).map(subject).collect();
    let _granted = store.claim(me, &held).await.unwrap();
    for n in 10..30 {
        tokio::time::advance(SECOND).await;
        store.complete(&[subject(n)]).await.unwrap();
    }
    let stats = store.stats().await.unwrap();
    assert_eq!(
        (stats.entries, stats.in_progress, stats.evicted),
        (10, 4, 14)
    );
    // The oldest of the six marks was set five seconds before the last one: that is the window.
    assert_eq!(stats.effective_window, Some(5 * SECOND));
    assert_eq!(store.renew(me, &held).await.unwrap(), [true; 4]);
    let marks: Vec<Subject> = (10..30).map(subject).collect();
    let known = store.lookup(&marks).await.unwrap();
    let known = known
        .iter()
        .map(|found| *found != Lookup::Unknown)
        .collect::<Vec<bool>>();
    assert_eq!(known, [vec![false; 14], vec![true; 6]].concat());

    // Leases take the place of the marks, and then nothing is left to drop.
    let more: Vec<Subject> = (100..106).map(subject).collect();
    assert!(
        store
            .claim(me, &more)
            .await
            .unwrap()
            .iter()
            .all(|c| matches!(c, Claim::Granted(_)))
    );
    let error = store.claim(other, &[subject(200)]).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(
        error.to_string(),
        "dedupe store memory of aws is unavailable: all of its 10 entries are claims in progress"
    );
    assert!(
        store.complete(&[subject(200)]).await.is_err(),
        "a mark that is not kept is no mark"
    );
    store.complete(&[subject(0)]).await.unwrap();
    tokio::time::advance(31 * SECOND).await;
    assert!(matches!(
        store.claim(other, &[subject(200)]).await.unwrap()[0],
        Claim::Granted(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_does_not_fit_leaves_nothing_held() {
    let world = bounded(10);
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let _granted = store
        .claim(me, &(0..8).map(subject).collect::<Vec<_>>())
        .await
        .unwrap();
    let too_many: Vec<Subject> = (7..12).map(subject).collect();
    assert!(store.claim(me, &too_many).await.is_err());
    let stats = store.stats().await.unwrap();
    assert_eq!(
        (stats.entries, stats.in_progress),
        (8, 8),
        "0 to 7 as before, 8 and 9 given back"
    );
    let _granted = store.claim(other, &[subject(8), subject(9)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn memory_stays_below_its_limit() {
    for max_memory in [64 << 10, 1 << 20, 8 << 20] {
        let settings = DedupeSettings {
            max_memory: Some(max_memory),
            ..DedupeSettings::default()
        };
        let (store, me) = (open(&settings, "aws").unwrap(), Token::random());
        let most = store.stats().await.unwrap().max_entries.unwrap();
        for start in (0..2 * most).step_by(100) {
            let batch: Vec<Subject> = (start..start + 100).map(subject).collect();
            let _granted = store.claim(me, &batch).await.unwrap();
            store.dead_letter(Some(me), &batch).await.unwrap();
            // Marked again and again: what is left of older marks must not pile up.
            for _ in 0..5 {
                tokio::time::advance(Duration::from_millis(1)).await;
                store.complete(&batch).await.unwrap();
            }
            let stats = store.stats().await.unwrap();
            assert!(stats.bytes <= max_memory, "{stats:?}");
        }
        let stats = store.stats().await.unwrap();
        // A claim takes more room than the mark that comes of it.
        assert!(stats.entries * 100 >= most * 85, "{stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ended_marks_and_leases_are_cleared_away() {
    let world = bounded(1_000_000);
    let (store, me) = (world.open(), Token::random());
    store
        .complete(&(0..500).map(subject).collect::<Vec<_>>())
        .await
        .unwrap();
    let _granted = store.claim(me, &[subject(900)]).await.unwrap();
    tokio::time::advance(Duration::from_secs(60 * 60) + SECOND).await;
    store.complete(&[subject(901)]).await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!(
        (stats.entries, stats.in_progress, stats.expired),
        (1, 0, 500)
    );
    assert_eq!(stats.evicted, 0);
    assert_eq!(stats.effective_window, Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn what_is_met_again_is_counted_by_where_it_stands() {
    let store = bounded(100).open();
    store.complete(&[subject(1), subject(2)]).await.unwrap();
    let mut sent_again = subject(2);
    sent_again.position.offset += 1;
    store
        .lookup(&[subject(1), sent_again, sent_again])
        .await
        .unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!(
        (stats.redeliveries, stats.duplicates, stats.lookups),
        (1, 2, 3)
    );
}

#[tokio::test]
async fn destinations_do_not_see_each_other() {
    let settings = DedupeSettings::default();
    let (aws, azure) = (
        open(&settings, "aws").unwrap(),
        open(&settings, "azure").unwrap(),
    );
    aws.complete(&[subject(1)]).await.unwrap();
    assert_eq!(
        azure.lookup(&[subject(1)]).await.unwrap(),
        [Lookup::Unknown]
    );
}
