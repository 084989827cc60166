//! One client of a scenario.
//!
//! In: which records, and when. Out: [`Told`], what it sent and what it was told, also of what it
//! had done when it is dropped. Promises: one connection of its own; every record has its verdict
//! when it ends well.

use crate::demo::feed::last_word;
use crate::demo::journal::{Entry, Sent};
use cloudsync::client::{StreamStats, Verdict, Verdicts};
use cloudsync::{Client, ClientError, ClientSettings, SyncRecord};
use std::ops::Range;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Different keys of a scenario.
const KEYS: u32 = 1_000;

/// What a client sent, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    sent: Vec<Sent>,
    acked: Vec<Range<u64>>,
    /// The first refusal, if there was one.
    pub(crate) refusal: Option<String>,
    /// What the client itself counts.
    pub(crate) stats: StreamStats,
}

/// What a client sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    /// Begins the request id of each record.
    pub(crate) prefix: &'a str,
    /// From one record to the next.
    pub(crate) every: Duration,
    /// Their numbers.
    pub(crate) records: &'a [u32],
}

/// Sends everything of `job` to `endpoint`; `limit` without an answer is too long.
///
/// # Errors
/// The client's last word.
pub(crate) async fn send(
    endpoint: &str,
    limit: Duration,
    job: Job<'_>,
    told: &mut Told,
) -> Result<(), ClientError> {
    let client = Client::new(ClientSettings {
        give_up_after: limit,
        ..ClientSettings::to(endpoint)
    })?;
    let (mut sender, mut verdicts) = client.stream().split();
    let begun = Instant::now();
    for (at, number) in (0u32..).zip(job.records) {
        let record = record(job.prefix, *number);
        let sent = Sent::of(
            &record.key,
            &record.request_id,
            &record.payload,
            &record.content_type,
        );
        let due = begun + job.every * at;
        // The window may be full: verdicts must be taken for room to come.
        let given = loop {
            let give = async {
                sleep_until(due).await;
                sender.send(record.clone()).await
            };
            tokio::select! {
                given = give => break given,
                Some(verdict) = verdicts.next() => told.take(verdict?, &verdicts),
            }
        };
        if let Err(error) = given {
            return Err(last_word(&mut verdicts, error).await);
        }
        told.sent.push(sent);
    }
    sender.finish();
    while let Some(verdict) = verdicts.next().await {
        told.take(verdict?, &verdicts);
    }
    Ok(())
}

/// Record `number` of a scenario: the same one at every call.
fn record(prefix: &str, number: u32) -> SyncRecord {
    SyncRecord {
        request_id: format!("{prefix}{number:07}"),
        key: format!("{prefix}key-{:03}", number % KEYS),
        payload: format!("{{\"n\":{number},\"note\":\"made by cloudsync scenarios\"}}").into(),
        content_type: "application/json".to_owned(),
        ..SyncRecord::default()
    }
}

// === impl Told ===

impl Told {
    fn take(&mut self, verdict: Verdict, verdicts: &Verdicts) {
        self.stats = verdicts.stats();
        match verdict {
            Verdict::Acked(range) => self.acked.push(range),
            Verdict::Rejected { rejection, .. } => {
                self.refusal
                    .get_or_insert_with(|| rejection.message.clone());
            }
        }
    }

    /// What clients sent one after the other, as a journal has it.
    pub(crate) fn entries(all: &[Self]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut first = 0;
        for told in all {
            let sent = told.sent.iter();
            entries.extend(sent.map(|sent| Entry::Sent {
                sent: *sent,
                again: false,
            }));
            let acked = told.acked.iter();
            entries.extend(acked.map(|it| Entry::Acked(first + it.start..first + it.end)));
            first += told.sent.len() as u64;
        }
        entries
    }
}
