//! Streamed batches, by the client that everybody has ([`cloudsync::Client::stream`]).
//!
//! In: a maker's records, when they are due, some of them once more if wanted. Out: [`Sent`].
//! Promises: what is counted as acknowledged is what the client's verdicts say.

use super::Shared;
use super::turn::Turn;
use crate::bench::messages::{LoadJob, Run, Sent};
use crate::bench::records::Maker;
use crate::demo::resend::Resend;
use anyhow::{Context, ensure};
use bytes::Bytes;
use cloudsync::client::{RecordSender, Verdict, Verdicts};
use cloudsync::identity::Id16;
use cloudsync::{Client, ClientError, ClientSettings};
use cloudsync_runtime::Tasks;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A gateway that is silent for so long is down.
pub(super) const SILENT: Duration = Duration::from_secs(20);

/// Records without a verdict, by their sequence numbers.
#[derive(Default)]
struct Pending {
    /// Sequence number of the first one.
    first: u64,
    waiting: VecDeque<Option<Waiting>>,
}

#[derive(Clone, Copy)]
struct Waiting {
    due: Instant,
    id: Id16,
    again: bool,
}

/// A client of the gateway, with batches as `job` has them.
///
/// # Errors
/// When no client can be made for the address.
pub(super) fn client(job: &LoadJob, run: &Run) -> anyhow::Result<Client> {
    let settings = ClientSettings {
        batch_records: job.batch,
        give_up_after: SILENT,
        ..ClientSettings::to(format!("http://{}", run.gateway))
    };
    Client::new(settings).context("cannot make a client")
}

/// Sends `maker`'s records, and `share` of them again, over one stream.
///
/// # Errors
/// The client's last word.
pub(super) async fn send(
    client: Client,
    mut maker: Maker,
    turn: Turn,
    share: f64,
    shared: Arc<Shared>,
) -> anyhow::Result<Sent> {
    let tasks = Tasks::new();
    let (mut sender, verdicts) = client.stream().split();
    let pending = Arc::new(Mutex::new(Pending::default()));
    let taking = take(verdicts, Arc::clone(&pending), shared);
    let taking = tasks.spawn("verdicts", taking);
    let mut resend = Resend::new(share);
    let mut number = 0;
    let mut given = Ok(());
    while given.is_ok()
        && let Some(due) = turn.wait(number).await
    {
        number += 1;
        let made = maker.next();
        let record = (made.identity(), made.encoded);
        if share > 0.0 {
            resend.sent(&record);
        }
        given = give(&mut sender, &pending, record, due, false).await;
        while given.is_ok()
            && let Some(record) = resend.due()
        {
            given = give(&mut sender, &pending, record, due, true).await;
        }
    }
    while given.is_ok()
        && let Some(record) = resend.rest()
    {
        given = give(&mut sender, &pending, record, Instant::now(), true).await;
    }
    sender.finish();
    // The verdicts know best why a stream has ended.
    let mut sent = taking.await.context("the verdicts' task panicked")??;
    given?;
    let left = pending.lock().waiting.len();
    ensure!(
        left == 0,
        "{left} records were given to the client and got no verdict"
    );
    sent.unsent = turn.unsent(number);
    Ok(sent)
}

/// Gives one record to the client; it is pending before the client can have a verdict.
async fn give(
    sender: &mut RecordSender,
    pending: &Mutex<Pending>,
    (id, encoded): (Id16, Bytes),
    due: Instant,
    again: bool,
) -> Result<(), ClientError> {
    let waiting = Waiting { due, id, again };
    pending.lock().waiting.push_back(Some(waiting));
    sender.send_encoded(encoded).await.map(drop)
}

async fn take(
    mut verdicts: Verdicts,
    pending: Arc<Mutex<Pending>>,
    shared: Arc<Shared>,
) -> Result<Sent, ClientError> {
    let mut sent = Sent::default();
    let mut taken = Vec::new();
    while let Some(verdict) = verdicts.next().await {
        match verdict? {
            Verdict::Acked(range) => {
                let now = Instant::now();
                pending.lock().take(range, &mut taken);
                for record in &taken {
                    sent.acked(record.id, record.again);
                }
                let due = taken.drain(..).map(|record| record.due);
                shared.measured.lock().acked(now, due);
            }
            Verdict::Rejected {
                sequence,
                rejection,
            } => {
                pending.lock().take(sequence..sequence + 1, &mut taken);
                taken.clear();
                sent.refused(1, || rejection.message);
            }
        }
    }
    let stats = verdicts.stats();
    sent.retried = stats.resent;
    sent.duplicates = stats.duplicates;
    Ok(sent)
}

// === impl Pending ===

impl Pending {
    /// Takes out what stands in `range`.
    fn take(&mut self, range: Range<u64>, taken: &mut Vec<Waiting>) {
        for sequence in range {
            let place = sequence.saturating_sub(self.first) as usize;
            taken.extend(self.waiting.get_mut(place).and_then(Option::take));
        }
        while matches!(self.waiting.front(), Some(None)) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}
