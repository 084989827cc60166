//! What a record costs, without the log: run by hand, in release.
//! `cargo test --release -p cloudsync-consumers --test it -- --ignored --nocapture measure`

use super::support::{Log, Sent, at, memory};
use cloudsync::SyncRecord;
use cloudsync::wire::{Time, with_gateway_fields};
use cloudsync_consumers::chain::segment::seal_frame;
use cloudsync_consumers::chain::{Chain, ChainName, Limits};
use cloudsync_consumers::parse::Polled;
use cloudsync_consumers::read_back;
use cloudsync_kafka::PolledRecord;
use prost::Message;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

fn records(count: u32) -> Vec<PolledRecord> {
    let make = |number: u32| {
        let payload = format!(
            "{{\"mag\":{}.{},\"place\":\"{} km of somewhere\",\"time\":{},\"text\":\"{:08x}{}\"}}",
            number % 9,
            number % 10,
            number % 977,
            1_795_329_601_007u64 + u64::from(number),
            number.wrapping_mul(2_654_435_761),
            "lorem ipsum dolor sit amet consectetur adipiscing elit sed do ".repeat(2),
        );
        let record = SyncRecord {
            request_id: format!("01951f5c-7d1e-7c3a-9b1e-{number:012x}"),
            key: format!("sensor-{}", number % 1_000),
            payload: payload.into_bytes().into(),
            content_type: "application/json".into(),
            ..SyncRecord::default()
        };
        let accepted = Time {
            seconds: 1_795_329_601 + i64::from(number / 50_000),
            nanos: 7,
        };
        let value = with_gateway_fields(&record.encode_to_vec(), None, "default", accepted);
        PolledRecord {
            offset: number.into(),
            timestamp_ms: 0,
            key: None,
            value: Some(value),
            headers: None,
        }
    };
    (0..count).map(make).collect()
}

#[test]
#[ignore = "a measurement"]
fn measure_the_chain() {
    const RECORDS: u32 = 8 * 32_768;
    let records = records(RECORDS);
    let bytes: usize = records.iter().map(PolledRecord::size).sum();
    let limits = Limits {
        bytes: u64::MAX,
        offsets: 32_768,
        interval: Duration::from_secs(60),
    };
    let name = ChainName {
        topic: "t".into(),
        log: "l".into(),
        partition: 0,
    };
    let mut chain = Chain::new(name, limits, 0, Vec::new());
    let (mut parsing, mut judging, mut sealing) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut sealed = 0;
    for batch in records.chunks(512) {
        let began = Instant::now();
        let polled: Vec<_> = batch
            .iter()
            .map(|record| Polled::parse(record.clone(), "aws", 12))
            .collect();
        parsing += began.elapsed();
        let began = Instant::now();
        for polled in &polled {
            chain.take(polled, None, began);
        }
        judging += began.elapsed();
        if chain.is_full() {
            let began = Instant::now();
            let (segment, lines) = chain.close().unwrap();
            sealed += seal_frame(&segment.header(), &lines.frame().unwrap())
                .unwrap()
                .len();
            chain.forget(&segment.subjects());
            chain.created();
            sealing += began.elapsed();
        }
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(RECORDS);
    println!(
        "{} B a record: parse {:.2} us, judge and line {:.2} us, seal and mark {:.2} us; {} B out",
        bytes / RECORDS as usize,
        each(parsing),
        each(judging),
        each(sealing),
        sealed / RECORDS as usize
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_log_to_files_and_back() {
    let log = Log::start(12).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..400_000).await;
    let temp = TempDir::new().unwrap();
    let settings = at(temp.path());
    let began = Instant::now();
    let running = log.consume(settings.clone(), &memory());
    log.settled("aws-sync-group").await;
    let took = began.elapsed();
    running.drain().await;
    println!("{} records to files in {took:?}", sent.records);
    let began = Instant::now();
    let read = read_back(&settings, &mut |_| {}).await.unwrap();
    println!("{} lines read back in {:?}", read.lines, began.elapsed());
}
