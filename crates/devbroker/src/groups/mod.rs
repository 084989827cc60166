//! Consumer groups, classic protocol.
//!
//! `state` is one group's state machine, pure: requests and the clock in, answers out.
//! `coordinator` holds all groups, parks the requests that wait, and drives the clock.

mod coordinator;
mod instance;
mod member;
mod rebalance;
mod state;
mod weight;

pub(crate) use self::coordinator::{Coordinator, Joined, MAX_GROUPS};
pub(crate) use self::member::{
    GroupState, JoinAnswer, JoinRequest, LeaveRequest, MemberSummary, Protocol, SyncRequest,
};
