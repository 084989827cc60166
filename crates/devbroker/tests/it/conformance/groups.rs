//! Groups as librdkafka drives them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::target::Target;
use crate::client::{
    LIMIT, PARTITIONS, Sender, admin, assert_once, consumer, create, number_of, run,
};

const ALL: usize = PARTITIONS as usize;

fn member(address: &str, topic: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let member = consumer(address, topic, settings);
    member.subscribe(&[topic]).unwrap();
    member
}

fn owned(consumer: &BaseConsumer) -> usize {
    consumer.assignment().unwrap().count()
}

/// Polls all members until `done`, and returns what came.
fn poll_until(
    members: &[&BaseConsumer],
    mut done: impl FnMut(&[(u64, i32, i64)]) -> bool,
) -> Vec<(u64, i32, i64)> {
    let deadline = Instant::now() + LIMIT;
    let mut found = Vec::new();
    while !done(&found) {
        let shares: Vec<usize> = members.iter().map(|member| owned(member)).collect();
        assert!(
            Instant::now() < deadline,
            "shares {shares:?}, {} records",
            found.len()
        );
        for member in members {
            while let Some(message) = member.poll(Duration::from_millis(5)) {
                let message = message.unwrap();
                found.push((number_of(&message), message.partition(), message.offset()));
            }
        }
    }
    found
}

pub(super) fn two_groups(target: &Target) {
    const RECORDS: u64 = 50_000;
    let address = target.bootstrap();
    create(address, "two-groups", PARTITIONS, &[]);
    Sender::to(address, "two-groups", &[]).send_all(0..RECORDS);
    for group in ["aws-sync-group", "azure-sync-group"] {
        let members = [(); 2].map(|()| {
            let member = consumer(address, group, &[]);
            member.subscribe(&["two-groups"]).unwrap();
            member
        });
        let read = poll_until(&[&members[0], &members[1]], |found| {
            found.len() as u64 >= RECORDS
        });
        let numbers: BTreeSet<u64> = read.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers.len() as u64, RECORDS);
        for member in &members {
            if owned(member) > 0 {
                member.commit_consumer_state(CommitMode::Sync).unwrap();
            }
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_range("two-groups", 0, PARTITIONS - 1);
        let committed = members[0].committed_offsets(list, LIMIT).unwrap();
        let offsets = committed.elements();
        let sum: i64 = offsets.iter().filter_map(|it| it.offset().to_raw()).sum();
        assert_eq!(sum, RECORDS as i64, "{group} committed everything");
    }
}

pub(super) fn cooperative(target: &Target) {
    moves(target, "cooperative-sticky");
}

pub(super) fn range(target: &Target) {
    moves(target, "range");
}

pub(super) fn round_robin(target: &Target) {
    moves(target, "roundrobin");
}

fn moves(target: &Target, strategy: &str) {
    let (address, topic) = (target.bootstrap(), format!("moves-{strategy}"));
    create(address, &topic, PARTITIONS, &[]);
    let settings = [("partition.assignment.strategy", strategy)];
    let new = || member(address, &topic, &settings);
    let first = new();
    poll_until(&[&first], |_| owned(&first) == ALL);
    let (second, third) = (new(), new());
    poll_until(&[&first, &second, &third], |_| {
        [&first, &second, &third].map(owned) == [ALL / 3; 3]
    });
    second.unsubscribe();
    drop(second);
    poll_until(&[&first, &third], |_| {
        [&first, &third].map(owned) == [ALL / 2; 2]
    });
    Sender::to(address, &topic, &[]).send_all(0..5_000);
    let read = poll_until(&[&first, &third], |found| found.len() == 5_000);
    assert_once(&read, 0..5_000);
}

pub(super) fn silent(target: &Target) {
    let address = target.bootstrap();
    create(address, "silent", PARTITIONS, &[]);
    let settings = [
        ("session.timeout.ms", "1000"),
        ("heartbeat.interval.ms", "200"),
        ("max.poll.interval.ms", "1500"),
    ];
    let (first, second) = (
        member(address, "silent", &settings),
        member(address, "silent", &settings),
    );
    poll_until(&[&first, &second], |_| {
        [owned(&first), owned(&second)] == [ALL / 2; 2]
    });
    // The second no longer polls: librdkafka leaves the group for it.
    poll_until(&[&first], |_| owned(&first) == ALL);
}

