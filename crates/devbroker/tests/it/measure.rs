//! What the broker costs while records come in live and two groups read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use tokio::time::{Instant, sleep_until};

use crate::child::BrokerProcess;
use crate::client::{PARTITIONS, Sender, TOPIC, consumer, create, run};

const RATE: u64 = 100_000;
const SECONDS: u64 = 8;

/// CPU time of a process so far, and its resident memory.
fn usage(process: u32) -> (Duration, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let pages: u64 = fields[21].parse().unwrap();
    (Duration::from_millis(ticks * 10), pages * 4_096)
}

#[test]
#[ignore = "prints figures, for a quiet machine: cargo test --release -- --ignored --nocapture"]
fn live_at_100_000_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(dir.path(), "127.0.0.1:0");
    create(broker.address, TOPIC, PARTITIONS, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let read = Arc::new(AtomicU64::new(0));
    let members: Vec<_> = ["a", "a", "b", "b"]
        .into_iter()
        .map(|group| {
            let consumer = consumer(broker.address, group, &[]);
            let (stop, read) = (Arc::clone(&stop), Arc::clone(&read));
            thread::spawn(move || {
                consumer.subscribe(&[TOPIC]).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    if let Some(Ok(_)) = consumer.poll(Duration::from_millis(20)) {
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let sender = Sender::new(broker.address, &[]);
    sender.send_all(0..1_200);
    let (before, _) = usage(broker.id());
    let began = Instant::now();
    run(async {
        for step in 0..SECONDS * 200 {
            for number in 0..RATE / 200 {
                sender.send(1_200 + step * (RATE / 200) + number);
            }
            sleep_until(began + Duration::from_millis(5 * (step + 1))).await;
        }
    });
    sender.flush();
    let (after, memory) = usage(broker.id());
    let wall = began.elapsed();
    let deadline = Instant::now() + Duration::from_secs(10);
    while read.load(Ordering::Relaxed) < 2 * (1_200 + RATE * SECONDS) && Instant::now() < deadline {
        thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    for member in members {
        member.join().unwrap();
    }
    let share = (after - before).as_secs_f64() / wall.as_secs_f64() * 100.0;
    eprintln!(
        "{} sent in {wall:?}, {} read; broker {:?} CPU = {share:.1} % of a core, {} MiB",
        1_200 + RATE * SECONDS,
        read.load(Ordering::Relaxed),
        after - before,
        memory >> 20,
    );
}
