//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup: the wire's side of `groups`.

use std::net::SocketAddr;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{code, text};
use crate::groups::{
    Coordinator, JoinAnswer, JoinRequest, Joined, LeaveRequest, MAX_GROUPS, Protocol, SyncRequest,
};
use crate::node::Node;

/// Lowest version whose client can take the member id and come again (KIP-394:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-394%3A+Require+member.id+for+initial+join+group+request>).
const ID_REQUIRED_FROM: i16 = 4;
/// Lowest version with a rebalance time-out of its own.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// Lowest version in which several members may leave at once (KIP-345:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-345%3A+Introduce+static+membership+protocol+to+reduce+consumer+rebalances>).
const LEAVE_MANY_FROM: i16 = 3;
/// Lowest version in which there may be no protocol.
const NO_PROTOCOL_FROM: i16 = 7;
/// Lowest version in which a leader can be told not to assign anew (KIP-814:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-814%3A+Static+membership+protocol+should+let+the+leader+skip+assignment>).
const SKIP_FROM: i16 = 9;
/// Longest session (Kafka's `group.max.session.timeout.ms`).
const MAX_SESSION_MS: i32 = 1_800_000;
/// Strategies a member may offer.
const MAX_PROTOCOLS: usize = 32;

/// Longest instance id and protocol type, and what is kept of a client id.
const MAX_ID_BYTES: usize = 249;
/// Longest group id.
const MAX_GROUP_ID_BYTES: usize = 1_024;

/// Whether commits may go by this id. Kafka has no limit of its own for it, and takes an empty one
/// for commits, though not for members.
pub(crate) fn is_group_id(id: &str) -> bool {
    id.len() <= MAX_GROUP_ID_BYTES
}

/// Waits for the group's next generation.
pub(crate) async fn join(
    node: &Node,
    request: JoinGroupRequest,
    version: i16,
    client_id: Option<StrBytes>,
    peer: SocketAddr,
) -> JoinGroupResponse {
    if let Err(error) = check(&node.groups, &node.offsets, &request) {
        return refuse_join(error, request.member_id, version);
    }
    // Copied: what waits, and what the group keeps, holds nothing of the frame.
    let group_id = request.group_id.to_string();
    let join = owned(request, version, client_id, peer);
    match node.groups.join(&group_id, &join).await {
        Joined::In(answer) => {
            if let Err(error) = node.offsets.note_members(&group_id) {
                tracing::warn!(%error, "a group's commits may expire early");
            }
            admit(answer)
        }
        Joined::IdRequired(id) => refuse_join(ResponseError::MemberIdRequired, text(id), version),
        Joined::Refused(error) => refuse_join(error, text(join.member_id), version),
    }
}

fn owned(
    request: JoinGroupRequest,
    version: i16,
    client_id: Option<StrBytes>,
    peer: SocketAddr,
) -> JoinRequest {
    let session = request.session_timeout_ms;
    let has_rebalance = version >= REBALANCE_TIMEOUT_FROM && request.rebalance_timeout_ms > 0;
    let rebalance = if has_rebalance {
        request.rebalance_timeout_ms
    } else {
        session
    };
    let client_id = client_id.unwrap_or_default();
    let offered = request.protocols.into_iter();
    JoinRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: client_id.chars().take(MAX_ID_BYTES).collect(),
        client_host: format!("/{}", peer.ip()),
        session_timeout: u64::from(session.unsigned_abs()),
        rebalance_timeout: u64::from(rebalance.unsigned_abs()),
        protocol_type: request.protocol_type.to_string(),
        protocols: offered
            .map(|it| Protocol {
                name: it.name.to_string(),
                metadata: Bytes::copy_from_slice(&it.metadata),
            })
            .collect(),
        id_required: version >= ID_REQUIRED_FROM,
        can_skip: version >= SKIP_FROM,
    }
}

