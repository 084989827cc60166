//! Tasks that have a name, are counted, and are awaited before the process ends; whether one of them
//! has panicked.

use std::future::Future;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Where every task of a role is started. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    panicked: CancellationToken,
}

/// Tells when it is dropped by a panic.
struct Alarm(CancellationToken);

impl Tasks {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `future` as the task `name`, the name of its span in the logs.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let alarm = Alarm(self.panicked.clone());
        let task = async move {
            let _alarm = alarm;
            future.await
        };
        self.tracker
            .spawn(task.instrument(tracing::debug_span!("task", name)))
    }

    /// Whether a task has panicked.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.panicked.is_cancelled()
    }

    /// Resolves when a task has panicked: what it had in hand nobody finishes. Cancel-safe.
    pub async fn panicked(&self) {
        self.panicked.cancelled().await;
    }

    /// Number of tasks that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until all tasks have ended, at most for `grace`. Returns how many are left.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.tracker.len(),
                "tasks did not end within the grace period"
            );
        }
        self.tracker.len()
    }
}

// === impl Alarm ===

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_and_nothing_else() {
        let tasks = Tasks::new();
        let never = tasks.spawn("ends", std::future::ready(()));
        never.await.unwrap();
        let endless = tasks.spawn("is ended", std::future::pending::<()>());
        endless.abort();
        assert!(endless.await.unwrap_err().is_cancelled());
        assert!(!tasks.has_panicked());
        let broken = tasks.spawn("panics", async { assert_eq!(1, 2, "on purpose") });
        assert!(broken.await.unwrap_err().is_panic());
        tasks.panicked().await;
    }
}
