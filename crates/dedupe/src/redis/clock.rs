//! What Redis' clock says, by this process' own.
//!
//! In: the times that Redis told. Out: an estimate of its time now, and the generation of a time.
//! Promises: nothing is decided by an estimate; it only makes a first guess that Redis checks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The clocks of the servers that hold a store's shards.
#[derive(Debug)]
pub(super) struct Clocks {
    started: Instant,
    /// For each shard what to add to the time since `started`, in milliseconds.
    offsets: Box<[AtomicI64]>,
}

/// Cuts time into generations as long as the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generations {
    /// In milliseconds.
    window: u64,
}

/// A duration as Redis takes it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

// === impl Clocks ===

impl Clocks {
    pub(super) fn new(shards: u32) -> Self {
        Self {
            started: Instant::now(),
            offsets: (0..shards.max(1)).map(|_| AtomicI64::new(0)).collect(),
        }
    }

    /// Redis' time now, in milliseconds, as far as this process can tell.
    pub(super) fn now(&self, shard: u32) -> u64 {
        let offset = self.offset(shard).load(Ordering::Relaxed);
        let now = self.elapsed().saturating_add(offset);
        u64::try_from(now).unwrap_or(0)
    }

    /// The server of `shard` has said that it is `time`.
    pub(super) fn told(&self, shard: u32, time: u64) {
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        let offset = time.saturating_sub(self.elapsed());
        self.offset(shard).store(offset, Ordering::Relaxed);
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn offset(&self, shard: u32) -> &AtomicI64 {
        let at = usize::try_from(shard).unwrap_or(0);
        self.offsets.get(at).unwrap_or(&self.offsets[0])
    }
}

// === impl Generations ===

impl Generations {
    pub(super) fn new(window: Duration) -> Self {
        let window = millis(window);
        Self {
            window: window.max(1),
        }
    }

    /// The generation of `time`, in milliseconds.
    pub(super) fn of(self, time: u64) -> u64 {
        time / self.window
    }

    /// The window, in milliseconds.
    pub(super) fn window(self) -> u64 {
        self.window
    }

    /// After how long a hash that nobody clears away ends by itself, in milliseconds: when it
    /// can be seen no more, and a while.
    pub(super) fn backstop(self) -> u64 {
        self.window.saturating_mul(2).saturating_add(600_000)
    }
}
