//! The gateway: what a client sends becomes durable in the log, and only then is acknowledged.
//!
//! The walk, one file a step:
//! accept (`listen`, `grpc`, `http`) → `admit` → `validate` → `batch` → `produce` → `ack`.
//! Its types: `Submission` → `Judged` → `Batch` → `Vec<Produced>` → `Ack`.
//! What was acknowledged a short while ago goes from `validate` to `ack` at once (`recent`).
//! Where a record is after that, `receipts` tells those who ask.
//! `pipeline` joins them into the call that an entrance makes: steps 3 to 6 for a stream's
//! submission, 2 to 6 for a single record, which is answered with its place instead of an `Ack`.

#![forbid(unsafe_code)]

// 1. accept: one port for gRPC and HTTP
mod grpc;
mod http;
mod listen;

// 2. admit
mod admit;

// 3. validate
mod validate;

// between 3 and 4: what was acknowledged before goes no further
mod recent;

// 4. batch
mod batch;

// 5. produce
mod produce;

// 6. ack
mod ack;

// beside the walk: where is my record?
mod receipts;

// what the steps share
mod counters;
mod health;
mod instruments;
mod pipeline;
mod settings;

// what gRPC and HTTP cost with nothing behind them
pub mod floor;

pub use counters::Counters;
pub use http::ReceiptJson;
pub use listen::{BindError, Gateway, GatewayDeps, GatewayPort, ServeError};
pub use receipts::Destination;
pub use settings::{GatewaySettings, MissingId, SettingsError};
