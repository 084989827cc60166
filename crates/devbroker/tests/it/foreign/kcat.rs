//! kcat, with the librdkafka of Debian 12 (2.0.2).

use super::*;

const SHOW: &str = "%p %o %k %s\n";

#[test]
fn produces_in_every_codec_and_the_log_keeps_it() {
    let Some(kcat) = Tool::find("kcat") else {
        return;
    };
    for (codec, number) in CODECS {
        let broker = broker();
        let address = broker.address().to_string();
        let produce = [
            "-P", "-b", &address, "-t", TOPIC, "-p", "0", "-K:", "-z", codec,
        ];
        kcat.run(&produce, &input());
        if codec != "zstd" {
            // Not built into the librdkafka that reads here.
            assert_produced(broker.address());
        }
        assert_eq!(stored_codec(broker.address()), number, "{codec}");
    }
}

#[test]
fn consumes() {
    let Some(kcat) = Tool::find("kcat") else {
        return;
    };
    let broker = filled();
    let address = broker.address().to_string();
    let consume = [
        "-C",
        "-b",
        &address,
        "-t",
        TOPIC,
        "-p",
        "0",
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        SHOW,
    ];
    assert_eq!(kcat.run(&consume, ""), expected());
}

#[test]
fn consumes_in_a_group_and_goes_on_where_it_was() {
    let Some(kcat) = Tool::find("kcat") else {
        return;
    };
    let broker = filled();
    let address = broker.address().to_string();
    let consume = [
        "-b",
        &address,
        "-X",
        "auto.offset.reset=earliest",
        "-e",
        "-q",
        "-f",
        SHOW,
        "-G",
        GROUP,
        TOPIC,
    ];
    assert_eq!(kcat.run(&consume, ""), expected());
    assert_eq!(kcat.run(&consume, ""), "", "everything was committed");
}

#[test]
fn finds_offsets_by_time() {
    let Some(kcat) = Tool::find("kcat") else {
        return;
    };
    let broker = filled();
    let address = broker.address().to_string();
    for (time, offset) in TIMES {
        let place = format!("{TOPIC}:0:{time}");
        let found = kcat.run(&["-Q", "-b", &address, "-t", &place], "");
        assert_eq!(found, format!("{TOPIC} [0] offset {offset}\n"));
    }
}

#[test]
fn lists_and_describes_topics() {
    let Some(kcat) = Tool::find("kcat") else {
        return;
    };
    let broker = broker();
    let address = broker.address().to_string();
    let all = kcat.run(&["-L", "-b", &address], "");
    assert!(
        all.contains(&format!("topic \"{TOPIC}\" with 1 partitions:")),
        "{all}"
    );
    let one = kcat.run(&["-L", "-b", &address, "-t", TOPIC], "");
    assert!(
        one.contains("partition 0, leader 1, replicas: 1, isrs: 1"),
        "{one}"
    );
}
