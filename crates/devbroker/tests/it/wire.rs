//! The protocol by hand: one connection, one request at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

use crate::client::LIMIT;

/// A connection.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.0.write_all(&frame(version, request)).unwrap();
        let mut bytes = self.receive().unwrap();
        let header_version = ApiKey::try_from(R::KEY)
            .unwrap()
            .response_header_version(version);
        let header = ResponseHeader::decode(&mut bytes, header_version).unwrap();
        assert_eq!(header.correlation_id, 11);
        let response = R::Response::decode(&mut bytes, version).unwrap();
        assert!(bytes.is_empty(), "bytes behind the answer");
        response
    }

    /// The next answer; `None` when the broker closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).ok()?;
        let mut bytes = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        self.0.read_exact(&mut bytes).unwrap();
        Some(bytes.into())
    }
}

/// A request with one batch for a partition.
pub(crate) fn produce(
    topic: &'static str,
    partition: i32,
    acks: i16,
    records: impl Into<Bytes>,
) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records.into()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(topic)))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(acks)
        .with_topic_data(vec![topic])
}

/// A request with its size in front.
pub(crate) fn frame<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let mut out = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(11)
        .with_client_id(Some(StrBytes::from_static_str("wire")))
        .encode(&mut out, R::header_version(version))
        .unwrap();
    request.encode(&mut out, version).unwrap();
    let mut frame = i32::try_from(out.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&out);
    frame
}
