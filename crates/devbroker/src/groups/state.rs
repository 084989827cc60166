//! One group's state machine, without clock or network of its own.
//!
//! In: requests of members, with the time. Out: answers, at once or later under the ticket of the
//! request that waits. It promises: each ticket is answered exactly once unless cancelled; a
//! generation begins when every member of it has joined or the time for that is over; one that has
//! not joined is out then, a static one when its session ends.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::member::{
    GroupState, GroupSummary, JoinAnswer, JoinRequest, LeaveRequest, Member, MemberSummary, Millis,
    Reply, Step, SyncAnswer, SyncRequest, Ticket,
};

/// Members of one group, those about to join included.
pub(super) const MAX_MEMBERS: usize = 1_000;

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) members: BTreeMap<String, Member>,
    /// Ids given out and not used yet, until when.
    pub(super) pending: BTreeMap<String, Millis>,
    /// When those that have not joined, or not synced, are put out.
    pub(super) deadline: Millis,
    /// When its last member went.
    pub(super) empty_since: Millis,
    /// A first rebalance does not end before.
    pub(super) not_before: Millis,
    first_join_delay: Millis,
}

impl Group {
    pub(super) fn new(first_join_delay: Millis) -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            deadline: 0,
            empty_since: 0,
            not_before: 0,
            first_join_delay,
        }
    }

    /// Whether it has no member and expects none.
    pub(super) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// Whether there was ever a generation.
    pub(super) fn had_members(&self) -> bool {
        self.generation > 0
    }

    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn summary(&self) -> GroupSummary {
        let stable = self.state == GroupState::Stable;
        let members = self.members.iter().map(|(id, member)| MemberSummary {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            metadata: if stable {
                member.metadata(&self.protocol)
            } else {
                Bytes::new()
            },
            assignment: if stable {
                member.assignment.clone()
            } else {
                Bytes::new()
            },
        });
        GroupSummary {
            state: self.state,
            protocol_type: self.protocol_type.clone(),
            protocol: if stable {
                self.protocol.clone()
            } else {
                String::new()
            },
            members: members.collect(),
        }
    }

    /// A member joins, for the first time or again. `new_id` is used where it has no id yet.
    pub(super) fn join(
        &mut self,
        request: &JoinRequest,
        new_id: String,
        ticket: Ticket,
        now: Millis,
        replies: &mut Vec<Reply>,
    ) -> Step<JoinAnswer> {
        if let Err(error) = self.check_protocols(request) {
            return Step::Done(Err(error));
        }
        if !request.member_id.is_empty() && self.members.contains_key(&request.member_id) {
            if let Err(error) = self.fence(&request.member_id, request.instance_id.as_deref()) {
                return Step::Done(Err(error));
            }
            return self.rejoin(request, &request.member_id, ticket, now, replies);
        }
        let full = self.members.len() + self.pending.len() >= MAX_MEMBERS;
        let was_promised = self.pending.remove(&request.member_id).is_some();
        if !request.member_id.is_empty() && !was_promised {
            let replaced = request
                .instance_id
                .as_deref()
                .and_then(|it| self.by_instance(it));
            return Step::Done(Err(match replaced {
                Some(_) => ResponseError::FencedInstanceId,
                None => ResponseError::UnknownMemberId,
            }));
        }
        if full && !was_promised {
            return Step::Done(Err(ResponseError::GroupMaxSizeReached));
        }
        if let Some(old_id) = request
            .instance_id
            .as_deref()
            .and_then(|it| self.by_instance(it))
        {
            let old_leader = self.leader.clone();
            self.replace_instance(&old_id, &new_id, replies);
            return self.rejoin_static(request, (&new_id, &old_leader), ticket, now, replies);
        }
        if request.member_id.is_empty() && request.id_required && request.instance_id.is_none() {
            self.pending
                .insert(new_id.clone(), now.saturating_add(request.session_timeout));
            return Step::IdRequired(new_id);
        }
        let id = if was_promised {
            request.member_id.clone()
        } else {
            new_id
        };
        self.add(request, id, ticket, now, replies);
        Step::Wait
    }

    fn check_protocols(&self, request: &JoinRequest) -> Result<(), ResponseError> {
        let others = || {
            self.members
                .iter()
                .filter(|(id, _)| **id != request.member_id)
                .map(|(_, it)| it)
        };
        let shared = |name: &str| others().all(|member| member.knows(name));
        let same_type = others().next().is_none() || self.protocol_type == request.protocol_type;
        let has_shared = request
            .protocols
            .iter()
            .any(|offered| shared(&offered.name));
        if request.protocol_type.is_empty() || !same_type || !has_shared {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn add(
        &mut self,
        request: &JoinRequest,
        id: String,
        ticket: Ticket,
        now: Millis,
        replies: &mut Vec<Reply>,
    ) {
        self.protocol_type.clone_from(&request.protocol_type);
        let mut member = Member::new(request, now);
        member.joining = Some(ticket);
        self.members.insert(id, member);
        let first = self.state == GroupState::Empty;
        if self.state == GroupState::PreparingRebalance {
            // The deadline stays: members that come and go would put it off for ever.
            if self.not_before > now {
                let later = now.saturating_add(self.first_join_delay);
                self.not_before = later.min(self.deadline);
            }
        } else {
            self.prepare(now, replies);
        }
        if first {
            self.not_before = now.saturating_add(self.first_join_delay);
        }
        self.advance(now, replies);
    }

    fn rejoin(
        &mut self,
        request: &JoinRequest,
        id: &str,
        ticket: Ticket,
        now: Millis,
        replies: &mut Vec<Reply>,
    ) -> Step<JoinAnswer> {
        let is_leader = self.leader == id;
        let Some(member) = self.members.get_mut(id) else {
            return Step::Done(Err(ResponseError::UnknownMemberId));
        };
        let changed = member.protocols != request.protocols;
        member.update(request, now);
        let answer_again = match self.state {
            GroupState::Stable => !changed && !is_leader,
            GroupState::CompletingRebalance => !changed,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        if answer_again {
            return Step::Done(Ok(self.join_answer(id)));
        }
        self.join_again(id, ticket, now, replies)
    }

    /// Finds a member of the current generation and takes note that it lives.
    fn check(
        &mut self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Millis,
    ) -> Result<&mut Member, ResponseError> {
        self.fence(id, instance_id)?;
        let current = self.generation;
        let member = self
            .members
            .get_mut(id)
            .ok_or(ResponseError::UnknownMemberId)?;
        member.seen = now;
        if generation != current {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(member)
    }

    /// A member asks for its assignment.
    pub(super) fn sync(
        &mut self,
        request: SyncRequest,
        ticket: Ticket,
        now: Millis,
        replies: &mut Vec<Reply>,
    ) -> Step<SyncAnswer> {
        let instance_id = request.instance_id.as_deref();
        let state = self.state;
        if let Err(error) = self.check(&request.member_id, instance_id, request.generation, now) {
            return Step::Done(Err(error));
        }
        let differs =
            |said: &Option<String>, ours: &str| said.as_deref().is_some_and(|it| it != ours);
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Step::Done(Err(ResponseError::InconsistentGroupProtocol));
        }
        match state {
            GroupState::Empty => Step::Done(Err(ResponseError::UnknownMemberId)),
            GroupState::PreparingRebalance => Step::Done(Err(ResponseError::RebalanceInProgress)),
            GroupState::Stable => {
                let member = self.members.get(&request.member_id);
                let assignment = member.map(|it| it.assignment.clone()).unwrap_or_default();
                Step::Done(Ok(self.sync_answer(assignment)))
            }
            GroupState::CompletingRebalance => {
                if let Some(member) = self.members.get_mut(&request.member_id) {
                    member.synced = true;
                    if let Some(before) = member.syncing.replace(ticket) {
                        replies.push(Reply::Sync(before, Err(ResponseError::RebalanceInProgress)));
                    }
                }
                if request.member_id == self.leader {
                    self.assign(request.assignments, now, replies);
                }
                Step::Wait
            }
        }
    }

    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now: Millis, replies: &mut Vec<Reply>) {
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.state = GroupState::Stable;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(member) = self.members.get_mut(&id) {
                if member.synced {
                    member.seen = now;
                }
                let (ticket, assignment) = (member.syncing.take(), member.assignment.clone());
                let answer = self.sync_answer(assignment);
                replies.extend(ticket.map(|ticket| Reply::Sync(ticket, Ok(answer))));
            }
        }
    }

    /// A sign of life; an error tells the member what to do.
    pub(super) fn heartbeat(
        &mut self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Millis,
    ) -> Result<(), ResponseError> {
        self.check(id, instance_id, generation, now)?;
        match self.state {
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// Whether this member may commit; one without id and generation may while there are none.
    pub(super) fn may_commit(
        &mut self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Millis,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check(id, instance_id, generation, now)?;
        match self.state {
            GroupState::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            GroupState::Empty | GroupState::PreparingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// A member goes.
    pub(super) fn leave(
        &mut self,
        request: &LeaveRequest,
        now: Millis,
        replies: &mut Vec<Reply>,
    ) -> Result<(), ResponseError> {
        let of_instance = request
            .instance_id
            .as_deref()
            .and_then(|it| self.by_instance(it));
        let id = match of_instance {
            Some(id) if request.member_id.is_empty() => id,
            Some(_) | None => request.member_id.clone(),
        };
        self.fence(&id, request.instance_id.as_deref())?;
        if self.pending.remove(&id).is_none() && !self.remove(&id, now, replies) {
            return Err(ResponseError::UnknownMemberId);
        }
        self.advance(now, replies);
        Ok(())
    }

    /// The connection of a waiting request is gone: the member has its session time-out to return.
    pub(super) fn cancel(&mut self, ticket: Ticket, now: Millis) {
        for member in self.members.values_mut() {
            for waiting in [&mut member.joining, &mut member.syncing] {
                if *waiting == Some(ticket) {
                    *waiting = None;
                    member.seen = now;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
