//! Waits until every group has committed everything that the log holds.
//!
//! In: the log, and the groups. Out: nothing, or what is still open when nothing has moved for
//! [`STALLED`]. Asked of the log, not of the consumers.

use cloudsync_kafka::{KafkaError, KafkaSettings, PartitionLag, lag};
use cloudsync_runtime::Readiness;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long nothing may move.
pub const STALLED: Duration = Duration::from_secs(60);
/// Pause between two questions.
const ASK: Duration = Duration::from_millis(50);

/// Why it is not waited for any longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// Nothing moved.
    #[error("nothing moved for {after:?}: {open}")]
    Stalled {
        /// How long.
        after: Duration,
        /// What is open, for a person.
        open: String,
    },
    /// The log does not tell.
    #[error("the log does not tell where group {group} stands")]
    Log {
        /// The group.
        group: String,
        /// Why.
        #[source]
        source: KafkaError,
    },
}

/// Waits until no group of `groups` lags.
///
/// # Errors
/// [`SettleError`].
pub async fn settled(
    kafka: &KafkaSettings,
    groups: &[String],
    readiness: &Readiness,
) -> Result<(), SettleError> {
    let mut last = (i64::MAX, Instant::now());
    loop {
        let mut open = Vec::new();
        let mut total = 0;
        for group in groups {
            let failed = |source| SettleError::Log {
                group: group.clone(),
                source,
            };
            let partitions = lag(kafka, group).await.map_err(failed)?;
            let behind: i64 = partitions.iter().map(PartitionLag::lag).sum();
            if behind > 0 {
                open.push(format!("{group} is {behind} records behind"));
                total += behind;
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        if total != last.0 {
            last = (total, Instant::now());
        } else if last.1.elapsed() > STALLED {
            let waiting = readiness.waiting();
            open.extend(
                waiting
                    .iter()
                    .map(|(name, what)| format!("{name} waits for {what}")),
            );
            return Err(SettleError::Stalled {
                after: STALLED,
                open: open.join("; "),
            });
        }
        sleep(ASK).await;
    }
}
