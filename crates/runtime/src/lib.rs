//! What every role of the program needs around its work: settings from four places, logs, tasks
//! that are named and awaited, one way to shut down, readiness that says what it waits for and
//! the endpoint that tells it, numbers for others to read, the list printed at start, errors in one
//! line, URLs without their secrets, and the test hook that kills.

#![forbid(unsafe_code)]

// 1. before anything runs
mod chain;
pub mod redact;
pub mod settings;
pub mod telemetry;

// 2. while it comes up
pub mod checklist;
pub mod ports;
pub mod readiness;

// 3. while it runs
pub mod admin;
pub mod guard;
pub mod metrics;
pub mod tasks;

// 4. how it ends
pub mod kill;
pub mod shutdown;
pub mod signals;

pub use admin::AdminServer;
pub use chain::chain;
pub use checklist::Checklist;
pub use guard::Guarded;
pub use kill::{Moment, kill_point};
pub use metrics::Metrics;
pub use ports::{PortOwner, port_owner};
pub use readiness::{Condition, Readiness};
pub use shutdown::Shutdown;
pub use tasks::Tasks;
