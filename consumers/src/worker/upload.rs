//! Step 4 of the walk, in order: a closed segment is sealed, its faults are set aside, it is created
//! at the destination (`deliver`, `sink`), its ids are marked.
//!
//! In: a [`ClosedSegment`]. Out: [`Uploaded`]: it lies there and how many ids hold their mark, or
//! something else lies in its place. Promises: nothing is marked before the destination has said
//! that the segment lies there.

use super::Context;
use crate::chain::lines::Lines;
use crate::chain::segment::seal_frame;
use crate::chain::{ClosedSegment, SegmentName};
use crate::sink::{Create, SegmentSink};
use bytes::Bytes;
use cloudsync_dedupe::Subject;
use cloudsync_runtime::{Moment, kill_point};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Pause after an object that was there and is gone.
const AGAIN: Duration = Duration::from_millis(500);

/// The upload of one segment.
pub(super) struct Upload {
    context: Arc<Context>,
    sink: Arc<dyn SegmentSink>,
    segment: Arc<ClosedSegment>,
    give_up: CancellationToken,
}

/// How an upload ended.
#[derive(Debug)]
pub(super) enum Uploaded {
    /// The destination holds the segment; the first `marked` of its ids are marked.
    Created {
        subjects: Vec<Subject>,
        marked: usize,
        bytes: u64,
    },
    /// Something lies there already; ours was left out, and none of its records set aside, as
    /// far as could be known before.
    Found {
        name: SegmentName,
        ours: Bytes,
        theirs: Bytes,
    },
    /// The partition was revoked before the destination took it.
    GivenUp,
    /// The segment could not be made.
    Failed(String),
}

// === impl Upload ===

impl Upload {
    pub(super) fn new(
        context: &Arc<Context>,
        sink: &Arc<dyn SegmentSink>,
        segment: Arc<ClosedSegment>,
        give_up: CancellationToken,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            sink: Arc::clone(sink),
            segment,
            give_up,
        }
    }

    pub(super) async fn run(self, lines: Lines) -> Uploaded {
        if !self.sink.is_conditional() {
            return self
                .deliver(Bytes::new())
                .await
                .unwrap_or(Uploaded::GivenUp);
        }
        let sealed = lines
            .frame()
            .and_then(|frame| seal_frame(&self.segment.header(), &frame));
        let object = match sealed {
            Ok(object) => object,
            Err(error) => return Uploaded::Failed(format!("cannot seal a segment: {error}")),
        };
        self.deliver(object).await.unwrap_or(Uploaded::GivenUp)
    }

    async fn deliver(&self, object: Bytes) -> Option<Uploaded> {
        let name = self.segment.name.to_string();
        if !self.segment.faults.is_empty() {
            // Another log's chain must not make dead letters of ours: look before.
            if let Some(theirs) = self.get(&name).await? {
                return Some(self.found(object, theirs));
            }
            let Context { dead_letters, .. } = &*self.context;
            let chain = &self.segment.name.chain;
            if !dead_letters
                .set_aside(chain, &self.segment.faults, &self.give_up)
                .await
            {
                return None;
            }
        }
        loop {
            if self.create(&name, &object).await? == Create::Created {
                break;
            }
            // Gone again: whoever removed it, the place is free.
            if let Some(theirs) = self.get(&name).await? {
                return Some(self.found(object, theirs));
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = self.give_up.cancelled() => return None,
            }
        }
        kill_point(Moment::BetweenWriteAndMark);
        let subjects = self.segment.subjects();
        let marked = self.context.dedupe.mark(&subjects).await;
        Some(Uploaded::Created {
            subjects,
            marked,
            bytes: object.len() as u64,
        })
    }

    fn found(&self, ours: Bytes, theirs: Bytes) -> Uploaded {
        Uploaded::Found {
            name: self.segment.name.clone(),
            ours,
            theirs,
        }
    }

    async fn create(&self, name: &str, object: &Bytes) -> Option<Create> {
        let attempt = || self.sink.create_if_absent(name, object.clone());
        self.context.gate.until_done(&self.give_up, attempt).await
    }

    async fn get(&self, name: &str) -> Option<Option<Bytes>> {
        get(&self.context, &self.sink, name, &self.give_up).await
    }
}

/// The object `name`, if there is one; `None` when `give_up` was given before an answer.
pub(super) async fn get(
    context: &Context,
    sink: &Arc<dyn SegmentSink>,
    name: &str,
    give_up: &CancellationToken,
) -> Option<Option<Bytes>> {
    let attempt = || sink.get(name);
    context.gate.until_done(give_up, attempt).await
}
