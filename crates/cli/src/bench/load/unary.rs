//! One gRPC call a record ([`cloudsync::Client::send_one`]), many of them open on a connection.
//!
//! In: a maker's records, when they are due. Out: [`Sent`]. A sender ends with its first failure.

use super::turn::Turn;
use super::{Shared, stream};
use crate::bench::messages::{LoadJob, Run, Sent, Way};
use crate::bench::records::Maker;
use cloudsync::{Client, SyncRecord};
use std::sync::Arc;
use tokio::time::Instant;

/// A client for each connection, where that is what the load consists of.
///
/// # Errors
/// When no client can be made for the address.
pub(super) fn clients(job: &LoadJob, run: &Run) -> anyhow::Result<Vec<Client>> {
    let count = if job.way == Way::Unary {
        job.connections
    } else {
        0
    };
    (0..count).map(|_| stream::client(job, run)).collect()
}

/// Sends `maker`'s records, one after the other.
///
/// # Errors
/// None; a failed call is counted as refused, and is the sender's last one.
pub(super) async fn send(
    client: Client,
    mut maker: Maker,
    turn: Turn,
    shared: Arc<Shared>,
) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    let mut number = 0;
    while let Some(due) = turn.wait(number).await {
        number += 1;
        let made = maker.next();
        let record = SyncRecord {
            request_id: made.request_id().to_owned(),
            key: made.key().to_owned(),
            payload: made.payload(),
            content_type: "application/json".to_owned(),
            ..SyncRecord::default()
        };
        match client.send_one(record).await {
            Ok(_) => {
                sent.acked(made.identity(), false);
                let now = Instant::now();
                shared.measured.lock().acked(now, std::iter::once(due));
            }
            Err(error) => {
                sent.refused(1, || error.to_string());
                break;
            }
        }
    }
    sent.unsent = turn.unsent(number);
    Ok(sent)
}
