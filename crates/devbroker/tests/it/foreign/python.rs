//! kafka-python, by way of `client.py`.

use super::*;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/foreign/client.py");

/// What it prints of `what`; `None` where it cannot be had.
fn python(address: SocketAddr, what: &[&str]) -> Option<String> {
    let mut tool = Tool::find("kafka-python")?;
    tool.before = vec![CLIENT.to_owned(), address.to_string()];
    Some(tool.run(what, ""))
}

fn assert_says(broker: &Broker, what: &[&str], expected: &str) {
    if let Some(said) = python(broker.address(), what) {
        assert_eq!(said, expected, "{what:?}");
    }
}

/// A broker with records in the one codec that is part of Python.
fn zipped() -> Broker {
    let broker = broker();
    fill(broker.address(), "gzip");
    broker
}

#[test]
fn produces() {
    for codec in ["none", "gzip"] {
        let broker = broker();
        let offsets: String = (0..COUNT).map(|offset| format!("{offset}\n")).collect();
        let count = COUNT.to_string();
        let Some(said) = python(broker.address(), &["produce", TOPIC, codec, &count]) else {
            return;
        };
        assert_eq!(said, offsets);
        assert_produced(broker.address());
    }
}

#[test]
fn consumes() {
    let count = COUNT.to_string();
    assert_says(&zipped(), &["consume", TOPIC, &count], &expected());
}

#[test]
fn consumes_in_a_group_and_commits() {
    let count = COUNT.to_string();
    let expected = format!("{}committed {COUNT}\n", expected());
    assert_says(&zipped(), &["group", TOPIC, GROUP, &count], &expected);
}

#[test]
fn finds_offsets_by_time() {
    let broker = zipped();
    for (time, offset) in TIMES {
        let at = FIRST_TIME + offset;
        let expected = format!("{offset} {at}\n0 {COUNT}\n");
        assert_says(&broker, &["times", TOPIC, &time.to_string()], &expected);
    }
    assert_says(
        &broker,
        &["times", TOPIC, "2000"],
        &format!("none\n0 {COUNT}\n"),
    );
}

#[test]
fn creates_and_deletes_a_topic() {
    let broker = broker();
    let both = format!("another {TOPIC}\n");
    assert_says(&broker, &["create_topic", "another", "3"], &both);
    assert_says(&broker, &["delete_topic", "another"], &format!("{TOPIC}\n"));
}

#[test]
fn lists_and_describes_topics() {
    let broker = broker();
    assert_says(&broker, &["list_topics"], &format!("{TOPIC}\n"));
    assert_says(
        &broker,
        &["describe_topic", TOPIC],
        &format!("{TOPIC} 0 1\n"),
    );
}

#[test]
fn lists_and_describes_groups() {
    let broker = zipped();
    commit(broker.address());
    assert_says(&broker, &["list_groups"], &format!("{GROUP}\n"));
    assert_says(
        &broker,
        &["describe_group", GROUP],
        &format!("{GROUP} Empty 0\n"),
    );
}

#[test]
fn deletes_a_group() {
    let broker = zipped();
    commit(broker.address());
    let expected = format!("{{'{GROUP}': 'OK'}}\n\n");
    assert_says(&broker, &["delete_group", GROUP], &expected);
}
