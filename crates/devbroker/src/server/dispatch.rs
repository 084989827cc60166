//! From a frame to the code that answers it, and back to a frame.
//!
//! It promises: bytes that are not a sound request end the connection with an error, never with a
//! panic or an outsized allocation; each version advertised can be answered.

mod handed;
mod measured;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ConsumerGroupHeartbeatRequest, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::sync::Notify;

use super::shape::{self, ShapeError};
use super::versions::{APIS, about_versions, api_versions};
use crate::api::{
    cluster, configs, delete_records, fetch, groups, init_producer, metadata, next_groups, offsets,
    produce, tools, topics,
};
use crate::budget::{Room, SMALL};
use crate::node::Node;
use crate::topics::Change;

/// Room for the records' surroundings in an answer.
const ANSWER_ROOM: usize = 512;

/// Why a request cannot be answered at all; the connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("frame is too short for a request")]
    Short,
    #[error("api {key} version {version} is not supported")]
    Unsupported { key: i16, version: i16 },
    #[error("request is malformed")]
    Shape(#[from] ShapeError),
    #[error("{what} cannot be decoded: {detail}")]
    Decode { what: &'static str, detail: String },
    #[error("answer cannot be encoded: {detail}")]
    Encode { detail: String },
    #[error("the answer's own task ended early: {detail}")]
    Unfinished { detail: String },
    #[error("the connection was to be cut")]
    Cut,
    #[error("no room for an answer of {size} bytes")]
    Room { size: usize },
    #[error(transparent)]
    Unasked(#[from] produce::RefusedUnasked),
}

/// The frame of an answer, with the room it takes.
type Answer = Result<Option<(Bytes, Room)>, RequestError>;

/// Whether a request waits for others before it has an effect, so that it may be dropped when its
/// client goes.
pub(super) fn waits(frame: &[u8]) -> bool {
    let waiting = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup];
    waiting.into_iter().any(|api| is_for(api, frame))
}

/// Whether a frame of which not all may be there yet is for Produce.
pub(super) fn is_produce(frame: &[u8]) -> bool {
    is_for(ApiKey::Produce, frame)
}

fn is_for(api: ApiKey, frame: &[u8]) -> bool {
    frame.starts_with(&(api as i16).to_be_bytes())
}

/// Answers one request frame, whose bytes are in `room`. `None` where the client wants no answer.
pub(super) async fn answer(
    node: &Arc<Node>,
    bell: &Arc<Notify>,
    peer: SocketAddr,
    mut frame: Bytes,
    room: Room,
) -> Answer {
    let start: [u8; 4] = *frame.first_chunk().ok_or(RequestError::Short)?;
    let [key, version] = [[start[0], start[1]], [start[2], start[3]]].map(i16::from_be_bytes);
    let unsupported = RequestError::Unsupported { key, version };
    let api = ApiKey::try_from(key).map_err(|()| RequestError::Unsupported { key, version })?;
    let header_version = api.request_header_version(version);
    if !is_supported(api, version) {
        if api != ApiKey::ApiVersions {
            return Err(unsupported);
        }
        // The one case with an answer: version 0, an error, and what is supported.
        let header: RequestHeader = decode(&mut frame, header_version, "header")?;
        let refused = api_versions(0).with_error_code(ResponseError::UnsupportedVersion.code());
        let refused = encode(api, 0, header.correlation_id, &refused)?;
        return Ok(Some((refused, room)));
    }
    shape::check(api, version, header_version, &frame)?;
    let header: RequestHeader = decode(&mut frame, header_version, "header")?;
    let request = Request {
        node,
        api,
        version,
        header,
        body: frame,
        room,
    };
    match node.hands.take(|| handed::api_of(api)) {
        None => request.answer(bell, peer).await,
        Some(act) => request.handed(act, bell, peer).await,
    }
}

/// On a thread of its own: for what waits for the disk, or takes long.
async fn apart<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, RequestError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| RequestError::Unfinished {
        detail: error.to_string(),
    })
}

fn is_supported(api: ApiKey, version: i16) -> bool {
    APIS.iter()
        .any(|(key, low, high)| *key == api && (*low..=*high).contains(&version))
}

