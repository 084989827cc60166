//! Groups that only the embedded log refuses; what it shares with Kafka is in `conformance`.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::Instant;

use crate::client::{LIMIT, PARTITIONS, TOPIC, config, create, in_memory};

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
