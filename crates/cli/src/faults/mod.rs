//! A cloud that is unwell: a proxy in front of an HTTP server, which does to requests what networks
//! and clouds do.
//!
//! `plan` what shall go wrong and how often, `chooser` what befalls a request, by seed,
//! `reply` what is answered, `door` connections, `proxy` the handle, `front` the
//! destinations of a demo behind it. In: requests. Out: the same at the server behind, or not, and
//! counts of what was done to them. Promises: the header `Host` and everything that a signature
//! covers goes through as it is; a fault that was asked for and never happened is told
//! ([`FaultyProxy::missing`]), so that no run passes for want of faults.
//!
//! It speaks HTTP/1.1 without TLS, to clients and to the server.

mod chooser;
mod door;
mod front;
mod plan;
mod proxy;
mod reply;

pub use front::{Asked, Front};
pub use plan::{Fault, Latency, Only, Outage, Plan, PlanError, Window};
pub use proxy::{Counts, FaultyProxy};
