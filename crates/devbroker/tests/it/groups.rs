//! Groups as librdkafka drives them.

use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::client::{
    LIMIT, PARTITIONS, Sender, TOPIC, admin, assert_once, config, consumer, create, in_memory,
    number_of, run,
};

fn owned(consumer: &BaseConsumer) -> usize {
    consumer.assignment().unwrap().count()
}

/// Polls all members until `done`, and returns what came.
fn poll_until(
    members: &[&BaseConsumer],
    mut done: impl FnMut(&[(u64, i32, i64)]) -> bool,
) -> Vec<(u64, i32, i64)> {
    use rdkafka::Message;
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

fn members_move_partitions(strategy: &str) {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let settings = [("partition.assignment.strategy", strategy)];
    let new = || {
        let member = consumer(broker.address(), "g", &settings);
        member.subscribe(&[TOPIC]).unwrap();
        member
    };
    let first = new();
    let began = Instant::now();
    poll_until(&[&first], |_| owned(&first) == 12);
    let join = began.elapsed();
    assert!(join < Duration::from_secs(3), "join took {join:?}");
    let second = new();
    let third = new();
    poll_until(&[&first, &second, &third], |_| {
        [&first, &second, &third].map(owned) == [4, 4, 4]
    });
    second.unsubscribe();
    drop(second);
    poll_until(&[&first, &third], |_| [&first, &third].map(owned) == [6, 6]);
    Sender::new(broker.address(), &[]).send_all(0..5_000);
    let read = poll_until(&[&first, &third], |found| found.len() == 5_000);
    assert_once(&read, 0..5_000);
}

#[test]
fn members_move_partitions_with_cooperative_sticky() {
    members_move_partitions("cooperative-sticky");
}

#[test]
fn members_move_partitions_with_range() {
    members_move_partitions("range");
}

#[test]
fn a_member_gone_silent_is_out_after_its_session() {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let settings = [
        ("session.timeout.ms", "1000"),
        ("heartbeat.interval.ms", "200"),
        ("max.poll.interval.ms", "1500"),
    ];
    let first = consumer(broker.address(), "g", &settings);
    let second = consumer(broker.address(), "g", &settings);
    first.subscribe(&[TOPIC]).unwrap();
    second.subscribe(&[TOPIC]).unwrap();
    poll_until(&[&first, &second], |_| {
        [owned(&first), owned(&second)] == [6, 6]
    });
    // The second no longer polls: librdkafka leaves the group for it.
    poll_until(&[&first], |_| owned(&first) == 12);
}

#[test]
fn commits_are_fenced_and_tools_see_the_group() {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let place = |offset| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, 3, Offset::Offset(offset))
            .unwrap();
        let mut elements = list.elements();
        elements[0].set_metadata("batch 1a2b");
        drop(elements);
        list
    };
    let outsider = consumer(broker.address(), "g", &[]);
    outsider.commit(&place(7), CommitMode::Sync).unwrap();

    let member = consumer(broker.address(), "g", &[("client.id", "aws-1")]);
    member.subscribe(&[TOPIC]).unwrap();
    poll_until(&[&member], |_| owned(&member) == 12);
    let refused = outsider.commit(&place(9), CommitMode::Sync).unwrap_err();
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(RDKafkaErrorCode::UnknownMemberId)
    );
    let committed = member.committed_offsets(place(0), LIMIT).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(7));
    assert_eq!(committed.elements()[0].metadata(), "batch 1a2b");

    let list = member.fetch_group_list(Some("g"), LIMIT).unwrap();
    let group = &list.groups()[0];
    assert_eq!(
        (group.state(), group.protocol()),
        ("Stable", "cooperative-sticky")
    );
    assert_eq!(group.members()[0].client_id(), "aws-1");
    assert_eq!(group.members()[0].client_host(), "/127.0.0.1");
    let names: Vec<String> = member
        .fetch_group_list(None, LIMIT)
        .unwrap()
        .groups()
        .iter()
        .map(|group| group.name().to_owned())
        .collect();
    assert_eq!(names, ["g"]);

    let delete = || {
        let results = run(admin(broker.address()).delete_groups(&["g"], &Default::default()));
        results.unwrap().remove(0).map_err(|(_, code)| code)
    };
    assert_eq!(delete(), Err(RDKafkaErrorCode::NonEmptyGroup));
    drop(member);
    let deadline = Instant::now() + LIMIT;
    while delete() == Err(RDKafkaErrorCode::NonEmptyGroup) {
        assert!(Instant::now() < deadline, "the member does not leave");
        thread::yield_now();
    }
    assert_eq!(delete(), Err(RDKafkaErrorCode::GroupIdNotFound));
    let committed = outsider.committed_offsets(place(0), LIMIT).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Invalid);
}

#[test]
fn a_client_of_the_next_groups_is_refused_for_good() {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let member: BaseConsumer = config(broker.address())
        .set("group.id", "next")
        .set("group.protocol", "consumer")
        .create()
        .unwrap();
    member.subscribe(&[TOPIC]).unwrap();
    let deadline = Instant::now() + LIMIT;
    let error = loop {
        assert!(Instant::now() < deadline, "it goes on trying");
        if let Some(Err(error)) = member.poll(Duration::from_millis(100)) {
            break error;
        }
    };
    let fatal = member.client().fatal_error();
    assert!(fatal.is_some(), "{error}");
}
