//! Waits until every group has committed everything that the log holds.
//!
//! In: the log, and the groups. Out: nothing, or what is still open when nothing has moved for
//! [`STALLED`], or when time is up. Asked of the log, not of the consumers.

use cloudsync_kafka::{KafkaError, KafkaSettings, PartitionLag, lag};
use cloudsync_runtime::Readiness;
use std::collections::BTreeMap;
use std::fmt;
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
        /// What is open.
        open: Open,
    },
    /// There is no more time.
    #[error("{open}")]
    TooLate {
        /// What is open.
        open: Open,
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

/// What is not committed yet.
#[derive(Debug)]
pub struct Open {
    /// For each group that is behind, by how many records.
    pub behind: BTreeMap<String, i64>,
    waiting: Vec<(String, String)>,
}

/// Waits until no group of `groups` lags behind what the log held at the first look; until `until`
/// at most, if there is such a moment.
///
/// # Errors
/// [`SettleError`].
pub async fn settled(
    kafka: &KafkaSettings,
    groups: &[String],
    readiness: &Readiness,
    until: Option<Instant>,
) -> Result<(), SettleError> {
    let mut last = (i64::MAX, Instant::now());
    let mut ends = BTreeMap::new();
    loop {
        let mut behind = BTreeMap::new();
        for group in groups {
            let failed = |source| SettleError::Log {
                group: group.clone(),
                source,
            };
            let mut partitions = lag(kafka, group).await.map_err(failed)?;
            for of in &mut partitions {
                // Others may write on and on.
                of.end = *ends.entry(of.partition).or_insert(of.end);
            }
            let open: i64 = partitions.iter().map(PartitionLag::lag).sum();
            if open > 0 {
                behind.insert(group.clone(), open);
            }
        }
        if behind.is_empty() {
            return Ok(());
        }
        let total = behind.values().sum();
        let open = Open {
            behind,
            waiting: readiness.waiting(),
        };
        if total != last.0 {
            last = (total, Instant::now());
        } else if last.1.elapsed() > STALLED {
            let after = STALLED;
            return Err(SettleError::Stalled { after, open });
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(SettleError::TooLate { open });
        }
        sleep(ASK).await;
    }
}

// === impl Open ===

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = self.behind.iter();
        let behind = behind.map(|(group, count)| format!("{group} is {count} records behind"));
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|(name, what)| format!("{name} waits for {what}"));
        let open: Vec<String> = behind.chain(waiting).collect();
        f.write_str(&open.join("; "))
    }
}
