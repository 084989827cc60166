//! Sends an input through a client until every record has its verdict.
//!
//! In: records. Out: each of them acknowledged or refused, some of them twice if wanted, and all
//! of it in the journal if there is one. Promises: in memory are the client's window and what
//! waits to be sent again, no more.

use super::journal::{Entry, Journal, Sent};
use super::resend::Resend;
use crate::input::{Input, InputError, InputRecord, Item, Refused};
use bytes::Bytes;
use cloudsync::client::{RecordSender, Verdict, Verdicts};
use cloudsync::{Client, ClientError, SyncRecord};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

/// How sending failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The input ended before its end.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The client gave up.
    #[error("sending failed")]
    Client(#[from] ClientError),
    /// The journal cannot be written.
    #[error("the journal of sends cannot be written")]
    Journal(#[from] std::io::Error),
}

/// How far it is: read by the progress display.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sends, repetitions included.
    pub sent: AtomicU64,
    /// Of those, repetitions on purpose.
    pub resent: AtomicU64,
    /// Sends that are durable.
    pub acked: AtomicU64,
    /// Sends that were refused for good.
    pub refused: AtomicU64,
    /// Pieces of the input that are no records.
    pub not_records: AtomicU64,
    /// Every line or element of the input before this one has its verdict, or is no record.
    pub settled_before: AtomicU64,
    /// Of those acknowledged, those that the gateway recognised and did not write again.
    pub duplicates: AtomicU64,
    /// Records sent once more, because an answer did not come.
    pub retried: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// The input was read to its end.
    pub read_to_end: AtomicBool,
}

/// What a client saw of its stream, at the end.
pub type Stats = cloudsync::client::StreamStats;

/// Sends an input.
pub struct Feed<'a> {
    journal: Option<&'a mut Journal>,
    counts: &'a Counts,
    /// Told about everything that is not sent or not taken.
    complain: &'a mut (dyn FnMut(Refused) + Send),
    /// Where in the input each record without a verdict stood.
    outstanding: BTreeMap<u64, (&'static str, u64)>,
    /// Where the last record stood that was given to the client.
    given: u64,
    /// Whether to read no more.
    stop: Option<watch::Receiver<bool>>,
}

/// A record ready to be sent.
#[derive(Clone)]
struct Ready {
    encoded: Bytes,
    sent: Sent,
    place: (&'static str, u64),
}

// === impl Feed ===

impl<'a> Feed<'a> {
    /// A feed that writes to `journal` and tells `complain` about what was refused.
    pub fn new(
        journal: Option<&'a mut Journal>,
        counts: &'a Counts,
        complain: &'a mut (dyn FnMut(Refused) + Send),
    ) -> Self {
        Self {
            journal,
            counts,
            complain,
            outstanding: BTreeMap::new(),
            given: 0,
            stop: None,
        }
    }

    /// Reads no more once `stop` says so; what was sent by then is waited for.
    #[must_use]
    pub fn until(self, stop: watch::Receiver<bool>) -> Self {
        Self {
            stop: Some(stop),
            ..self
        }
    }

    /// Sends all of `input`, and `share` of it again.
    ///
    /// # Errors
    /// [`FeedError`]. Records without a verdict may or may not be durable then.
    pub async fn run(
        mut self,
        input: &mut Input,
        client: &Client,
        share: f64,
    ) -> Result<Stats, FeedError> {
        let (mut sender, mut verdicts) = client.stream().split();
        let mut resend = Resend::new(share);
        let cut_off = loop {
            let ready = match self.next(input, &mut verdicts).await {
                Ok(Some(ready)) => ready,
                Ok(None) => break None,
                // What was sent has its verdict before it is told: so it is known where to go on.
                Err(error @ FeedError::Input(_)) => break Some(error),
                Err(error) => return Err(error),
            };
            resend.sent(&ready);
            if !self.send(&mut sender, &mut verdicts, ready, false).await? {
                break None;
            }
            while let Some(again) = resend.due() {
                self.send(&mut sender, &mut verdicts, again, true).await?;
            }
        };
        while let Some(again) = resend.rest() {
            self.send(&mut sender, &mut verdicts, again, true).await?;
        }
        sender.finish();
        while let Some(verdict) = verdicts.next().await {
            self.verdict(verdict?, verdicts.stats())?;
        }
        if let Some(journal) = self.journal {
            journal.flush()?;
        }
        match cut_off {
            None => Ok(verdicts.stats()),
            Some(error) => Err(error),
        }
    }