/// A group with members has a name; offsets alone may be kept under none.
fn named(group: &str) -> Result<(), ResponseError> {
    if group.is_empty() || !is_group_id(group) {
        return Err(ResponseError::InvalidGroupId);
    }
    Ok(())
}

fn check(
    groups: &Coordinator,
    offsets: &crate::offsets::Offsets,
    request: &JoinGroupRequest,
) -> Result<(), ResponseError> {
    named(&request.group_id)?;
    let instance_id = request.group_instance_id.as_deref().unwrap_or_default();
    if instance_id.len() > MAX_ID_BYTES || request.protocol_type.len() > MAX_ID_BYTES {
        return Err(ResponseError::InvalidRequest);
    }
    if !(1..=MAX_SESSION_MS).contains(&request.session_timeout_ms) {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    if request.protocols.is_empty() || request.protocols.len() > MAX_PROTOCOLS {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    let known = groups.is_busy(&request.group_id) || offsets.has_group(&request.group_id);
    if !known && offsets.group_count() >= MAX_GROUPS {
        return Err(ResponseError::CoordinatorLoadInProgress);
    }
    Ok(())
}

fn admit(answer: JoinAnswer) -> JoinGroupResponse {
    let members = answer
        .members
        .into_iter()
        .map(|(id, instance_id, metadata)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(instance_id.map(text))
                .with_metadata(metadata)
        });
    JoinGroupResponse::default()
        .with_generation_id(answer.generation)
        .with_protocol_type(Some(text(answer.protocol_type)))
        .with_protocol_name(Some(text(answer.protocol)))
        .with_leader(text(answer.leader))
        .with_skip_assignment(answer.skip_assignment)
        .with_member_id(text(answer.member_id))
        .with_members(members.collect())
}

fn refuse_join(error: ResponseError, member_id: StrBytes, version: i16) -> JoinGroupResponse {
    let none = (version < NO_PROTOCOL_FROM).then(|| text(""));
    JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_name(none)
        .with_member_id(member_id)
}

/// Waits for the leader's assignment.
pub(crate) async fn sync(node: &Node, request: SyncGroupRequest) -> SyncGroupResponse {
    // Copied, as for a join.
    let group_id = request.group_id.to_string();
    let assignments = request.assignments.into_iter();
    let sync = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments
            .map(|it| {
                let assignment = Bytes::copy_from_slice(&it.assignment);
                (it.member_id.to_string(), assignment)
            })
            .collect(),
    };
    let response = SyncGroupResponse::default();
    if let Err(error) = named(&group_id) {
        return response.with_error_code(error.code());
    }
    match node.groups.sync(&group_id, sync).await {
        Ok(answer) => response
            .with_protocol_type(Some(text(answer.protocol_type)))
            .with_protocol_name(Some(text(answer.protocol)))
            .with_assignment(answer.assignment),
        Err(error) => response.with_error_code(error.code()),
    }
}

/// Takes note that a member lives, and tells it of a rebalance.
pub(crate) fn heartbeat(node: &Node, request: &HeartbeatRequest) -> HeartbeatResponse {
    let instance_id = request.group_instance_id.as_deref();
    let (group, member) = (&request.group_id, &request.member_id);
    let result = named(group).and_then(|()| {
        let generation = request.generation_id;
        node.groups
            .heartbeat(group, member, instance_id, generation)
    });
    HeartbeatResponse::default().with_error_code(code(&result))
}

/// Takes members out.
pub(crate) fn leave(node: &Node, request: &LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    if let Err(error) = named(&request.group_id) {
        return LeaveGroupResponse::default().with_error_code(error.code());
    }
    if version < LEAVE_MANY_FROM {
        let leave = LeaveRequest {
            member_id: request.member_id.to_string(),
            instance_id: None,
        };
        let result = node.groups.leave(&request.group_id, &leave);
        return LeaveGroupResponse::default().with_error_code(code(&result));
    }
    let members = request.members.iter().map(|member| {
        let leave = LeaveRequest {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        };
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code(&node.groups.leave(&request.group_id, &leave)))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
