//! ListGroups, DescribeGroups, DeleteGroups: what tools ask about groups.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{OK, text};
use crate::groups::{GroupState, MemberSummary};
use crate::node::Node;

const DEAD: &str = "Dead";
/// The one type of groups there is here (KIP-848).
const CLASSIC: &str = "classic";
/// Lowest version in which groups have a type.
const TYPE_FROM: i16 = 5;
/// Lowest version in which a group that is not known is an error (KIP-1043:
/// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-1043%3A+Administration+of+groups>).
const NOT_FOUND_FROM: i16 = 6;

/// Every group that has or had members, or has committed offsets. Those with offsets only have no
/// protocol type, as with Kafka.
pub(crate) fn list(node: &Node, request: &ListGroupsRequest, version: i16) -> ListGroupsResponse {
    let mut groups = BTreeMap::new();
    for id in node.offsets.groups() {
        groups.insert(id, (String::new(), GroupState::Empty));
    }
    for (id, protocol_type, state) in node.groups.list() {
        groups.insert(id, (protocol_type, state));
    }
    let passes = |filter: &[StrBytes], name: &str| {
        filter.is_empty()
            || filter
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let shown = |state: GroupState| {
        passes(&request.states_filter, state.name()) && passes(&request.types_filter, CLASSIC)
    };
    let listed = groups
        .into_iter()
        .filter(|(_, (_, state))| shown(*state))
        .map(|(id, (protocol_type, state))| {
            let mut group = ListedGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_protocol_type(text(protocol_type));
            if version >= 4 {
                group.group_state = text(state.name());
            }
            if version >= TYPE_FROM {
                group.group_type = text(CLASSIC);
            }
            group
        });
    ListGroupsResponse::default().with_groups(listed.collect())
}

/// State and members of each group; one that is not known is `Dead`, as Kafka says it.
pub(crate) fn describe(
    node: &Node,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    // Each once: the answer is no larger than that about all groups.
    let ids: BTreeSet<GroupId> = request.groups.into_iter().collect();
    let groups = ids
        .into_iter()
        .map(|id| describe_one(node, id, version))
        .collect();
    DescribeGroupsResponse::default().with_groups(groups)
}

fn describe_one(node: &Node, id: GroupId, version: i16) -> DescribedGroup {
    let known = node.groups.describe(&id);
    let has_offsets = node.offsets.has_group(&id);
    let group = DescribedGroup::default().with_group_id(id);
    let Some(summary) = known else {
        if has_offsets {
            return group.with_group_state(text(GroupState::Empty.name()));
        }
        let dead = group.with_group_state(text(DEAD));
        if version < NOT_FOUND_FROM {
            return dead;
        }
        let message = format!("Group {} not found.", &**dead.group_id);
        return dead
            .with_error_code(ResponseError::GroupIdNotFound.code())
            .with_error_message(Some(text(message)));
    };
    let members = summary
        .members
        .into_iter()
        .map(|member| describe_member(member, version));
    group
        .with_group_state(text(summary.state.name()))
        .with_protocol_type(text(summary.protocol_type))
        .with_protocol_data(text(summary.protocol))
        .with_members(members.collect())
}

fn describe_member(member: MemberSummary, version: i16) -> DescribedGroupMember {
    let described = DescribedGroupMember::default()
        .with_member_id(text(member.member_id))
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment);
    if version >= 4 {
        described.with_group_instance_id(member.instance_id.map(text))
    } else {
        described
    }
}

/// Forgets groups without members, with their offsets.
pub(crate) fn delete(node: &Node, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|id| {
        let code = delete_one(node, &id).map_or_else(|error| error.code(), |()| OK);
        DeletableGroupResult::default()
            .with_group_id(id)
            .with_error_code(code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

fn delete_one(node: &Node, id: &GroupId) -> Result<(), ResponseError> {
    if node.groups.is_busy(id) {
        return Err(ResponseError::NonEmptyGroup);
    }
    let was_known = node.groups.forget(id);
    if !node.offsets.has_group(id) {
        return if was_known {
            Ok(())
        } else {
            Err(ResponseError::GroupIdNotFound)
        };
    }
    node.offsets.delete_group(id).map_err(|error| {
        tracing::error!(%error, "committed offsets could not be written");
        ResponseError::CoordinatorNotAvailable
    })
}
