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

use super::{OK, text};
use crate::groups::{GroupState, MemberSummary};
use crate::node::Node;

const CONSUMER: &str = "consumer";
const DEAD: &str = "Dead";

/// Every group that has members or committed offsets.
pub(crate) fn list(node: &Node, request: &ListGroupsRequest, version: i16) -> ListGroupsResponse {
    let mut groups = BTreeMap::new();
    for id in node.offsets.groups() {
        groups.insert(id, (CONSUMER.to_owned(), GroupState::Empty));
    }
    for (id, protocol_type, state) in node.groups.list() {
        groups.insert(id, (protocol_type, state));
    }
    let filter = &request.states_filter;
    let shown = |state: GroupState| {
        filter.is_empty()
            || filter
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(state.name()))
    };
    let listed = groups
        .into_iter()
        .filter(|(_, (_, state))| shown(*state))
        .map(|(id, (protocol_type, state))| {
            let group = ListedGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_protocol_type(text(protocol_type));
            if version >= 4 {
                group.with_group_state(text(state.name()))
            } else {
                group
            }
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
        let state = if has_offsets {
            GroupState::Empty.name()
        } else {
            DEAD
        };
        let kind = if has_offsets { CONSUMER } else { "" };
        return group
            .with_group_state(text(state))
            .with_protocol_type(text(kind));
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
    if !node.offsets.has_group(id) {
        return Err(ResponseError::GroupIdNotFound);
    }
    node.offsets.delete_group(id).map_err(|error| {
        tracing::error!(%error, "committed offsets could not be written");
        ResponseError::CoordinatorNotAvailable
    })
}
