//! Static members (KIP-345): one place in the group for each instance id, whoever holds it.

use kafka_protocol::ResponseError;

use super::member::{Member, Reply};
use super::state::Group;

impl Group {
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