    /// The next record, if more are wanted; verdicts are taken while the input is waited for.
    async fn next(
        &mut self,
        input: &mut Input,
        verdicts: &mut Verdicts,
    ) -> Result<Option<Ready>, FeedError> {
        loop {
            let item = tokio::select! {
                biased;
                () = told(self.stop.clone()) => return Ok(None),
                item = input.next() => item?,
                Some(verdict) = verdicts.next() => {
                    self.verdict(verdict?, verdicts.stats())?;
                    continue;
                }
            };
            match item {
                None => {
                    self.counts.read_to_end.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Some(Item::Record(record)) => return Ok(Some(Ready::of(record))),
                Some(Item::Refused(why)) => {
                    self.counts.not_records.fetch_add(1, Ordering::Relaxed);
                    (self.complain)(why);
                }
            }
        }
    }

    /// Gives `ready` to the client; false if no more is wanted, and it was not.
    async fn send(
        &mut self,
        sender: &mut RecordSender,
        verdicts: &mut Verdicts,
        ready: Ready,
        again: bool,
    ) -> Result<bool, FeedError> {
        let Ready {
            encoded,
            sent,
            place,
        } = ready;
        // The window may be full: verdicts must be taken for room to come.
        let given = loop {
            tokio::select! {
                given = sender.send_encoded(encoded.clone()) => break given,
                Some(verdict) = verdicts.next() => self.verdict(verdict?, verdicts.stats())?,
                () = told(self.stop.clone()) => return Ok(false),
            }
        };
        let sequence = match given {
            Ok(sequence) => sequence,
            Err(error @ ClientError::RecordTooLarge { .. }) => {
                self.counts.not_records.fetch_add(1, Ordering::Relaxed);
                (self.complain)(Refused {
                    unit: place.0,
                    number: place.1,
                    request_id: None,
                    reason: error.to_string(),
                });
                return Ok(true);
            }
            Err(error) => return Err(last_word(verdicts, error).await.into()),
        };
        self.outstanding.insert(sequence, place);
        self.given = self.given.max(place.1);
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        self.counts
            .resent
            .fetch_add(u64::from(again), Ordering::Relaxed);
        if let Some(journal) = self.journal.as_mut() {
            journal.write(&Entry::Sent { sent, again })?;
        }
        Ok(true)
    }

    fn verdict(&mut self, verdict: Verdict, stats: Stats) -> Result<(), FeedError> {
        let Counts {
            duplicates,
            retried,
            connections,
            ..
        } = self.counts;
        duplicates.store(stats.duplicates, Ordering::Relaxed);
        retried.store(stats.resent, Ordering::Relaxed);
        connections.store(stats.connections, Ordering::Relaxed);
        let entry = match verdict {
            Verdict::Acked(range) => {
                range.clone().for_each(|sequence| {
                    self.outstanding.remove(&sequence);
                });
                self.counts
                    .acked
                    .fetch_add(range.end - range.start, Ordering::Relaxed);
                Entry::Acked(range)
            }
            Verdict::Rejected {
                sequence,
                rejection,
            } => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                let (unit, number) = self.outstanding.remove(&sequence).unwrap_or_default();
                let rejection = *rejection;
                (self.complain)(Refused {
                    unit,
                    number,
                    request_id: Some(rejection.request_id),
                    reason: format!("refused: {}", rejection.message),
                });
                Entry::Rejected(sequence)
            }
        };
        let open = self.outstanding.values().next();
        let settled_before = open.map_or(self.given + 1, |place| place.1);
        let settled = &self.counts.settled_before;
        settled.store(settled_before, Ordering::Relaxed);
        if let Some(journal) = self.journal.as_mut() {
            journal.write(&entry)?;
        }
        Ok(())
    }
}

/// Resolves when `stop` says so.
async fn told(stop: Option<watch::Receiver<bool>>) {
    let Some(mut stop) = stop else {
        return std::future::pending().await;
    };
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Why the stream ended: its verdicts say it last.
pub(crate) async fn last_word(verdicts: &mut Verdicts, error: ClientError) -> ClientError {
    while let Some(verdict) = verdicts.next().await {
        if let Err(why) = verdict {
            return why;
        }
    }
    error
}

// === impl Counts, Ready ===

impl Counts {
    /// Sends that have no verdict.
    #[must_use]
    pub fn open(&self) -> u64 {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        load(&self.sent).saturating_sub(load(&self.acked) + load(&self.refused))
    }
}

impl Ready {
    fn of(record: InputRecord) -> Self {
        let InputRecord {
            unit,
            number,
            request_id,
            key,
            payload,
            content_type,
        } = record;
        let sent = Sent::of(&key, &request_id, &payload, content_type);
        let record = SyncRecord {
            request_id,
            key,
            payload,
            content_type: content_type.to_owned(),
            ..SyncRecord::default()
        };
        Self {
            encoded: record.encode_to_vec().into(),
            sent,
            place: (unit, number),
        }
    }
}

impl std::fmt::Debug for Feed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("outstanding", &self.outstanding.len())
            .finish_non_exhaustive()
    }
}
