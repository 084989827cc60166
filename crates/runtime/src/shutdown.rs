//! Shutting down in two steps: drain (take nothing new, finish what was taken), then stop.
//!
//! Every loop that waits selects on [`Shutdown::draining`]. A first signal drains; a second one,
//! or the end of the grace period, stops at once.

use tokio_util::sync::CancellationToken;

/// The one signal that all parts of a role share. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    /// A signal that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every part to finish what it has taken and to take nothing new.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Asks every part to end now; what was in flight is met again after a restart.
    pub fn stop(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Resolves when draining begins. Cancel-safe.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Resolves when everything shall end at once. Cancel-safe.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// A signal below this one: it follows this one and can be given alone, for one part.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            drain: self.drain.child_token(),
            stop: self.stop.child_token(),
        }
    }
}
