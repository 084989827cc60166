//! A segment lies where ours should go: compared with the log, then taken for ours or left alone.

use super::{Context, Halt, Worker, upload};
use crate::chain::adopt::FoundError;
use crate::chain::closed::What;
use crate::chain::{Adoption, Found, SegmentName, Whose, reader};
use crate::parse::Content;
use bytes::Bytes;
use cloudsync_kafka::Receipt;
use cloudsync_runtime::chain as error_chain;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The log brings nothing more if it brought nothing for so long.
const QUIET: Duration = Duration::from_secs(1);
/// Quiet spells to wait for where the log has brought nothing at all of a segment's range: then
/// nothing was compared, and a reading that has only begun must not pass for an empty log.
const QUIET_SPELLS_FOR_NOTHING: u32 = 10;

// === impl Worker ===

impl Worker {
    /// `theirs` lies under `name`. `ours` is what should have gone there; empty if there was
    /// nothing yet.
    pub(super) async fn adopt(
        &mut self,
        name: SegmentName,
        ours: Bytes,
        theirs: Bytes,
    ) -> Result<(), Halt> {
        let found = read_found(&name, theirs, self.context.shards).await?;
        let mut adoption = Adoption::begin(found, self.chain.in_hand());
        let high_watermark = self.read_on(&mut adoption).await?;
        if let Whose::Foreign(why) = adoption.verdict(high_watermark) {
            let why = format!(
                "{name} belongs to another log: {why}; this log needs another prefix \
                 (destinations.{}.url), or the old chain another place",
                self.context.destination
            );
            return Err(Halt::Stopped {
                alarm: "foreign_chain",
                why,
            });
        }
        let records = adoption.records();
        let found = adoption.into_found();
        let lines = if ours.is_empty() {
            Ok(Vec::new())
        } else {
            reader::raw_lines(&ours)
        };
        let failed = |why: String| Halt::Stopped {
            alarm: "segment_failed",
            why: format!("cannot read back our own {name}: {why}"),
        };
        let lines = lines.map_err(|error| failed(error_chain(&error)))?;
        self.chain
            .go_on_behind(&found, &lines, Instant::now())
            .map_err(|error| failed(error.to_string()))?;
        tracing::info!(segment = %name, end = found.header.end, records, "segment found in place");
        let subjects = found.subjects();
        let marked = self.context.dedupe.mark(&subjects).await;
        let released = self.settle.marked(subjects, marked).await;
        self.chain.forget(&released.0);
        self.settle
            .adopted(found.header.end, Receipt::new(name.to_string()), records);
        Ok(())
    }

    /// Reads the log on to the segment's end. Out: the high watermark, if it had to be asked
    /// because the log brought nothing more.
    async fn read_on(&mut self, adoption: &mut Adoption) -> Result<Option<i64>, Halt> {
        let mut quiet_spells = 0;
        loop {
            while let Some(next) = self.backlog.front() {
                adoption.observe(next.offset(), what(&next.content));
                if next.offset() >= adoption.end() {
                    break;
                }
                self.backlog.pop_front();
            }
            if adoption.is_complete() {
                return Ok(None);
            }
            let batch = tokio::select! {
                () = self.revoked.cancelled() => return Err(Halt::Revoked),
                batch = timeout(QUIET, self.records.recv()) => batch,
            };
            match batch {
                Ok(Some(batch)) => {
                    quiet_spells = 0;
                    self.queue(batch);
                }
                Ok(None) => return Err(Halt::Revoked),
                Err(_) => {
                    quiet_spells += 1;
                    if let Some(reached) = self.high_watermark().await
                        && (reached < adoption.end()
                            || adoption.records() > 0
                            || quiet_spells >= QUIET_SPELLS_FOR_NOTHING)
                    {
                        return Ok(Some(reached));
                    }
                }
            }
        }
    }

    /// The end of the log; `None` if it does not say just now.
    async fn high_watermark(&mut self) -> Option<i64> {
        let Context { consumer, .. } = &*self.context;
        let answer = consumer
            .upgrade()?
            .high_watermark(self.chain.name().partition)
            .await;
        answer
            .inspect_err(|error| tracing::debug!(%error, "the log's end is not known"))
            .ok()
    }

    /// The reading starts inside the segment `name`, where nothing is in hand yet.
    pub(super) async fn adopt_at_start(&mut self, name: SegmentName) -> Result<(), Halt> {
        let got = upload::get(&self.context, &self.sink, &name.to_string(), &self.revoked).await;
        match got.ok_or(Halt::Revoked)? {
            Some(theirs) => self.adopt(name, Bytes::new(), theirs).await,
            None => Err(Halt::Stopped {
                alarm: "damaged_segment",
                why: format!("{name} was listed and is gone; repair the destination, then restart"),
            }),
        }
    }
}

fn what(content: &Content) -> What {
    match content {
        Content::Record { named, .. } => What::Named(*named),
        Content::Undecodable { hash, .. } => What::Undecodable(*hash),
    }
}

async fn read_found(name: &SegmentName, theirs: Bytes, shards: u32) -> Result<Found, Halt> {
    let at = name.clone();
    let read = tokio::task::spawn_blocking(move || Found::read(&at, &theirs, shards)).await;
    let damaged = |why: String| Halt::Stopped {
        alarm: "damaged_segment",
        why: format!("{name} is damaged: {why}; repair or remove it, then restart"),
    };
    match read {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(FoundError::Segment(error))) => Err(damaged(error_chain(&error))),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(error) => Err(damaged(error.to_string())),
    }
}
