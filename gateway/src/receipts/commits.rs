//! How far the group of each destination has committed, for all who ask.
//!
//! In: questions. Out: what the log said. Promises: an answer is at most [`FRESH`] old when it is
//! given; whoever asks meanwhile shares one question to each group, also when it fails.

use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use cloudsync_kafka::{CommittedOffsets, GroupCommits};
use futures::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old an answer may be.
pub(super) const FRESH: Duration = Duration::from_millis(250);
/// How long a client is asked to wait when the log does not answer.
const LOG_DELAY: Duration = Duration::from_secs(1);

/// For each destination, in their order.
pub(super) type Committed = Arc<[CommittedOffsets]>;

/// Asks, and keeps the last answer.
#[derive(Debug)]
pub(super) struct Commits {
    groups: Vec<GroupCommits>,
    /// When the last question was answered, and how.
    last: Mutex<Option<(Instant, Result<Committed, Refusal>)>>,
}

// === impl Commits ===

impl Commits {
    pub(super) fn of(groups: Vec<GroupCommits>) -> Self {
        Self {
            groups,
            last: Mutex::new(None),
        }
    }

    /// What the groups had committed a moment ago.
    pub(super) async fn recent(&self) -> Result<Committed, Refusal> {
        let began = Instant::now();
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, Ok(committed))) if at.elapsed() < FRESH || *at >= began => {
                return Ok(Arc::clone(committed));
            }
            // One failure answers all who waited for it.
            Some((at, Err(refusal))) if *at >= began => return Err(refusal.clone()),
            _ => {}
        }
        let asked = Instant::now();
        let answer = try_join_all(self.groups.iter().map(GroupCommits::ask)).await;
        let answer = match answer {
            Ok(all) => Ok(Committed::from(all)),
            Err(error) => {
                let text = format!("the log does not tell what is settled: {error}; ask again");
                let reason = ErrorReason::LogUnavailable;
                Err(Refusal::retryable(reason, LOG_DELAY, text))
            }
        };
        // A good one is as old as its question, a failure as its end.
        let at = if answer.is_ok() {
            asked
        } else {
            Instant::now()
        };
        *last = Some((at, answer.clone()));
        answer
    }
}
