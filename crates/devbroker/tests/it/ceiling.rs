//! The memory of a broker under attack, measured from outside, while a good client goes on.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::thread;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, GroupId, JoinGroupRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::attack::{begin_produce, fetch_all, load};
use crate::bounds;
use crate::child::BrokerProcess;
use crate::client::{PARTITIONS, Sender, TOPIC, assert_once, create, read_all};
use crate::wire::{Wire, frame};

/// What the default settings come to: 256 MiB for requests and answers, 64 each for groups and
/// for committed offsets, and small frames, answers and buffers of up to 1,024 connections.
const CEILING_MEBIBYTES: u64 = 512;
/// Connections of each kind of attack; all of them together stay below the cap.
const EACH: usize = 120;

#[test]
fn memory_stays_below_its_ceiling_whatever_clients_do_and_a_good_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(dir.path(), "127.0.0.1:0");
    let address = broker.address;
    create(address, TOPIC, PARTITIONS, &[]);
    let sender = Sender::new(address, &[]);
    sender.send_all(0..1_200);
    create(address, "other", PARTITIONS, &[]);
    load(address, "other", 60);
    bounds::commit(address, "other", 0..PARTITIONS);
    let at_rest = broker.peak_mebibytes();
    let attackers: Vec<_> = (0..EACH).flat_map(|at| attacks(address, at)).collect();
    sender.send_all(1_200..12_000);
    let held: Vec<Wire> = attackers
        .into_iter()
        .filter_map(|attacker| attacker.join().unwrap())
        .collect();
    sender.send_all(12_000..24_000);
    assert_once(&read_all(address, 24_000), 0..24_000);
    assert!(held.len() > 5 * EACH, "{} held connections", held.len());
    let peak = broker.peak_mebibytes();
    eprintln!("{at_rest} MiB before the attack, {peak} MiB at most in it");
    assert!(peak < CEILING_MEBIBYTES, "{peak} MiB, {at_rest} before");
}

/// One of each kind. The connection comes back where it is still to be held.
fn attacks(address: SocketAddr, at: usize) -> Vec<thread::JoinHandle<Option<Wire>>> {
    let garbage = move || {
        let mut wire = Wire::connect(address);
        let bytes: Vec<u8> = (0..4_096).map(|it| (it * at).to_le_bytes()[0]).collect();
        let _refused = wire.0.write_all(&bytes);
        let _gone = wire.0.shutdown(Shutdown::Write);
        None
    };
    let idle = move || {
        let mut wire = Wire::connect(address);
        wire.call(3, &ApiVersionsRequest::default());
        Some(wire)
    };
    let stalls = move || {
        let (length, sent) = if at.is_multiple_of(2) {
            (100 << 20, 3 << 20)
        } else {
            (1 << 20, 1_000_000)
        };
        begin_produce(address, length, sent)
    };
    let byte_by_byte = move || {
        let mut wire = Wire::connect(address);
        for byte in frame(9, &MetadataRequest::default()) {
            wire.0.write_all(&[byte]).unwrap();
        }
        wire.receive().unwrap();
        Some(wire)
    };
    // Never read: the answers stay with the broker as far as the sockets do not take them.
    let reads_nothing = move || {
        let mut wire = Wire::connect(address);
        let _cut = wire.0.write_all(&fetch_all("other", 0));
        Some(wire)
    };
    let groups = move || {
        let mut wire = Wire::connect(address);
        for number in 0..8 {
            let _cut = wire.0.write_all(&frame(3, &large_join(at, number)));
            wire.receive()?;
        }
        Some(wire)
    };
    vec![
        thread::spawn(garbage),
        thread::spawn(idle),
        thread::spawn(stalls),
        thread::spawn(byte_by_byte),
        thread::spawn(reads_nothing),
        thread::spawn(move || Some(ask_for_much(address))),
        thread::spawn(move || Some(ask_for_the_same(address, at))),
        thread::spawn(groups),
    ]
}

fn ask_for_much(address: SocketAddr) -> Wire {
    let mut wire = Wire::connect(address);
    let name = MetadataRequestTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("other"))));
    let request = MetadataRequest::default().with_topics(Some(vec![name; 19_000]));
    let _cut = wire.0.write_all(&frame(9, &request).repeat(8));
    wire
}

/// For what is small in a request and large in its answer, many times over.
fn ask_for_the_same(address: SocketAddr, at: usize) -> Wire {
    let mut wire = Wire::connect(address);
    let request = match at % 3 {
        0 => frame(9, &bounds::all_commits()),
        1 => frame(4, &bounds::all_settings("other")),
        _ => frame(7, &bounds::by_time("other", 19_000)),
    };
    let _cut = wire.0.write_all(&request.repeat(8));
    wire
}

fn large_join(at: usize, number: usize) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from(vec![1; 500 << 10]));
    JoinGroupRequest::default()
        .with_group_id(GroupId(format!("group {at} {number}").into()))
        .with_session_timeout_ms(600_000)
        .with_rebalance_timeout_ms(600_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol])
}
