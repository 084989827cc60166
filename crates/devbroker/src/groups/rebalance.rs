//! How a group goes from one generation to the next: who is waited for, how long, who is out.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::member::{GroupState, JoinAnswer, Member, Millis, Reply, Step, SyncAnswer, Ticket};
use super::state::Group;

/// How soon, at least, a rebalance in which nobody joined is looked at again.
const LEAST_WAIT: Millis = 1_000;

impl Group {
    /// Lets time pass; returns when to come again.
    pub(super) fn tick(&mut self, now: Millis, replies: &mut Vec<Reply>) -> Option<Millis> {
        self.pending.retain(|_, until| *until > now);
        let is_gone = |member: &Member| member.expires().is_some_and(|at| at <= now);
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| is_gone(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id, now, replies);
        }
        if self.state == GroupState::CompletingRebalance && now >= self.deadline {
            self.put_out(|member| !member.synced, replies);
            if self.members.is_empty() {
                self.empty(now)
            } else {
                self.prepare(now, replies)
            }
        }
        self.advance(now, replies);
        self.next_tick(now)
    }

    fn next_tick(&self, now: Millis) -> Option<Millis> {
        let expiries = self.members.values().filter_map(Member::expires);
        let pending = self.pending.values().copied();
        let state = match self.state {
            GroupState::PreparingRebalance if self.not_before > now => Some(self.not_before),
            GroupState::PreparingRebalance | GroupState::CompletingRebalance => Some(self.deadline),
            GroupState::Empty | GroupState::Stable => None,
        };
        expiries.chain(pending).chain(state).min()
    }

    /// Takes a member out; the others begin anew.
    pub(super) fn remove(&mut self, id: &str, now: Millis, replies: &mut Vec<Reply>) -> bool {
        let Some(member) = self.members.remove(id) else {
            return false;
        };
        let unknown = ResponseError::UnknownMemberId;
        replies.extend(
            member
                .joining
                .map(|ticket| Reply::Join(ticket, Err(unknown))),
        );
        replies.extend(
            member
                .syncing
                .map(|ticket| Reply::Sync(ticket, Err(unknown))),
        );
        if self.members.is_empty() {
            self.empty(now);
        } else if self.state != GroupState::PreparingRebalance {
            self.prepare(now, replies);
        }
        true
    }

    fn put_out(&mut self, which: impl Fn(&Member) -> bool, replies: &mut Vec<Reply>) {
        self.members.retain(|_, member| {
            let out = which(member);
            if out {
                let unknown = ResponseError::UnknownMemberId;
                replies.extend(
                    member
                        .joining
                        .map(|ticket| Reply::Join(ticket, Err(unknown))),
                );
                replies.extend(
                    member
                        .syncing
                        .map(|ticket| Reply::Sync(ticket, Err(unknown))),
                );
            }
            !out
        });
    }

    fn empty(&mut self, now: Millis) {
        self.empty_since = now;
        self.state = GroupState::Empty;
        self.generation = next_generation(self.generation);
        self.leader.clear();
        self.protocol.clear();
    }

    /// A member waits for the next generation, and all others are called.
    pub(super) fn join_again(
        &mut self,
        id: &str,
        ticket: Ticket,
        now: Millis,
        replies: &mut Vec<Reply>,
    ) -> Step<JoinAnswer> {
        let Some(member) = self.members.get_mut(id) else {
            return Step::Done(Err(ResponseError::UnknownMemberId));
        };
        if let Some(before) = member.joining.replace(ticket) {
            replies.push(Reply::Join(before, Err(ResponseError::RebalanceInProgress)));
        }
        if self.state != GroupState::PreparingRebalance {
            self.prepare(now, replies);
        }
        self.advance(now, replies);
        Step::Wait
    }

    /// Calls for all members to join again.
    pub(super) fn prepare(&mut self, now: Millis, replies: &mut Vec<Reply>) {
        for member in self.members.values_mut() {
            let rebalance = ResponseError::RebalanceInProgress;
            replies.extend(
                member
                    .syncing
                    .take()
                    .map(|ticket| Reply::Sync(ticket, Err(rebalance))),
            );
        }
        self.state = GroupState::PreparingRebalance;
        self.not_before = now;
        self.deadline = now.saturating_add(self.rebalance_timeout());
    }

    fn rebalance_timeout(&self) -> Millis {
        self.members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or(0)
    }

    /// Begins the next generation if everyone has joined or had the time to.
    pub(super) fn advance(&mut self, now: Millis, replies: &mut Vec<Reply>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        let all_joined = self.members.values().all(|member| member.joining.is_some());
        let complete = all_joined && self.pending.is_empty() && now >= self.not_before;
        if !complete && now < self.deadline {
            return;
        }
        // A static one keeps its place until its session ends: it may only have been restarted.
        self.put_out(
            |member| member.joining.is_none() && member.instance_id.is_none(),
            replies,
        );
        if self.members.is_empty() {
            self.empty(now)
        } else if let Some(leader) = self.choose_leader() {
            self.begin(leader, now, replies)
        } else {
            let wait = self.rebalance_timeout().max(LEAST_WAIT);
            self.deadline = now.saturating_add(wait);
        }
    }

    /// The leader before, or another one: who has joined. `None` where nobody has.
    fn choose_leader(&self) -> Option<String> {
        let joined = |id: &String| self.members.get(id).is_some_and(|it| it.joining.is_some());
        let before = Some(&self.leader).filter(|id| joined(id));
        before
            .or_else(|| self.members.keys().find(|id| joined(id)))
            .cloned()
    }

    fn begin(&mut self, leader: String, now: Millis, replies: &mut Vec<Reply>) {
        self.generation = next_generation(self.generation);
        self.protocol = self.choose_protocol();
        self.leader = leader;
        self.state = GroupState::CompletingRebalance;
        self.deadline = now.saturating_add(self.rebalance_timeout());
        let mut tickets = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = Bytes::new();
            member.synced = false;
            if let Some(ticket) = member.joining.take() {
                member.seen = now;
                tickets.push((id.clone(), ticket));
            }
        }
        for (id, ticket) in tickets {
            replies.push(Reply::Join(ticket, Ok(self.join_answer(&id))));
        }
    }

    /// The one most members prefer among those all know.
    pub(super) fn choose_protocol(&self) -> String {
        let shared = |name: &str| self.members.values().all(|member| member.knows(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member
                .protocols
                .iter()
                .find(|protocol| shared(&protocol.name));
            if let Some(choice) = choice {
                *votes.entry(choice.name.as_str()).or_default() += 1;
            }
        }
        let winner = votes.into_iter().max_by_key(|(_, count)| *count);
        winner.map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    pub(super) fn join_answer(&self, id: &str) -> JoinAnswer {
        let members = if id == self.leader {
            let entry = |(id, member): (&String, &Member)| {
                (
                    id.clone(),
                    member.instance_id.clone(),
                    member.metadata(&self.protocol),
                )
            };
            self.members.iter().map(entry).collect()
        } else {
            Vec::new()
        };
        JoinAnswer {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment: false,
            member_id: id.to_owned(),
            members,
        }
    }

    pub(super) fn sync_answer(&self, assignment: Bytes) -> SyncAnswer {
        SyncAnswer {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }
}

fn next_generation(generation: i32) -> i32 {
    generation.checked_add(1).unwrap_or(1)
}
