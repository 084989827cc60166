//! The rules that hold the tree together, the checker's own check, and the scenarios: real
//! processes, real streams, and a checker that knows only what the client was told.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says what it saw"
)]

mod architecture;
mod file_length;

mod checker;

mod consumers;
mod dead_letters;
mod destinations;
mod distributed;
mod endpoint;
mod faults;
mod foreign;
mod kills;
mod models;
mod proxy;
mod receipts;
mod resends;
mod restarts;
mod sdk;
mod support;
