//! Requests whose answers cost much more than they do: what these take is known beforehand.

use std::sync::Arc;

use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::{Answer, Request, RequestError, apart, decode};
use crate::api::list_offsets;
use crate::budget::Decoding;
use crate::node::Node;

impl Request<'_> {
    /// The body, which can be read again.
    fn look<T: Decodable>(&self) -> Result<T, RequestError> {
        decode(&mut self.body.clone(), self.version, "body")
    }

    /// Puts an answer together in ordinary room, and if it would take more, anew in the largest.
    pub(super) async fn measured<Q, R>(
        self,
        answer: fn(&Node, Q, i16, usize) -> Option<R>,
    ) -> Answer
    where
        Q: Decodable,
        R: Encodable,
    {
        let budget = &self.node.budget;
        let room = budget.for_other().await;
        let response = answer(self.node, self.look()?, self.version, room.bytes());
        if let Some(response) = response {
            return self.encode(&response, room);
        }
        drop(room);
        let room = if self.is_small() {
            Some(budget.for_large().await)
        } else {
            // Others wait for the room of its frame.
            budget.try_large()
        };
        let most = room.as_ref().map_or(0, |room| room.bytes());
        let refused = RequestError::Room { size: most };
        let Some(room) = room else {
            return Err(refused);
        };
        let response = answer(self.node, self.look()?, self.version, most);
        self.encode(&response.ok_or(refused)?, room)
    }

    /// By time on a thread of its own. A frame for which others wait does not wait for the turn to
    /// decode, nor does it have that: it asks for more partitions than a client does.
    pub(super) async fn list_offsets(mut self) -> Answer {
        let budget = &self.node.budget;
        let is_small = self.is_small();
        let is_by_time = !is_small || list_offsets::is_by_time(&self.look::<ListOffsetsRequest>()?);
        let decoding = if is_by_time && is_small {
            budget.for_decoding().await
        } else {
            Decoding::none()
        };
        let room = budget.for_other().await;
        let request = self.body()?;
        let (node, version) = (Arc::clone(self.node), self.version);
        if !is_by_time {
            let response = list_offsets::handle(&node, request, version, decoding);
            return self.encode(&response, room);
        }
        let look = move || list_offsets::handle(&node, request, version, decoding);
        let response = apart(look).await?;
        self.encode(&response, room)
    }
}
