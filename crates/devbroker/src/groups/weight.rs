//! What groups take of memory, and how much they may.

use kafka_protocol::ResponseError;

use super::member::{JoinRequest, Member, Protocol, SyncRequest};
use super::state::Group;

/// What members of one group bring along together: the size at which Kafka could no longer store
/// the group in one record of `__consumer_offsets`.
pub(crate) const MAX_GROUP_BYTES: usize = 1 << 20;
/// All groups together, with what it takes to keep their members.
pub(crate) const MAX_ALL_BYTES: usize = 64 << 20;
/// About what a member, or an id given out, takes beside what it brings along.
const MEMBER_BYTES: usize = 512;
/// The same for a group.
const GROUP_BYTES: usize = 512;

impl Group {
    /// Bytes that the members brought along.
    fn payload(&self) -> usize {
        self.members.values().map(Member::payload).sum()
    }

    /// About all that the group takes.
    pub(super) fn weight(&self) -> usize {
        let members = self.members.len() + self.pending.len();
        GROUP_BYTES + members * MEMBER_BYTES + self.payload()
    }

    /// Whether a member may join with what it brings along. `all` is the weight of all groups.
    pub(super) fn may_take(&self, request: &JoinRequest, all: usize) -> Result<(), ResponseError> {
        let before = self
            .members
            .get(&request.member_id)
            .map_or(0, Member::payload);
        let more = request.payload().saturating_sub(before);
        if self.payload() + more > MAX_GROUP_BYTES {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        let more = if self.members.contains_key(&request.member_id) {
            more
        } else {
            more + MEMBER_BYTES
        };
        if all + more > MAX_ALL_BYTES {
            return Err(ResponseError::CoordinatorLoadInProgress);
        }
        Ok(())
    }

    /// Whether the leader's assignments may be kept; the answer otherwise is Kafka's for a group
    /// that it cannot store.
    pub(super) fn may_assign(
        &self,
        request: &SyncRequest,
        all: usize,
    ) -> Result<(), ResponseError> {
        let assignments = request.assignments.iter().map(|(_, bytes)| bytes.len());
        let more: usize = assignments.sum();
        let before: usize = self.members.values().map(|it| it.assignment.len()).sum();
        let fits = self.payload() - before + more <= MAX_GROUP_BYTES;
        if !fits || (all - before.min(all)) + more > MAX_ALL_BYTES {
            return Err(ResponseError::UnknownServerError);
        }
        Ok(())
    }
}

impl Member {
    fn payload(&self) -> usize {
        let instance = self.instance_id.as_deref().map_or(0, str::len);
        let protocols: usize = self.protocols.iter().map(Protocol::payload).sum();
        instance + self.client_id.len() + protocols + self.assignment.len()
    }
}

impl JoinRequest {
    fn payload(&self) -> usize {
        let instance = self.instance_id.as_deref().map_or(0, str::len);
        let protocols: usize = self.protocols.iter().map(Protocol::payload).sum();
        instance + self.client_id.len() + protocols
    }
}

impl Protocol {
    fn payload(&self) -> usize {
        self.name.len() + self.metadata.len()
    }
}