/// A request whose header is read.
struct Request<'a> {
    node: &'a Arc<Node>,
    api: ApiKey,
    version: i16,
    header: RequestHeader,
    body: Bytes,
    room: Room,
}

impl Request<'_> {
    fn body<T: Decodable>(&mut self) -> Result<T, RequestError> {
        decode(&mut self.body, self.version, "body")
    }

    async fn answer(self, bell: &Arc<Notify>, peer: SocketAddr) -> Answer {
        match self.api {
            ApiKey::Produce => self.produce().await,
            ApiKey::Fetch => self.fetch(bell).await,
            ApiKey::JoinGroup => self.join(peer).await,
            ApiKey::SyncGroup => self.sync().await,
            ApiKey::OffsetCommit => self.commit().await,
            ApiKey::DeleteRecords => self.delete_records().await,
            ApiKey::CreateTopics => self.change_topics(topics::create).await,
            ApiKey::ListOffsets => self.list_offsets().await,
            ApiKey::DescribeConfigs => self.measured(configs::handle).await,
            ApiKey::OffsetFetch => self.measured(offsets::fetch).await,
            ApiKey::DeleteTopics => self.change_topics(topics::delete).await,
            ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::FindCoordinator
            | ApiKey::InitProducerId
            | ApiKey::ApiVersions => {
                let room = self.small_room();
                self.answer_at_once(room)
            }
            _ => {
                // Before the answer is put together: what it is made of takes memory as well.
                let room = self.node.budget.for_other().await;
                self.answer_at_once(room)
            }
        }
    }

    /// Whether its frame takes nothing that others may wait for.
    fn is_small(&self) -> bool {
        self.room.bytes() <= SMALL
    }

    fn small_room(&self) -> Room {
        self.node.budget.small()
    }

    /// Gives the frame back; whoever still has a part of it lets go before it waits.
    fn release(&mut self) {
        self.body = Bytes::new();
        self.header.client_id = None;
        self.room = self.small_room();
    }

    /// The answer, in `room` if it fits there.
    fn encode(&self, response: &impl Encodable, room: Room) -> Answer {
        let answer = |room: Room| {
            let (api, version) = (self.api, self.version);
            let bytes = encode(api, version, self.header.correlation_id, response)?;
            let room = room.shrink_to(bytes.len());
            Ok(Some((bytes, room)))
        };
        let size = self.size_of(response)?;
        if size <= room.bytes() {
            return answer(room);
        }
        drop(room);
        let large = self.node.budget.try_large();
        let large = large.filter(|large| size <= large.bytes());
        answer(large.ok_or(RequestError::Room { size })?)
    }

    /// The answer, once there is room for it.
    async fn encode_in_time(&self, response: &(impl Encodable + Sync)) -> Answer {
        let mut room = self.small_room();
        if self.size_of(response)? > room.bytes() {
            room = self.node.budget.for_other().await;
        }
        self.encode(response, room)
    }

    fn size_of(&self, response: &impl Encodable) -> Result<usize, RequestError> {
        let size = response.compute_size(self.version);
        size.map(|size| size + ANSWER_ROOM)
            .map_err(|error| RequestError::Encode {
                detail: error.to_string(),
            })
    }

    async fn produce(mut self) -> Answer {
        let request = self.body()?;
        let response = produce::handle(self.node, request, self.version).await;
        self.release();
        match response? {
            Some(response) => self.encode_in_time(&response).await,
            None => Ok(None),
        }
    }

    async fn fetch(mut self, bell: &Arc<Notify>) -> Answer {
        let request = self.body()?;
        let may_wait = self.is_small();
        let (response, room) =
            fetch::handle(self.node, bell, request, self.version, may_wait).await;
        self.encode(&response, room)
    }

    async fn join(mut self, peer: SocketAddr) -> Answer {
        let request = self.body()?;
        let client_id = self.header.client_id.take();
        self.release();
        let response = groups::join(self.node, request, self.version, client_id, peer).await;
        self.encode_in_time(&response).await
    }

    async fn sync(mut self) -> Answer {
        let request = self.body()?;
        self.release();
        let response = groups::sync(self.node, request).await;
        self.encode_in_time(&response).await
    }

    async fn commit(mut self) -> Answer {
        let request = self.body()?;
        let response = offsets::commit(self.node, request).await;
        self.encode_in_time(&response).await
    }

    async fn delete_records(mut self) -> Answer {
        let request = self.body()?;
        let response = delete_records::handle(self.node, request).await;
        self.encode_in_time(&response).await
    }

    /// On a thread of its own: it waits for the disk, several times for each partition.
    async fn change_topics<Q, R>(mut self, answer: fn(&Node, &Change<'_>, Q, i16) -> R) -> Answer
    where
        Q: Decodable + Send + 'static,
        R: Encodable + Send + Sync + 'static,
    {
        let request = self.body()?;
        let turn = self.node.topics.turn().await;
        let room = self.node.budget.for_other().await;
        let (node, version) = (Arc::clone(self.node), self.version);
        let change = move || answer(&node, &node.topics.change(&turn), request, version);
        let response = apart(change).await?;
        self.encode(&response, room)
    }

    fn answer_at_once(mut self, room: Room) -> Answer {
        let (node, version) = (self.node, self.version);
        match self.api {
            ApiKey::ApiVersions => {
                let request: ApiVersionsRequest = self.body()?;
                self.encode(&about_versions(&request, version), room)
            }
            ApiKey::Metadata => {
                let request = self.body()?;
                self.encode(&metadata::handle(node, request, version), room)
            }
            ApiKey::FindCoordinator => {
                let request = self.body()?;
                self.encode(&cluster::find_coordinator(node, request, version), room)
            }
            ApiKey::DescribeCluster => {
                let request = self.body()?;
                self.encode(&cluster::describe(node, &request, version), room)
            }
            ApiKey::DescribeTopicPartitions => {
                let request = self.body()?;
                self.encode(&cluster::describe_topic_partitions(node, request), room)
            }
            ApiKey::InitProducerId => {
                let request = self.body()?;
                self.encode(&init_producer::handle(node, &request), room)
            }
            _ => self.answer_about_groups(room),
        }
    }

    fn answer_about_groups(mut self, room: Room) -> Answer {
        let (node, version) = (self.node, self.version);
        match self.api {
            ApiKey::Heartbeat => {
                let request = self.body()?;
                self.encode(&groups::heartbeat(node, &request), room)
            }
            ApiKey::LeaveGroup => {
                let request = self.body()?;
                self.encode(&groups::leave(node, &request, version), room)
            }
            ApiKey::ListGroups => {
                let request = self.body()?;
                self.encode(&tools::list(node, &request, version), room)
            }
            ApiKey::DescribeGroups => {
                let request = self.body()?;
                self.encode(&tools::describe(node, request, version), room)
            }
            ApiKey::DeleteGroups => {
                let request = self.body()?;
                self.encode(&tools::delete(node, request), room)
            }
            ApiKey::ConsumerGroupHeartbeat => {
                let _member: ConsumerGroupHeartbeatRequest = self.body()?;
                self.encode(&next_groups::heartbeat(), room)
            }
            ApiKey::ConsumerGroupDescribe => {
                let request = self.body()?;
                self.encode(&next_groups::describe(request), room)
            }
            other => Err(RequestError::Unsupported {
                key: other as i16,
                version,
            }),
        }
    }
}

fn decode<T: Decodable>(
    bytes: &mut Bytes,
    version: i16,
    what: &'static str,
) -> Result<T, RequestError> {
    T::decode(bytes, version).map_err(|error| RequestError::Decode {
        what,
        detail: error.to_string(),
    })
}

fn encode(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &impl Encodable,
) -> Result<Bytes, RequestError> {
    let failed = |detail: String| RequestError::Encode { detail };
    let size = response
        .compute_size(version)
        .map_err(|error| failed(error.to_string()))?;
    let mut out = BytesMut::with_capacity(size + ANSWER_ROOM);
    out.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut out, api.response_header_version(version))
        .map_err(|error| failed(error.to_string()))?;
    response
        .encode(&mut out, version)
        .map_err(|error| failed(error.to_string()))?;
    let length = i32::try_from(out.len() - 4).map_err(|error| failed(error.to_string()))?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

#[cfg(test)]
mod tests;