pub(super) fn fenced(target: &Target) {
    let address = target.bootstrap();
    create(address, "fenced", PARTITIONS, &[]);
    let place = |offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("fenced", 3, Offset::Offset(offset))
            .unwrap();
        list.elements()[0].set_metadata("batch 1a2b");
        list
    };
    let outsider = consumer(address, "fenced", &[]);
    outsider.commit(&place(7), CommitMode::Sync).unwrap();
    let inside = member(address, "fenced", &[("client.id", "aws-1")]);
    poll_until(&[&inside], |_| owned(&inside) == ALL);
    let refused = outsider.commit(&place(9), CommitMode::Sync).unwrap_err();
    let code = refused.rdkafka_error_code();
    assert_eq!(code, Some(RDKafkaErrorCode::UnknownMemberId));
    let committed = inside.committed_offsets(place(0), LIMIT).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(7));
    assert_eq!(committed.elements()[0].metadata(), "batch 1a2b");

    let list = inside.fetch_group_list(Some("fenced"), LIMIT).unwrap();
    let group = &list.groups()[0];
    assert_eq!(
        (group.state(), group.protocol()),
        ("Stable", "cooperative-sticky")
    );
    assert_eq!(group.members()[0].client_id(), "aws-1");
    assert_eq!(group.members()[0].client_host(), "/127.0.0.1");
    let list = inside.fetch_group_list(None, LIMIT).unwrap();
    assert!(list.groups().iter().any(|group| group.name() == "fenced"));

    let delete = || {
        let results = run(admin(address).delete_groups(&["fenced"], &Default::default()));
        results.unwrap().remove(0).map_err(|(_, code)| code)
    };
    assert_eq!(delete(), Err(RDKafkaErrorCode::NonEmptyGroup));
    drop(inside);
    let deadline = Instant::now() + LIMIT;
    while delete() == Err(RDKafkaErrorCode::NonEmptyGroup) {
        assert!(Instant::now() < deadline, "the member does not leave");
        thread::yield_now();
    }
    assert_eq!(delete(), Err(RDKafkaErrorCode::GroupIdNotFound));
    let committed = outsider.committed_offsets(place(0), LIMIT).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Invalid);
}

/// Within its session, and with nobody else disturbed.
pub(super) fn static_member(target: &Target) {
    let address = target.bootstrap();
    create(address, "static", PARTITIONS, &[]);
    let new = |instance| {
        let settings = [
            ("group.instance.id", instance),
            ("session.timeout.ms", "20000"),
        ];
        member(address, "static", &settings)
    };
    let (first, second) = (new("one"), new("two"));
    poll_until(&[&first, &second], |_| {
        [owned(&first), owned(&second)] == [ALL / 2; 2]
    });
    let its = |consumer: &BaseConsumer| {
        let list = consumer.assignment().unwrap();
        let partitions = list.elements();
        partitions
            .iter()
            .map(|it| it.partition())
            .collect::<BTreeSet<_>>()
    };
    let (of_first, of_second) = (its(&first), its(&second));
    // A static member that is closed does not leave.
    drop(second);
    let second = new("two");
    poll_until(&[&first, &second], |_| {
        assert_eq!(its(&first), of_first, "nobody else moves");
        owned(&second) == ALL / 2
    });
    assert_eq!(its(&second), of_second);
}

/// Records read and committed by members that come and go every half second at most.
pub(super) fn churn(target: &Target) {
    let full = std::env::var("TEST_REPEAT").is_ok_and(|n| n.parse().is_ok_and(|n: u32| n >= 10));
    let lasts = Duration::from_secs(if full { 60 } else { 15 });
    let address = target.bootstrap();
    create(address, "churn", PARTITIONS, &[]);
    let read: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let visits: Arc<[AtomicU64; 2]> = Arc::default();
    let members: Vec<_> = (1..=3)
        .map(|seed| {
            let (read, stop, visits) = (Arc::clone(&read), Arc::clone(&stop), Arc::clone(&visits));
            let address = address.to_owned();
            thread::spawn(move || come_and_go(&address, seed, &read, &stop, &visits))
        })
        .collect();
    let sender = Sender::to(address, "churn", &[]);
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < lasts {
        sender.send_all(sent..sent + 600);
        sent += 600;
    }
    stop.store(true, Ordering::Relaxed);
    for member in members {
        member.join().unwrap();
    }
    // Whatever they had not committed comes to the last one.
    let last = member(address, "churn", &[]);
    poll_until(&[&last], |found| {
        let mut read = read.lock();
        read.extend(found.iter().map(|(number, ..)| *number));
        read.len() as u64 == sent
    });
    let [all, reading] = [0, 1].map(|at| visits[at].load(Ordering::Relaxed));
    println!(
        "{sent} records, {all} visits of members in {lasts:?}, {reading} of them with records: 0 lost"
    );
}

fn come_and_go(
    address: &str,
    seed: u64,
    read: &Mutex<BTreeSet<u64>>,
    stop: &AtomicBool,
    visits: &[AtomicU64; 2],
) {
    let mut state = seed;
    while !stop.load(Ordering::Relaxed) {
        // Any numbers will do, as long as they differ.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(seed);
        let stay = Duration::from_millis((state >> 33) % 500);
        let member = member(address, "churn", &[]);
        let until = Instant::now() + stay;
        let mut any = false;
        while Instant::now() < until {
            if let Some(Ok(message)) = member.poll(Duration::from_millis(10)) {
                read.lock().insert(number_of(&message));
                any = true;
            }
        }
        visits[0].fetch_add(1, Ordering::Relaxed);
        if any {
            visits[1].fetch_add(1, Ordering::Relaxed);
            // Fenced off meanwhile: somebody else reads these again.
            let _fenced = member.commit_consumer_state(CommitMode::Sync);
        }
    }
}
