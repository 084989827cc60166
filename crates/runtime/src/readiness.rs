//! Readiness that says what it waits for.
//!
//! In: each part holds a [`Condition`] and says when it waits, and for what. Out: [`Readiness`]
//! is ready when no condition waits; otherwise it lists them, for `/readyz` and the checklist.

use parking_lot::RwLock;
use std::sync::Arc;
use tokio::sync::watch;

/// All conditions of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Name and, while it waits, what for. A process has a handful of conditions.
    conditions: RwLock<Vec<(String, Option<String>)>>,
    ready: watch::Sender<bool>,
}

/// One thing that must hold before the process is ready. It waits until told otherwise.
#[derive(Clone, Debug)]
pub struct Condition {
    readiness: Readiness,
    index: usize,
}

impl Default for Readiness {
    fn default() -> Self {
        let (ready, _) = watch::channel(true);
        Self {
            state: Arc::new(State {
                conditions: RwLock::default(),
                ready,
            }),
        }
    }
}

impl Readiness {
    /// Ready, until a condition is added.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that waits for `what` from now on.
    pub fn condition(&self, name: impl Into<String>, what: impl Into<String>) -> Condition {
        let mut conditions = self.state.conditions.write();
        conditions.push((name.into(), Some(what.into())));
        let index = conditions.len() - 1;
        drop(conditions);
        self.publish();
        Condition {
            readiness: self.clone(),
            index,
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.state.ready.borrow()
    }

    /// What waits, as (name, what for).
    #[must_use]
    pub fn waiting(&self) -> Vec<(String, String)> {
        let conditions = self.state.conditions.read();
        let waiting = conditions
            .iter()
            .filter_map(|(name, what)| what.as_ref().map(|what| (name.clone(), what.clone())));
        waiting.collect()
    }

    /// Follows the readiness: the value changes when it does.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.state.ready.subscribe()
    }

    /// Resolves when everything is ready. Cancel-safe.
    pub async fn ready(&self) {
        let mut watch = self.watch();
        // The sender lives in `self`, so waiting ends only with the value.
        let _ended = watch.wait_for(|ready| *ready).await.is_err();
    }

    fn publish(&self) {
        let ready = self
            .state
            .conditions
            .read()
            .iter()
            .all(|(_, what)| what.is_none());
        self.state
            .ready
            .send_if_modified(|now| std::mem::replace(now, ready) != ready);
    }
}

impl Condition {
    /// The condition holds.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The condition waits for `what`.
    pub fn waiting(&self, what: impl Into<String>) {
        self.set(Some(what.into()));
    }

    fn set(&self, what: Option<String>) {
        if let Some(entry) = self.readiness.state.conditions.write().get_mut(self.index) {
            entry.1 = what;
        }
        self.readiness.publish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_nothing_waits() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let log = readiness.condition("log", "Kafka at 127.0.0.1:9092");
        let sink = readiness.condition("sink", "its marker");
        log.ready();
        assert_eq!(readiness.waiting(), [("sink".into(), "its marker".into())]);
        let waiter = tokio::join!(readiness.ready(), async { sink.ready() });
        assert_eq!(waiter, ((), ()));
        log.waiting("Kafka again");
        assert!(!readiness.is_ready());
    }
}
