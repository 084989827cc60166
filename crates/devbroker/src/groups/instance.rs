//! Static members (KIP-345:
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-345%3A+Introduce+static+membership+protocol+to+reduce+consumer+rebalances>):
//! one place in the group for each instance id, whoever holds it.

use kafka_protocol::ResponseError;

use super::member::{GroupState, JoinAnswer, JoinRequest, Member, Millis, Reply, Step, Ticket};
use super::state::Group;

impl Group {
    /// A static member that came back under a new id joins (`ids`: the new id, and the leader's
    /// before). While all goes on as it was, it gets its old assignment and nobody else notices;
    /// a leader is told that it need not assign anew (KIP-814:
    /// <https://cwiki.apache.org/confluence/display/KAFKA/KIP-814%3A+Static+membership+protocol+should+let+the+leader+skip+assignment>),
    /// or where it could not understand that, that another one leads.
    pub(super) fn rejoin_static(
        &mut self,
        request: &JoinRequest,
        ids: (&str, &str),
        ticket: Ticket,
        now: Millis,
        replies: &mut Vec<Reply>,
    ) -> Step<JoinAnswer> {
        let (id, old_leader) = ids;
        if let Some(member) = self.members.get_mut(id) {
            member.update(request, now);
        }
        if self.state == GroupState::Stable && self.protocol == self.choose_protocol() {
            let mut answer = self.join_answer(id);
            if request.can_skip {
                answer.skip_assignment = self.leader == id;
            } else {
                old_leader.clone_into(&mut answer.leader);
                answer.members.clear();
            }
            return Step::Done(Ok(answer));
        }
        self.join_again(id, ticket, now, replies)
    }

    /// A static member came back under a new id; the old one is fenced from now on.
    pub(super) fn replace_instance(
        &mut self,
        old_id: &str,
        new_id: &str,
        replies: &mut Vec<Reply>,
    ) {
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        let fenced = ResponseError::FencedInstanceId;
        replies.extend(
            member
                .joining
                .take()
                .map(|ticket| Reply::Join(ticket, Err(fenced))),
        );
        replies.extend(
            member
                .syncing
                .take()
                .map(|ticket| Reply::Sync(ticket, Err(fenced))),
        );
        self.members.insert(new_id.to_owned(), member);
        if self.leader == old_id {
            new_id.clone_into(&mut self.leader);
        }
    }

    pub(super) fn by_instance(&self, instance_id: &str) -> Option<String> {
        let is_it = |member: &Member| member.instance_id.as_deref() == Some(instance_id);
        self.members
            .iter()
            .find(|(_, member)| is_it(member))
            .map(|(id, _)| id.clone())
    }

    /// Refuses a static member that another one has replaced.
    pub(super) fn fence(&self, id: &str, instance_id: Option<&str>) -> Result<(), ResponseError> {
        match instance_id.and_then(|it| self.by_instance(it)) {
            Some(current) if current != id => Err(ResponseError::FencedInstanceId),
            Some(_) | None => Ok(()),
        }
    }
}
