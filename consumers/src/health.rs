//! What a destination waits for, as `/readyz` says it.
//!
//! Several parts have something to say about one destination (the log, the destination itself,
//! a partition that was stopped); the readiness has one condition for it. This joins them.

use cloudsync_runtime::{Condition, Readiness};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The condition `destination NAME` of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    name: Arc<str>,
    condition: Condition,
    parts: Arc<Mutex<Parts>>,
}

#[derive(Debug, Default)]
struct Parts {
    log: Option<String>,
    destination: Option<String>,
    stopped: BTreeMap<i32, String>,
}

// === impl Health ===

impl Health {
    /// The condition of destination `name`; it waits for the log until told otherwise.
    #[must_use]
    pub fn new(readiness: &Readiness, name: &str) -> Self {
        let log = "the log".to_owned();
        let condition = readiness.condition(format!("destination {name}"), log.clone());
        let parts = Parts {
            log: Some(log),
            ..Parts::default()
        };
        Self {
            name: name.into(),
            condition,
            parts: Arc::new(Mutex::new(parts)),
        }
    }

    /// The destination's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the log is waited for, if it is.
    pub fn log(&self, waits: Option<String>) {
        self.change(|parts| parts.log = waits);
    }

    /// What the destination is waited for, if it is.
    pub fn destination(&self, waits: Option<String>) {
        self.change(|parts| parts.destination = waits);
    }

    /// `partition` was stopped, and why: somebody has to act.
    pub fn stopped(&self, partition: i32, why: String) {
        self.change(|parts| {
            parts.stopped.insert(partition, why);
        });
    }

    /// `partition` is not ours any more.
    pub fn released(&self, partition: i32) {
        self.change(|parts| {
            parts.stopped.remove(&partition);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock();
        change(&mut parts);
        let stopped = parts.stopped.values().next();
        match stopped
            .or(parts.destination.as_ref())
            .or(parts.log.as_ref())
        {
            Some(what) => self.condition.waiting(what.clone()),
            None => self.condition.ready(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_no_part_waits() {
        let readiness = Readiness::new();
        let health = Health::new(&readiness, "aws");
        let waiting = || readiness.waiting().pop().map(|(_, what)| what);
        health.destination(Some("disk full".into()));
        health.stopped(3, "foreign_chain".into());
        assert_eq!(waiting().as_deref(), Some("foreign_chain"));
        health.released(3);
        assert_eq!(waiting().as_deref(), Some("disk full"));
        health.destination(None);
        assert_eq!(waiting().as_deref(), Some("the log"));
        health.log(None);
        assert!(readiness.is_ready());
    }
}
