//! Steps 3 to 6 of the walk, over HTTP: many records of one request.
//!
//! In: a request's records as admitted submissions. Out: a [`Report`] with their verdicts, told in
//! the order of the request. Promises: submissions reach the log in that order; the counts cover
//! every record that was handed to the log, also when the upload breaks off or the gateway
//! drains; a report keeps a bounded number of verdicts; a client that does not read its verdicts
//! holds back its own upload and nothing else, and for no longer than [`UNREAD_LIMIT`].

use super::answer::many;
use super::feed::{Feed, Places, submissions};
use crate::ack::Verdict;
use crate::admit::draining;
use crate::pipeline::Pipeline;
use bytes::Bytes;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout, timeout_at};

/// Submissions that a request may have unanswered.
const UNANSWERED: usize = 64;
/// Refused records that a report of lines names.
const NAMED_REFUSALS: usize = 100;
/// How long a client may leave verdicts unread before its upload ends.
const UNREAD_LIMIT: Duration = Duration::from_secs(60);
/// How long the last line waits for a client to read it.
const LAST_LINE: Duration = Duration::from_secs(5);

/// What became of the records of one request.
#[derive(Debug)]
pub(super) struct Report {
    /// Records that are durable.
    pub(super) accepted: u64,
    /// Of those, records that were acknowledged before and not written again.
    pub(super) duplicates: u64,
    /// Records that are not.
    pub(super) refused: u64,
    /// Why, of the first one that may be taken later, else of the first one.
    pub(super) gravest: Option<Refusal>,
    /// The verdicts that are kept.
    pub(super) told: Vec<Told>,
    keep: Keep,
}

/// The verdict on one record, and where it stands in the request.
#[derive(Debug)]
pub(super) struct Told {
    /// Its number, from 0.
    pub(super) index: u64,
    /// The number of its line, from 1.
    pub(super) line: Option<u64>,
    pub(super) verdict: Verdict,
}

/// What happens to the verdicts.
#[derive(Debug)]
enum Keep {
    All,
    FirstRefused,
    /// They are told at once.
    None(Telling),
}

/// Verdicts on their way to the client.
#[derive(Debug)]
struct Telling {
    to: Sender<Bytes>,
    /// As lines; no more than what [`UNANSWERED`] submissions come to.
    untold: VecDeque<Bytes>,
    unread_since: Instant,
    /// Nobody reads any more: the rest is counted, and not told.
    given_up: bool,
}

/// Takes `feed` to its end; returns why it ended before, if it did.
pub(super) async fn run(
    pipeline: &Arc<Pipeline>,
    feed: Feed,
    report: &mut Report,
) -> Option<Refusal> {
    let mut submissions = std::pin::pin!(submissions(feed, pipeline));
    let mut in_flight = FuturesOrdered::new();
    let mut end = None;
    while end.is_none() || !in_flight.is_empty() || report.has_untold() {
        let reading = end.is_none() && in_flight.len() < UNANSWERED && !report.has_untold();
        tokio::select! {
            biased;
            // Always polled: what is answered gives its share of the limits back.
            Some((places, verdicts)) = in_flight.next() => report.take(places, verdicts),
            heard = report.tell(), if report.has_untold() => {
                if !heard {
                    end = Some(Some(unread()));
                }
            }
            read = submissions.next(), if reading => match read {
                None => end = Some(None),
                Some(Err(refusal)) => end = Some(Some(refusal)),
                Some(Ok((places, submission))) => {
                    let verdicts = pipeline.submit_each(submission);
                    in_flight.push_back(async move { (places, verdicts.await) });
                }
            },
            // While it reads, the feed itself looks, since it has the upload to care for.
            () = pipeline.shutdown.draining(), if end.is_none() && !reading => {
                end = Some(Some(draining()));
            }
        }
    }
    end.flatten()
}

/// What ends an upload whose verdicts nobody reads.
fn unread() -> Refusal {
    let limit = UNREAD_LIMIT.as_secs();
    let text = format!("verdicts on this upload were not read for {limit} s; read them");
    Refusal::permanent(ErrorReason::Overloaded, text)
}

// === impl Report ===

impl Report {
    /// Keeps every verdict; for requests whose records are few.
    pub(super) fn of_all() -> Self {
        Self::keeping(Keep::All)
    }

    /// Keeps the first [`NAMED_REFUSALS`] verdicts on refused records.
    pub(super) fn of_refused() -> Self {
        Self::keeping(Keep::FirstRefused)
    }

    /// Tells each verdict to `verdicts`, as a line.
    pub(super) fn telling(verdicts: Sender<Bytes>) -> Self {
        Self::keeping(Keep::None(Telling {
            to: verdicts,
            untold: VecDeque::new(),
            unread_since: Instant::now(),
            given_up: false,
        }))
    }

    fn keeping(keep: Keep) -> Self {
        Self {
            accepted: 0,
            duplicates: 0,
            refused: 0,
            gravest: None,
            told: Vec::new(),
            keep,
        }
    }

    /// Takes the verdicts on one submission.
    fn take(&mut self, places: Places, verdicts: Vec<Verdict>) {
        let mut told = Vec::with_capacity(verdicts.len());
        let mut lines = places.lines.into_iter();
        for (index, verdict) in (places.first..).zip(verdicts) {
            match &verdict {
                Ok(stored) => {
                    self.accepted += 1;
                    self.duplicates += u64::from(stored.duplicate);
                }
                Err(refused) => {
                    self.refused += 1;
                    self.note(&refused.refusal);
                }
            }
            let line = lines.next();
            told.push(Told {
                index,
                line,
                verdict,
            });
        }
        match &mut self.keep {
            Keep::All => self.told.append(&mut told),
            Keep::FirstRefused => {
                let room = NAMED_REFUSALS.saturating_sub(self.told.len());
                let refused = told.into_iter().filter(|told| told.verdict.is_err());
                self.told.extend(refused.take(room));
            }
            Keep::None(telling) if telling.given_up => {}
            Keep::None(telling) => {
                if telling.untold.is_empty() {
                    telling.unread_since = Instant::now();
                }
                telling.untold.push_back(many::lines(&told));
            }
        }
    }

    /// Whether verdicts wait to be told.
    fn has_untold(&self) -> bool {
        matches!(&self.keep, Keep::None(telling) if !telling.untold.is_empty())
    }

    /// Tells the verdicts on one submission, as soon as there is room; `false`: nobody reads, and
    /// nothing more is told. Cancel-safe.
    async fn tell(&mut self) -> bool {
        let Keep::None(telling) = &mut self.keep else {
            return true;
        };
        let until = telling.unread_since + UNREAD_LIMIT;
        if let Ok(Ok(room)) = timeout_at(until, telling.to.reserve()).await {
            if let Some(lines) = telling.untold.pop_front() {
                room.send(lines);
            }
            telling.unread_since = Instant::now();
            return true;
        }
        telling.given_up = true;
        telling.untold.clear();
        false
    }

    fn note(&mut self, refusal: &Refusal) {
        let graver = match &self.gravest {
            None => true,
            Some(noted) => noted.retry_delay.is_none() && refusal.retry_delay.is_some(),
        };
        if graver {
            self.gravest = Some(refusal.clone());
        }
    }

    /// Tells the last line, whatever became of the upload.
    pub(super) async fn tell_end(&self, cut: Option<&Refusal>) {
        if let Keep::None(telling) = &self.keep {
            let last = telling.to.send(many::last_line(self, cut));
            if !matches!(timeout(LAST_LINE, last).await, Ok(Ok(()))) {
                tracing::debug!("the end of an upload was not read");
            }
        }
    }
}
