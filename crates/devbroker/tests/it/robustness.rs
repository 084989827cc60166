//! Bad clients beside a good one.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use cloudsync_devbroker::{Broker, BrokerConfig};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::producer::Producer;
use tokio::time::Instant;

use crate::client::{PARTITIONS, Sender, TOPIC, assert_once, config, create, in_memory, read_all};
use crate::wire::{self, Wire, frame};

#[test]
fn garbage_and_stalled_connections_do_not_hurt_a_good_client() {
    let broker = in_memory();
    let address = broker.address();
    create(address, TOPIC, PARTITIONS, &[]);
    let sender = Sender::new(address, &[]);
    sender.send_all(0..1_200);
    let mut stalled = Vec::new();
    for round in 0..200_u32 {
        let mut wire = Wire::connect(address);
        let bytes: Vec<u8> = match round % 5 {
            0 => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            1 => vec![0xff; 64],
            2 => (0..256).map(|at| (at * round).to_le_bytes()[0]).collect(),
            3 => [&64_i32.to_be_bytes()[..], &[0x7f; 64]].concat(),
            _ => [&(100_i32 << 20).to_be_bytes()[..], &[0; 100]].concat(),
        };
        wire.0.write_all(&bytes).unwrap();
        if round % 5 == 4 {
            stalled.push(wire);
        } else if round % 5 != 2 {
            wire.0.shutdown(Shutdown::Write).unwrap();
            assert!(wire.receive().is_none(), "closed");
        }
    }
    sender.send_all(1_200..2_400);
    assert_once(&read_all(address, 2_400), 0..2_400);
    assert!(broker.is_running());
}

#[test]
fn bytes_one_by_one_and_requests_in_a_row_are_answered_in_order() {
    let broker = in_memory();
    let mut wire = Wire::connect(broker.address());
    for byte in frame(3, &ApiVersionsRequest::default()) {
        wire.0.write_all(&[byte]).unwrap();
        wire.0.flush().unwrap();
    }
    assert!(wire.receive().is_some());
    let many: Vec<u8> = (0..50)
        .flat_map(|_| frame(9, &MetadataRequest::default()))
        .collect();
    wire.0.write_all(&many).unwrap();
    for _ in 0..50 {
        assert!(wire.receive().is_some());
    }
}

#[test]
fn frames_beyond_the_limit_and_connections_beyond_the_cap_are_closed() {
    let config = BrokerConfig {
        max_frame_bytes: 4_096,
        max_connections: 8,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).unwrap();
    let mut wire = Wire::connect(broker.address());
    wire.0.write_all(&4_097_i32.to_be_bytes()).unwrap();
    assert!(wire.receive().is_none());
    let mut open: Vec<Wire> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    // The one above may still be on its way out.
    while open.len() < 8 {
        assert!(Instant::now() < deadline, "{} open", open.len());
        let mut wire = Wire::connect(broker.address());
        if wire
            .0
            .write_all(&frame(0, &ApiVersionsRequest::default()))
            .is_ok()
            && wire.receive().is_some()
        {
            open.push(wire);
        }
    }
    let mut ninth = Wire::connect(broker.address());
    let _refused = ninth.0.write_all(&frame(0, &ApiVersionsRequest::default()));
    assert!(ninth.receive().is_none());
    open[0].call(3, &ApiVersionsRequest::default());
}

fn produce(wire: &mut Wire, acks: i16, records: &[u8]) -> (i16, i64) {
    let request = wire::produce(TOPIC, 0, acks, records.to_vec());
    let response = wire.call(8, &request);
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// One record of an idempotent producer, as the format lays it down.
pub(crate) fn batch(producer_id: i64, sequence: i32) -> Vec<u8> {
    let record = [14, 0, 0, 0, 1, 2, b'v', 0];
    let mut body = Vec::new();
    body.extend_from_slice(&0_i16.to_be_bytes());
    body.extend_from_slice(&0_i32.to_be_bytes());
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&producer_id.to_be_bytes());
    body.extend_from_slice(&0_i16.to_be_bytes());
    body.extend_from_slice(&sequence.to_be_bytes());
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&record);
    let mut out = 0_i64.to_be_bytes().to_vec();
    out.extend_from_slice(&i32::try_from(body.len() + 9).unwrap().to_be_bytes());
    out.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 2]);
    out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

#[test]
fn repeats_gaps_and_damage_get_kafkas_answers() {
    let broker = in_memory();
    create(broker.address(), TOPIC, PARTITIONS, &[]);
    let mut wire = Wire::connect(broker.address());
    let plain = InitProducerIdRequest::default().with_transactional_id(None);
    let id = wire.call(4, &plain).producer_id.0;
    let next = wire.call(4, &plain).producer_id.0;
    assert_ne!(id, next);
    assert_eq!(produce(&mut wire, -1, &batch(id, 0)), (0, 0));
    assert_eq!(produce(&mut wire, -1, &batch(id, 1)), (0, 1));
    assert_eq!(
        produce(&mut wire, 1, &batch(id, 0)),
        (0, 0),
        "a repeat: its first offset"
    );
    let out_of_order = ResponseError::OutOfOrderSequenceNumber.code();
    assert_eq!(produce(&mut wire, -1, &batch(id, 3)), (out_of_order, -1));
    let mut damaged = batch(id, 2);
    let last = damaged.len() - 2;
    damaged[last] ^= 1;
    let corrupt = ResponseError::CorruptMessage.code();
    assert_eq!(produce(&mut wire, -1, &damaged), (corrupt, -1));
    let acks = ResponseError::InvalidRequiredAcks.code();
    assert_eq!(produce(&mut wire, 2, &batch(id, 2)), (acks, -1));
    assert_eq!(produce(&mut wire, -1, &batch(id, 2)), (0, 2));
    let transactional = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("tx"))));
    let refused = wire.call(4, &transactional).error_code;
    assert_eq!(
        refused,
        ResponseError::TransactionalIdAuthorizationFailed.code()
    );
}

#[test]
fn a_transactional_client_is_told_so_at_once() {
    let broker = in_memory();
    let producer: rdkafka::producer::BaseProducer = config(broker.address())
        .set("transactional.id", "tx")
        .create()
        .unwrap();
    let error = producer
        .init_transactions(Duration::from_secs(10))
        .unwrap_err();
    let code = error.rdkafka_error_code();
    let expected = rdkafka::error::RDKafkaErrorCode::TransactionalIdAuthorizationFailed;
    assert_eq!(code, Some(expected), "{error}");
}
