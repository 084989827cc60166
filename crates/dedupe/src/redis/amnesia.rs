//! Whether Redis still knows what it was told.
//!
//! In: what stands under the markers. Out: how often they were found gone. Promises: when all
//! memory of a server is lost (a restart without its data, a wipe, a fail-over to an empty
//! replica), every process that uses the store finds out within a second of its next call,
//! also when another one has set the markers again.
//!
//! A marker is a random text, set where there is none. Whoever finds none sets its own; whoever
//! finds another one than it knows learns that somebody found none.

use super::link::Request;
use super::names::Names;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// How often markers are looked at, while calls are made.
const INTERVAL_MS: u64 = 1_000;
/// Markers of a store. More shards than this share the servers of the first ones.
const MARKERS: u32 = 64;

/// What is known of the markers of one store.
#[derive(Debug)]
pub(super) struct Amnesia {
    started: Instant,
    /// When to look next, in milliseconds since `started`.
    next: AtomicU64,
    known: Mutex<Vec<Vec<u8>>>,
    losses: AtomicU64,
}

/// Commands that look at the markers, and what they set where there is none.
pub(super) struct Look {
    pub(super) requests: Vec<Request>,
    fresh: String,
}

// === impl Amnesia ===

impl Amnesia {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            next: AtomicU64::new(0),
            known: Mutex::new(Vec::new()),
            losses: AtomicU64::new(0),
        }
    }

    /// Whether it is time to look: `true` to one caller, until the next time.
    pub(super) fn is_due(&self) -> bool {
        let (now, next) = (self.now(), self.next.load(Ordering::Relaxed));
        let (then, order) = (now.saturating_add(INTERVAL_MS), Ordering::Relaxed);
        now >= next && self.next.compare_exchange(next, then, order, order).is_ok()
    }

    /// Somebody looks now, due or not.
    pub(super) fn looks_now(&self) {
        let then = self.now().saturating_add(INTERVAL_MS);
        self.next.store(then, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn look(names: &Names) -> Look {
        let fresh = format!("{:016x}", rand::random::<u64>());
        let markers = (0..names.shards().min(MARKERS)).map(|shard| {
            let mut set = Cmd::new();
            set.arg("SET").arg(names.marker(shard)).arg(&fresh);
            set.arg("NX").arg("GET");
            Request::of_shard(names, shard, vec![set])
        });
        Look {
            requests: markers.collect(),
            fresh,
        }
    }

    /// Takes the answers to a [`Look`]. Out: whether memory was lost since the last one.
    pub(super) fn learn(&self, fresh: &str, answers: &[Vec<Value>]) -> bool {
        let found = answers.iter().map(|answers| match answers.first() {
            Some(Value::BulkString(marker)) => marker.clone(),
            _ => fresh.as_bytes().to_vec(),
        });
        let found: Vec<Vec<u8>> = found.collect();
        let mut known = self.known.lock();
        let lost = !known.is_empty() && *known != found;
        *known = found;
        if lost {
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
        lost
    }

    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }
}

impl Look {
    /// The requests, and what [`Amnesia::learn`] needs to know.
    pub(super) fn into_parts(self) -> (Vec<Request>, String) {
        (self.requests, self.fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_that_is_gone_or_another_is_a_loss_and_told_once() {
        let set = |text: &str| vec![Value::BulkString(text.as_bytes().to_vec())];
        let gone = || vec![Value::Nil];
        let amnesia = Amnesia::new();
        assert!(!amnesia.learn("a", &[gone(), set("b")]), "the first look");
        assert!(!amnesia.learn("c", &[set("a"), set("b")]));
        assert!(
            amnesia.learn("d", &[set("a"), gone()]),
            "one server has lost it"
        );
        assert!(!amnesia.learn("e", &[set("a"), set("d")]));
        assert!(
            amnesia.learn("f", &[set("x"), set("d")]),
            "another process was first"
        );
        assert_eq!(amnesia.losses(), 2);
    }
}
