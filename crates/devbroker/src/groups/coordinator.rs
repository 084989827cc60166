//! All groups: finds the right one, parks requests that wait, and lets time pass.
//!
//! In: decoded group requests. Out: their answers, when the state machine gives them. A request
//! whose connection goes away is taken back.

use std::collections::HashMap;
use std::time::Duration;

use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::member::{
    GroupState, GroupSummary, JoinAnswer, JoinRequest, LeaveRequest, Millis, Reply, Step,
    SyncAnswer, SyncRequest, Ticket,
};
use super::state::Group;

/// Groups known at a time, those with committed offsets only included.
pub(crate) const MAX_GROUPS: usize = 10_000;
/// Groups without members that are still known.
const MAX_EMPTY_GROUPS: usize = 1_000;
/// Characters of a client's or an instance's own name that go into member ids.
const CLIENT_ID_CHARS: usize = 64;

/// The groups of a broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    inner: Mutex<Inner>,
    began: Instant,
    first_join_delay: Millis,
    /// The next tick may have moved forward.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<String, Group>,
    joins: HashMap<Ticket, oneshot::Sender<Result<JoinAnswer, ResponseError>>>,
    syncs: HashMap<Ticket, oneshot::Sender<Result<SyncAnswer, ResponseError>>>,
    next_ticket: Ticket,
    /// What all groups take of memory.
    weight: usize,
}

/// What a join came to.
#[derive(Debug)]
pub(crate) enum Joined {
    In(JoinAnswer),
    /// Come again with this member id.
    IdRequired(String),
    Refused(ResponseError),
}

/// Takes a waiting request back when its connection goes away.
struct Parked<'a> {
    coordinator: &'a Coordinator,
    group_id: &'a str,
    ticket: Ticket,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        let now = self.coordinator.now();
        let mut inner = self.coordinator.inner.lock();
        let waited =
            inner.joins.remove(&self.ticket).is_some() | inner.syncs.remove(&self.ticket).is_some();
        if waited && let Some(group) = inner.groups.get_mut(self.group_id) {
            group.cancel(self.ticket, now);
            self.coordinator.changed.notify_one();
        }
    }
}

