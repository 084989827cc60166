//! The floor: what the log's client costs with nothing of the gateway or a consumer around it.
//!
//! In: a topic and a number of records. Out: how long it took. The producer is the gateway's, and
//! is given what it takes best: batches, each partition side by side. Reading only looks at each
//! record's first byte.

use super::{Inbox, answer, not_for_me, up};
use crate::bench::messages::{Answer, Done, Question, Sum};
use crate::bench::records::{Maker, Shape, Stock};
use anyhow::Context;
use cloudsync_consumers::IdTally;
use cloudsync_kafka::{KafkaSettings, ProduceRecord, Produced, Producer, fetch_topic};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// Records that are produced in one call; with a rate, as many as come in a millisecond.
const BATCH: u64 = 256;
const BATCHES_PER_SECOND: f64 = 1_000.0;
/// Calls under way.
const CALLS: usize = 128;

type Producing = Pin<Box<dyn Future<Output = Vec<Produced>> + Send>>;

/// Records straight into the log.
pub(super) async fn produce(
    kafka: &KafkaSettings,
    payload_bytes: usize,
    mut inbox: Inbox,
) -> anyhow::Result<()> {
    let producer = Producer::new(kafka)?;
    producer.warm_up().await?;
    let stock = Stock::new(Shape {
        payload_bytes,
        partitions: kafka.partitions,
        stamped: true,
    });
    let mut maker = Maker::new(&stock, Uuid::now_v7(), 0);
    up(None);
    loop {
        match inbox.next().await? {
            Question::Produce {
                topic,
                records,
                rate,
                ids,
            } => {
                let filling = fill(&producer, &topic, &mut maker, records, rate, ids);
                let done = filling.await?;
                answer(&Answer::Done(done));
            }
            other => return Err(not_for_me(&other)),
        }
    }
}

async fn fill(
    producer: &Producer,
    topic: &str,
    maker: &mut Maker,
    records: u64,
    rate: Option<f64>,
    count_ids: bool,
) -> anyhow::Result<Done> {
    let began = Instant::now();
    let most = rate.map_or(BATCH, |rate| (rate / BATCHES_PER_SECOND) as u64);
    let most = most.clamp(1, BATCH);
    let mut under_way: VecDeque<Producing> = VecDeque::with_capacity(CALLS);
    let (mut made, mut ids, mut last) = (0, IdTally::default(), None);
    while made < records {
        if let Some(rate) = rate {
            sleep_until(began + Duration::from_secs_f64(made as f64 / rate)).await;
        }
        let count = most.min(records - made);
        let mut batch: Vec<ProduceRecord> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let record = maker.next();
            if count_ids {
                let id = record.identity();
                ids.add(id);
                last = Some(Sum::one(id));
            }
            batch.push(record.to_produce());
        }
        made += count;
        // Stable, so the order inside a partition stays.
        batch.sort_by_key(|record| record.partition);
        if under_way.len() == CALLS
            && let Some(oldest) = under_way.pop_front()
        {
            check(&oldest.await)?;
        }
        under_way.push_back(Box::pin(producer.produce(topic, batch)));
    }
    for producing in under_way {
        check(&producing.await)?;
    }
    Ok(Done {
        records,
        seconds: began.elapsed().as_secs_f64(),
        ids: ids.into(),
        last,
    })
}

fn check(produced: &[Produced]) -> anyhow::Result<()> {
    match produced.iter().find_map(|result| result.as_ref().err()) {
        None => Ok(()),
        Some(error) => Err(anyhow::Error::new(error.clone()).context("the log took not all")),
    }
}

/// Records out of the log.
pub(super) async fn fetch(kafka: &KafkaSettings, mut inbox: Inbox) -> anyhow::Result<()> {
    up(None);
    loop {
        match inbox.next().await? {
            Question::Fetch { topic, records } => {
                let done = read(kafka, &topic, records).await?;
                answer(&Answer::Done(done));
            }
            other => return Err(not_for_me(&other)),
        }
    }
}

async fn read(kafka: &KafkaSettings, topic: &str, records: u64) -> anyhow::Result<Done> {
    // From the first record on: what comes before is making a client.
    let first = Arc::new(OnceLock::new());
    let looked = Arc::new(AtomicU64::new(0));
    let (began, sum) = (Arc::clone(&first), Arc::clone(&looked));
    let each = move |value: &[u8]| {
        began.get_or_init(Instant::now);
        let byte = value.first().copied().unwrap_or_default();
        sum.fetch_add(byte.into(), Ordering::Relaxed);
    };
    let read = fetch_topic(kafka, topic, records, each).await;
    let records = read.with_context(|| format!("reading {topic}"))?;
    tracing::debug!(looked = looked.load(Ordering::Relaxed), "read");
    let seconds = first
        .get()
        .map_or(0.0, |began| began.elapsed().as_secs_f64());
    Ok(Done {
        records,
        seconds,
        ..Done::default()
    })
}
