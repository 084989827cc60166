//! ConsumerGroupHeartbeat and ConsumerGroupDescribe: the groups of KIP-848
//! (<https://cwiki.apache.org/confluence/display/KAFKA/KIP-848%3A+The+Next+Generation+of+the+Consumer+Rebalance+Protocol>), which the embedded log does not have.
//!
//! A Kafka whose `group.coordinator.rebalance.protocols` leaves them out answers as this does, and
//! clients then tell their user to set `group.protocol=classic`. Tools go on with the classic
//! requests.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse,
};

use super::text;

const WHY: &str = "the embedded log has classic groups only: set group.protocol=classic";

/// Refuses a member.
pub(crate) fn heartbeat() -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_error_message(Some(text(WHY)))
}

/// Refuses each group.
pub(crate) fn describe(request: ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let groups = request.group_ids.into_iter().map(|id| {
        DescribedGroup::default()
            .with_group_id(id)
            .with_error_code(ResponseError::UnsupportedVersion.code())
            .with_error_message(Some(text(WHY)))
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}
