//! The members of a group, and what is said between them, the group and the tools that show it.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;

/// The state of a group, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupState {
    Empty,
    /// Waiting for all members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    Stable,
}

impl GroupState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// Milliseconds since the coordinator began, on a monotonic clock.
pub(crate) type Millis = u64;

/// Stands for a request that waits for its answer.
pub(crate) type Ticket = u64;

/// An assignment strategy a member knows, with its opaque metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

/// A member's wish to be in the group.
#[derive(Debug, Clone)]
pub(crate) struct JoinRequest {
    /// Empty at first.
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Millis,
    pub(crate) rebalance_timeout: Millis,
    pub(crate) protocol_type: String,
    /// In the order of preference.
    pub(crate) protocols: Vec<Protocol>,
    /// Whether a new member must first take the id it is given and come again (KIP-394).
    pub(crate) id_required: bool,
    /// Whether a leader can be told to leave the assignment as it is (KIP-814).
    pub(crate) can_skip: bool,
}

/// What a member that joined is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinAnswer {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    /// For the leader: the assignment stays as it is.
    pub(crate) skip_assignment: bool,
    pub(crate) member_id: String,
    /// For the leader: everyone, with instance id and metadata.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
}

/// What a member is assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyncAnswer {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

/// A member's request for its assignment; the leader's brings everyone's.
#[derive(Debug, Clone)]
pub(crate) struct SyncRequest {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
    /// What it takes the group's protocol to be, where it says so.
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignments: Vec<(String, Bytes)>,
}

/// A member that goes.
#[derive(Debug, Clone)]
pub(crate) struct LeaveRequest {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
}

/// An answer to a request that waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Join(Ticket, Result<JoinAnswer, ResponseError>),
    Sync(Ticket, Result<SyncAnswer, ResponseError>),
}

/// What a request comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    Done(Result<T, ResponseError>),
    /// The answer comes as a [`Reply`].
    Wait,
    /// To be asked again with this member id.
    IdRequired(String),
}

/// What tools show of a group.
#[derive(Debug, Clone)]
pub(crate) struct GroupSummary {
    pub(crate) state: GroupState,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<MemberSummary>,
}

/// What tools show of a member.
#[derive(Debug, Clone)]
pub(crate) struct MemberSummary {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Millis,
    pub(super) rebalance_timeout: Millis,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// When it was last heard of.
    pub(super) seen: Millis,
    pub(super) joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
    /// Asked for its assignment since the last join.
    pub(super) synced: bool,
}

impl Member {
    pub(super) fn new(request: &JoinRequest, now: Millis) -> Self {
        Self {
            instance_id: request.instance_id.clone(),
            client_id: request.client_id.as_str().into(),
            client_host: request.client_host.as_str().into(),
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            seen: now,
            joining: None,
            syncing: None,
            synced: false,
        }
    }

    /// Takes over what a member says when it joins again.
    pub(super) fn update(&mut self, request: &JoinRequest, now: Millis) {
        self.session_timeout = request.session_timeout;
        self.rebalance_timeout = request.rebalance_timeout;
        self.protocols.clone_from(&request.protocols);
        self.seen = now;
    }

    /// When it counts as gone; one that waits for an answer of ours does not.
    pub(super) fn expires(&self) -> Option<Millis> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (!waits).then(|| self.seen.saturating_add(self.session_timeout))
    }

    pub(super) fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| known.name == protocol)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|known| known.name == protocol);
        known
            .map(|known| known.metadata.clone())
            .unwrap_or_default()
    }
}
