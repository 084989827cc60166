//! The client against a server that follows a script: it does what a gateway may do, and what a
//! network may do, at a chosen moment.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and says what it saw"
)]

mod server;

mod calls;
mod cuts;
mod endings;
mod hooks;
mod many;
mod streams;
