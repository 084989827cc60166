//! Step 4 of the walk: an attempt to be made at the destination → made, until it succeeds.
//!
//! Owns the retries (full-jitter backoff, a budget of them), the time-out of an attempt, and the
//! breaker that all partitions of a destination share. Promises: what goes through here is never
//! given up because of the destination; it waits. While it waits its partition fills up and takes
//! no more, so the poll loop pauses it, and `/readyz` says for what. Only a revoked partition ends
//! the waiting, between two attempts. (`record` mode asks for one attempt at a time, keeps its own
//! retries, and sets a record aside when its own attempts are exhausted: `record/attempt.rs`.)
//! `docs/delivery.md` tells it from outside.

mod alone;
mod backoff;
mod breaker;
mod budget;
mod gate;

pub use alone::{Alone, Lonely};
pub use backoff::Backoff;
pub use breaker::{Admission, Breaker, FAILURE_PERCENT, LONGEST_OPEN, Ticket};
pub use budget::{RETRY_PERCENT, RetryBudget};
pub use gate::{About, Gate, Limits};
