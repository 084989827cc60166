//! What a destination's consumer shows at `/metrics`; `docs/metrics.md` has them as a table.

use crate::counters::{CLASSES, Counters};
use crate::store::Watched;
use cloudsync_dedupe::Stats;
use cloudsync_runtime::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name, description and number of a counter.
type Row = (&'static str, &'static str, fn(&Counters) -> &AtomicU64);

const TABLE: [Row; 15] = [
    (
        "cloudsync.consumer.records.polled",
        "Records taken from the log",
        |it| &it.polled,
    ),
    (
        "cloudsync.consumer.records.delivered",
        "Records that the destination confirmed",
        |it| &it.delivered,
    ),
    (
        "cloudsync.consumer.records.duplicates",
        "Records that name an effect delivered before",
        |it| &it.duplicates,
    ),
    (
        "cloudsync.consumer.records.redelivered",
        "Records met again at a place in the log that was settled before",
        |it| &it.redelivered,
    ),
    (
        "cloudsync.consumer.records.dead_lettered",
        "Records produced to the dead-letter topic",
        |it| &it.dead_lettered,
    ),
    (
        "cloudsync.consumer.records.not_addressed",
        "Records that name other destinations",
        |it| &it.not_addressed,
    ),
    (
        "cloudsync.consumer.dedupe.bypassed",
        "Records not looked up, and ids dropped unmarked, because the dedupe store was away",
        |it| &it.dedupe_bypassed,
    ),
    (
        "cloudsync.consumer.segments.created",
        "Segments created",
        |it| &it.segments,
    ),
    (
        "cloudsync.consumer.segments.adopted",
        "Segments found in place and recognised as this log's",
        |it| &it.adopted,
    ),
    (
        "cloudsync.consumer.segments.bytes",
        "Bytes of the segments created",
        |it| &it.bytes,
    ),
    (
        "cloudsync.consumer.retries",
        "Attempts to write that failed and were made again",
        |it| &it.retries,
    ),
    (
        "cloudsync.consumer.retries.delayed",
        "How often a retry had to wait for the destination's budget of retries",
        |it| &it.retries_delayed,
    ),
    (
        "cloudsync.consumer.attempts",
        "Attempts to write that ended, however they did",
        |it| &it.attempts,
    ),
    (
        "cloudsync.consumer.attempt.milliseconds",
        "How long all attempts took together",
        |it| &it.attempt_millis,
    ),
    (
        "cloudsync.consumer.breaker.opened",
        "How often the breaker opened",
        |it| &it.breaker_opened,
    ),
];

const GAUGES: [Row; 2] = [
    (
        "cloudsync.consumer.breaker.state",
        "0 the breaker is closed, 1 half-open, 2 open",
        |it| &it.breaker_state,
    ),
    (
        "cloudsync.consumer.denied",
        "1 while the destination will not let us in, and somebody has to act",
        |it| &it.denied,
    ),
];

/// Name, description and number of what a dedupe store tells.
type StoreRow = (&'static str, &'static str, fn(&Stats) -> u64);

const STORE_COUNTERS: [StoreRow; 10] = [
    (
        "cloudsync.dedupe.lookups",
        "Ids looked up in the dedupe store",
        |it| it.lookups,
    ),
    (
        "cloudsync.dedupe.claims.granted",
        "Claims granted, by whatever way",
        |it| it.granted,
    ),
    (
        "cloudsync.dedupe.claims.taken_over",
        "Of these, claims taken over from another holder",
        |it| it.taken_over,
    ),
    (
        "cloudsync.dedupe.claims.busy",
        "Claims of ids that another held: their records waited",
        |it| it.busy,
    ),
    ("cloudsync.dedupe.leases.renewed", "Leases renewed", |it| {
        it.renewed
    }),
    (
        "cloudsync.dedupe.conflicts",
        "Ids met under another fingerprint",
        |it| it.conflicts,
    ),
    ("cloudsync.dedupe.marked", "Marks set", |it| it.marked),
    (
        "cloudsync.dedupe.evicted",
        "Marks dropped before their window ended, because the store was full",
        |it| it.evicted,
    ),
    (
        "cloudsync.dedupe.expired",
        "Marks dropped because their window had ended",
        |it| it.expired,
    ),
    (
        "cloudsync.dedupe.memory_losses",
        "How often a shared store was found to have forgotten what it was told",
        |it| it.memory_losses,
    ),
];

const STORE_GAUGES: [StoreRow; 4] = [
    (
        "cloudsync.dedupe.entries",
        "Ids that the dedupe store knows something of",
        |it| it.entries,
    ),
    (
        "cloudsync.dedupe.bytes",
        "Memory that they take, at most",
        |it| it.bytes,
    ),
    (
        "cloudsync.dedupe.window.seconds",
        "For how long marks are to be remembered",
        |it| it.window.as_secs(),
    ),
    (
        "cloudsync.dedupe.effective_window.seconds",
        "Age of the oldest mark; 0 where the store does not tell",
        |it| it.effective_window.unwrap_or_default().as_secs(),
    ),
];

/// Makes the instruments of the dedupe store of `destination`. While it is away they show what it
/// said last.
pub(crate) fn register_store(metrics: &Metrics, destination: &str, store: &Arc<Watched>) {
    let instruments = metrics.instruments([("destination", destination.to_owned())]);
    let up = Arc::clone(store);
    instruments.gauge(
        "cloudsync.dedupe.up",
        "1 while the dedupe store answers, else 0",
        move || up.is_up().into(),
    );
    for (name, description, number) in STORE_COUNTERS {
        let store = Arc::clone(store);
        instruments.counter(name, description, move || number(&store.last()));
    }
    for (name, description, number) in STORE_GAUGES {
        let store = Arc::clone(store);
        instruments.gauge(name, description, move || number(&store.last()));
    }
}

/// Makes the instruments of the consumer of `destination`.
pub(crate) fn register(metrics: &Metrics, destination: &str, counters: &Arc<Counters>) {
    let instruments = metrics.instruments([("destination", destination.to_owned())]);
    for (name, description, number) in TABLE {
        let counters = Arc::clone(counters);
        instruments.counter(name, description, move || {
            number(&counters).load(Ordering::Relaxed)
        });
    }
    for (name, description, number) in GAUGES {
        let counters = Arc::clone(counters);
        instruments.gauge(name, description, move || {
            number(&counters).load(Ordering::Relaxed)
        });
    }
    for class in CLASSES {
        let labels = [
            ("destination", destination.to_owned()),
            ("class", class.to_string()),
        ];
        let counters = Arc::clone(counters);
        metrics.instruments(labels).counter(
            "cloudsync.consumer.attempts.failed",
            "Attempts to write that failed, by what is to be done about it",
            move || counters.failed_as(class).load(Ordering::Relaxed),
        );
    }
}
