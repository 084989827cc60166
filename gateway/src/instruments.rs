//! What a gateway shows at `/metrics`; `docs/metrics.md` has them as a table.

use crate::pipeline::Pipeline;
use cloudsync_kafka::Producer;
use cloudsync_runtime::Metrics;
use std::sync::Arc;

/// Makes the instruments of one gateway.
pub(crate) fn register(metrics: &Metrics, pipeline: &Pipeline, producer: &Producer) {
    let instruments = metrics.instruments([]);
    let counters = || Arc::clone(&pipeline.counters);
    let admission = || pipeline.admission.clone();
    let (received, accepted, refused) = (counters(), counters(), counters());
    let (duplicates, recent) = (counters(), Arc::clone(&pipeline.recent));
    instruments.counter(
        "cloudsync.gateway.records.received",
        "Records that clients sent",
        move || received.received(),
    );
    instruments.counter(
        "cloudsync.gateway.records.accepted",
        "Records that are durable in the log",
        move || accepted.acked(),
    );
    instruments.counter(
        "cloudsync.gateway.records.refused",
        "Records that were refused, or that the log did not acknowledge",
        move || refused.refused(),
    );
    instruments.counter(
        "cloudsync.gateway.records.duplicates",
        "Of the accepted records, those that were acknowledged before and not written again",
        move || duplicates.duplicates_at_gateway(),
    );
    instruments.gauge(
        "cloudsync.gateway.recent_ids",
        "Ids acknowledged of late that are remembered",
        move || recent.len() as u64,
    );
    let (records, bytes, streams) = (admission(), admission(), admission());
    instruments.gauge(
        "cloudsync.gateway.in_flight.records",
        "Records between admission and answer",
        move || records.records_in_flight(),
    );
    instruments.gauge(
        "cloudsync.gateway.in_flight.bytes",
        "Bytes of encoded records between admission and answer",
        move || bytes.bytes_in_flight(),
    );
    instruments.gauge(
        "cloudsync.gateway.streams",
        "Open streams, over gRPC and HTTP",
        move || streams.open_streams(),
    );
    let producer = producer.clone();
    instruments.gauge(
        "cloudsync.gateway.producer.in_flight.records",
        "Records that are on their way into the log",
        move || producer.in_flight() as u64,
    );
    register_receipts(metrics, pipeline);
}

fn register_receipts(metrics: &Metrics, pipeline: &Pipeline) {
    let instruments = metrics.instruments([]);
    let kept = || Arc::clone(pipeline.receipts.kept());
    let (remembered, dropped) = (kept(), kept());
    instruments.gauge(
        "cloudsync.gateway.receipts",
        "Ids whose place in the log this process remembers",
        move || remembered.len() as u64,
    );
    instruments.counter(
        "cloudsync.gateway.receipts.dropped",
        "Records whose place was not written to Redis, because it was away or too slow",
        move || dropped.dropped(),
    );
}
