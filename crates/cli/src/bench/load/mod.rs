//! The clients of a bench: a process that sends, and tells what became of it.
//!
//! In: a [`Run`]. Out: a [`LoadReport`]. Promises: every record has an id of its own and is counted
//! once it is acknowledged; with a rate the schedule waits for nobody, and a record's time counts
//! from when it was due.

mod http;
mod stream;
mod turn;
mod unary;

use super::measured::Measured;
use super::messages::{LoadJob, LoadReport, Run, Sent, Way};
use super::records::{Maker, Stock};
use anyhow::Context;
use cloudsync_runtime::Tasks;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;
use turn::{Pace, Turn};
use uuid::Uuid;

/// Calls open at once on a connection that carries many.
const CALLS: usize = 64;

/// What the senders of a run share.
struct Shared {
    measured: Mutex<Measured>,
}

/// Sends records of `stock` as `run` says, in the way of `job`.
///
/// # Errors
/// The first thing that went wrong for good, such as a lost connection.
pub(crate) async fn run(
    job: &LoadJob,
    stock: &Arc<Stock>,
    run: &Run,
) -> anyhow::Result<LoadReport> {
    let tasks = Tasks::new();
    let senders = match job.way {
        Way::Stream | Way::Http => job.connections,
        Way::Unary => job.connections * CALLS,
    };
    let id = Uuid::now_v7();
    let began = Instant::now();
    // What a sender takes its turn for: a body, or a record.
    let many = if job.way == Way::Http { job.batch } else { 1 };
    let rate = run.rate.map(|rate| rate / many as f64);
    let pace = Pace::new(began, run.seconds, rate, senders);
    let shared = Arc::new(Shared {
        measured: Mutex::new(Measured::new(began, run.seconds)?),
    });
    let clients = unary::clients(job, run)?;
    let mut sending = Vec::with_capacity(senders);
    for number in 0..senders {
        let maker = Maker::new(stock, id, number);
        let most = run.most_records / (senders * many) as u64;
        let turn = Turn::new(pace, number, most.max(1));
        let shared = Arc::clone(&shared);
        sending.push(match (job.way, clients.get(number / CALLS)) {
            (Way::Unary, Some(client)) => {
                let sender = unary::send(client.clone(), maker, turn, shared);
                tasks.spawn("unary calls", sender)
            }
            (Way::Http, _) => {
                let sender = http::send(run.gateway, maker, turn, many, shared);
                tasks.spawn("posts", sender)
            }
            (Way::Stream | Way::Unary, _) => {
                let client = stream::client(job, run)?;
                let sender = stream::send(client, maker, turn, run.resend, shared);
                tasks.spawn("stream", sender)
            }
        });
    }
    let mut sent = Sent::default();
    for sender in sending {
        sent.add(sender.await.context("a sender panicked")??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let shared = Arc::into_inner(shared).context("a sender has not ended")?;
    let (latencies, points) = shared.measured.into_inner().end();
    Ok(LoadReport {
        sent,
        seconds,
        latencies,
        points,
    })
}