impl Coordinator {
    pub(crate) fn new(first_join_delay: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            began: Instant::now(),
            first_join_delay: millis(first_join_delay),
            changed: Notify::new(),
        }
    }

    fn now(&self) -> Millis {
        millis(self.began.elapsed())
    }

    /// Waits until the group's next generation begins with this member in it.
    pub(crate) async fn join(&self, group_id: &str, request: &JoinRequest) -> Joined {
        // A static member goes by its instance id, as with Kafka.
        let own = request.instance_id.as_ref().unwrap_or(&request.client_id);
        let own: String = own.chars().take(CLIENT_ID_CHARS).collect();
        let new_id = format!("{own}-{}", Uuid::now_v7());
        let (parked, answer) = {
            let mut inner = self.inner.lock();
            if let Err(error) = inner.make_group(group_id, self.first_join_delay) {
                return Joined::Refused(error);
            }
            let ticket = inner.take_ticket();
            let (sender, answer) = oneshot::channel();
            let mut replies = Vec::new();
            let all = inner.weight;
            let Some(group) = inner.groups.get_mut(group_id) else {
                return Joined::Refused(ResponseError::CoordinatorNotAvailable);
            };
            if let Err(error) = group.may_take(request, all) {
                self.changed.notify_one();
                return Joined::Refused(error);
            }
            let before = group.weight();
            let step = group.join(request, new_id, ticket, self.now(), &mut replies);
            let after = group.weight();
            inner.weight = (inner.weight + after).saturating_sub(before);
            match step {
                Step::Done(result) => {
                    inner.deliver(replies);
                    // A refused first member leaves an idle group behind, for the clock to remove.
                    self.changed.notify_one();
                    return result.map_or_else(Joined::Refused, Joined::In);
                }
                Step::IdRequired(id) => {
                    self.changed.notify_one();
                    return Joined::IdRequired(id);
                }
                Step::Wait => {
                    inner.joins.insert(ticket, sender);
                }
            }
            inner.deliver(replies);
            (
                Parked {
                    coordinator: self,
                    group_id,
                    ticket,
                },
                answer,
            )
        };
        self.changed.notify_one();
        let result = answer.await;
        drop(parked);
        match result {
            Ok(Ok(joined)) => Joined::In(joined),
            Ok(Err(error)) => Joined::Refused(error),
            Err(_) => Joined::Refused(ResponseError::RebalanceInProgress),
        }
    }

    /// Waits until the leader has said who gets what.
    pub(crate) async fn sync(
        &self,
        group_id: &str,
        request: SyncRequest,
    ) -> Result<SyncAnswer, ResponseError> {
        let (parked, answer) = {
            let mut inner = self.inner.lock();
            let ticket = inner.take_ticket();
            let (sender, answer) = oneshot::channel();
            let mut replies = Vec::new();
            let all = inner.weight;
            let group = inner
                .groups
                .get_mut(group_id)
                .ok_or(ResponseError::UnknownMemberId)?;
            group.may_assign(&request, all)?;
            let before = group.weight();
            let step = group.sync(request, ticket, self.now(), &mut replies);
            let after = group.weight();
            inner.weight = (inner.weight + after).saturating_sub(before);
            match step {
                Step::Done(result) => return result,
                Step::IdRequired(_) => return Err(ResponseError::UnknownMemberId),
                Step::Wait => {
                    inner.syncs.insert(ticket, sender);
                }
            }
            inner.deliver(replies);
            (
                Parked {
                    coordinator: self,
                    group_id,
                    ticket,
                },
                answer,
            )
        };
        self.changed.notify_one();
        let result = answer.await;
        drop(parked);
        result.unwrap_or(Err(ResponseError::RebalanceInProgress))
    }

    pub(crate) fn heartbeat(
        &self,
        group_id: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let mut inner = self.inner.lock();
        let group = inner
            .groups
            .get_mut(group_id)
            .ok_or(ResponseError::UnknownMemberId)?;
        group.heartbeat(member_id, instance_id, generation, self.now())
    }

    /// Whether a commit may be stored. A group that is not known has no members.
    pub(crate) fn may_commit(
        &self,
        group_id: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let mut inner = self.inner.lock();
        match inner.groups.get_mut(group_id) {
            Some(group) => group.may_commit(member_id, instance_id, generation, self.now()),
            None if generation < 0 => Ok(()),
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    pub(crate) fn leave(
        &self,
        group_id: &str,
        request: &LeaveRequest,
    ) -> Result<(), ResponseError> {
        let mut inner = self.inner.lock();
        let mut replies = Vec::new();
        let group = inner
            .groups
            .get_mut(group_id)
            .ok_or(ResponseError::UnknownMemberId)?;
        let result = group.leave(request, self.now(), &mut replies);
        inner.deliver(replies);
        self.changed.notify_one();
        result
    }

    /// Groups that have members, had or are about to: id, protocol type, state.
    pub(crate) fn list(&self) -> Vec<(String, String, GroupState)> {
        let inner = self.inner.lock();
        let entry =
            |(id, group): (&String, &Group)| (id.clone(), group.protocol_type.clone(), group.state);
        inner.groups.iter().map(entry).collect()
    }

    pub(crate) fn describe(&self, group_id: &str) -> Option<GroupSummary> {
        self.inner.lock().groups.get(group_id).map(Group::summary)
    }

    /// Whether a group has members.
    pub(crate) fn is_busy(&self, group_id: &str) -> bool {
        self.inner
            .lock()
            .groups
            .get(group_id)
            .is_some_and(Group::has_members)
    }

    /// Forgets a group without members; whether it was known.
    pub(crate) fn forget(&self, group_id: &str) -> bool {
        let mut inner = self.inner.lock();
        let is_idle = inner.groups.get(group_id).is_some_and(Group::is_idle);
        is_idle && inner.groups.remove(group_id).is_some()
    }

    /// Lets time pass, for ever.
    pub(crate) async fn run_clock(&self) {
        loop {
            let next = self.tick();
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some(at) => {
                    let at = self.began + Duration::from_millis(at);
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    fn tick(&self) -> Option<Millis> {
        let now = self.now();
        let mut inner = self.inner.lock();
        let mut replies = Vec::new();
        let mut next: Option<Millis> = None;
        for group in inner.groups.values_mut() {
            let at = group.tick(now, &mut replies);
            next = [next, at].into_iter().flatten().min();
        }
        inner.deliver(replies);
        inner.forget_idle();
        // Members that went since the last time are left out here.
        inner.weight = inner.groups.values().map(Group::weight).sum();
        next
    }
}

impl Inner {
    /// A group that had members stays known, so that one that returns late hears that it is none
    /// any more; the longest empty ones go when there are too many.
    fn forget_idle(&mut self) {
        self.groups
            .retain(|_, group| !group.is_idle() || group.had_members());
        let idle = self.groups.iter().filter(|(_, group)| group.is_idle());
        let mut idle: Vec<(Millis, String)> = idle
            .map(|(id, group)| (group.empty_since, id.clone()))
            .collect();
        let surplus = idle.len().saturating_sub(MAX_EMPTY_GROUPS);
        if surplus > 0 {
            idle.sort_unstable();
            for (_, id) in idle.drain(..surplus) {
                self.groups.remove(&id);
            }
        }
    }

    /// Makes sure that the group is there.
    fn make_group(&mut self, id: &str, first_join_delay: Millis) -> Result<(), ResponseError> {
        if self.groups.contains_key(id) {
            return Ok(());
        }
        if self.groups.len() >= MAX_GROUPS {
            return Err(ResponseError::CoordinatorLoadInProgress);
        }
        self.groups
            .insert(id.to_owned(), Group::new(first_join_delay));
        Ok(())
    }

    fn take_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Answers parked requests; one that went away just now does not mind.
    fn deliver(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let gone = match reply {
                Reply::Join(ticket, answer) => self
                    .joins
                    .remove(&ticket)
                    .is_some_and(|to| to.send(answer).is_err()),
                Reply::Sync(ticket, answer) => self
                    .syncs
                    .remove(&ticket)
                    .is_some_and(|to| to.send(answer).is_err()),
            };
            if gone {
                tracing::trace!("answer to a member whose connection is gone");
            }
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
