//! What a destination's consumer shows at `/metrics`; `docs/metrics.md` has them as a table.

use crate::counters::Counters;
use cloudsync_runtime::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name, description and number of a counter.
type Row = (&'static str, &'static str, fn(&Counters) -> &AtomicU64);

const TABLE: [Row; 12] = [
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
        "cloudsync.consumer.breaker.opened",
        "How often the breaker opened",
        |it| &it.breaker_opened,
    ),
];

/// Makes the instruments of the consumer of `destination`.
pub(crate) fn register(metrics: &Metrics, destination: &str, counters: &Arc<Counters>) {
    let instruments = metrics.instruments([("destination", destination.to_owned())]);
    for (name, description, number) in TABLE {
        let counters = Arc::clone(counters);
        instruments.counter(name, description, move || {
            number(&counters).load(Ordering::Relaxed)
        });
    }
}
