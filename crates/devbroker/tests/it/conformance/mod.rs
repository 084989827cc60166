//! The same cases, through librdkafka, against the embedded log, one Apache Kafka node, and three.
//!
//! Kafka runs from `scripts/services/kafka` (Java and Maven). Without them its tests are skipped,
//! which is said; where `CI=true` they fail. Each target's cases run one after another, so that
//! the target ends with its test, and are counted.

#![expect(
    clippy::print_stdout,
    reason = "the cases are counted for whoever runs them"
)]

mod groups;
mod kills;
mod records;
mod target;
mod topics;

use std::panic::{AssertUnwindSafe, catch_unwind};
use target::Target;
use tokio::time::Instant;

type Case = (&'static str, fn(&Target));

const CASES: &[Case] = &[
    ("records: the order of each partition", records::order),
    ("records: acks 0, 1 and all", records::acks),
    ("records: all parts, every codec", records::parts),
    (
        "records: a batch at the limit, and one byte more",
        records::limit,
    ),
    ("records: offsets by time", records::offsets_by_time),
    ("records: times that are refused", records::refused_times),
    ("records: beyond either end", records::beyond_the_ends),
    (
        "records: a batch larger than any fetch limit",
        records::small_fetches,
    ),
    ("topics: refused, described, deleted", topics::life),
    ("topics: a topic made anew begins at 0", topics::made_anew),
    (
        "topics: what is too old or too much goes",
        topics::retention,
    ),
    ("groups: two groups get everything once", groups::two_groups),
    (
        "groups: members move partitions, cooperative-sticky",
        groups::cooperative,
    ),
    ("groups: members move partitions, range", groups::range),
    (
        "groups: members move partitions, round-robin",
        groups::round_robin,
    ),
    (
        "groups: a silent member is out after its session",
        groups::silent,
    ),
    (
        "groups: commits are fenced, and tools see the group",
        groups::fenced,
    ),
    (
        "groups: a static member comes back to its partitions",
        groups::static_member,
    ),
    (
        "groups: members that come and go lose nothing",
        groups::churn,
    ),
    (
        "kills: commits and producer state survive",
        kills::state_survives,
    ),
    (
        "kills: in mid-produce, nothing lost or doubled",
        kills::mid_produce,
    ),
];

#[test]
fn the_embedded_log() {
    run_all("embedded log", &Target::embedded());
}

#[test]
fn one_kafka_node() {
    if let Some(target) = Target::kafka(1) {
        run_all("Apache Kafka, one node", &target);
    }
}

#[test]
fn three_kafka_nodes() {
    if let Some(target) = Target::kafka(3) {
        run_all("Apache Kafka, three nodes", &target);
    }
}

fn run_all(name: &str, target: &Target) {
    let only = std::env::var("TEST_CASE").unwrap_or_default();
    let cases = CASES.iter().filter(|(case, _)| case.contains(&only));
    let mut failed = Vec::new();
    let mut count = 0;
    for (case, test) in cases {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| test(target)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        let seconds = began.elapsed().as_secs_f64();
        println!("{name}: {case} ... {verdict} ({seconds:.1} s)");
        count += 1;
        if result.is_err() {
            failed.push(*case);
        }
    }
    println!("{name}: {} of {count} cases hold", count - failed.len());
    assert!(failed.is_empty(), "{name}: {failed:?}");
}
