//! What a destination waits for, as `/readyz` says it.
//!
//! Several parts have something to say about one destination (the log, the destination itself,
//! a partition that was stopped); the readiness has one condition for it. This joins them. An
//! [`Alarm`] is taken back by whoever raised it, and by nobody else: it ends when it is dropped.

use cloudsync_runtime::{Condition, Readiness};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

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
    destination: Option<Wait>,
    store: Option<Wait>,
    /// By partition, then in the order in which they were raised.
    alarms: BTreeMap<(i32, u64), String>,
    raised: u64,
}

#[derive(Debug)]
struct Wait {
    why: String,
    /// It ends then, if it is not said again: who waited may have lost its partitions, and does
    /// not try any more.
    until: Option<Instant>,
}

/// Somebody has to act; until this is dropped.
#[must_use = "the alarm ends when this is dropped"]
#[derive(Debug)]
pub struct Alarm {
    health: Health,
    key: (i32, u64),
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
        let wait = |why| Wait { why, until: None };
        self.change(|parts| parts.destination = waits.map(wait));
    }

    /// What the destination is waited for, until then if it is not said again.
    pub fn destination_waits(&self, why: String, until: Instant) {
        self.change(|parts| Wait::renew(&mut parts.destination, why, until));
    }

    /// What the dedupe store is waited for, until then if it is not said again.
    pub fn store_waits(&self, why: String, until: Instant) {
        self.change(|parts| Wait::renew(&mut parts.store, why, until));
    }

    /// The dedupe store is not waited for any more.
    pub fn store_goes_on(&self) {
        self.change(|parts| parts.store = None);
    }

    /// Takes back what holds no longer at `now`. To be called now and then.
    pub fn refresh(&self, now: Instant) {
        self.change(|parts| {
            for part in [&mut parts.destination, &mut parts.store] {
                part.take_if(|wait| wait.until.is_some_and(|until| until <= now));
            }
        });
    }

    /// Something in `partition` does not go on until somebody acts, and why.
    pub fn alarm(&self, partition: i32, why: String) -> Alarm {
        let mut key = (partition, 0);
        self.change(|parts| {
            parts.raised += 1;
            key.1 = parts.raised;
            parts.alarms.insert(key, why);
        });
        let health = self.clone();
        Alarm { health, key }
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock();
        change(&mut parts);
        let Parts {
            log,
            destination,
            store,
            ..
        } = &*parts;
        let alarm = parts.alarms.values().next();
        let waits = [
            destination.as_ref().map(|wait| &wait.why),
            store.as_ref().map(|wait| &wait.why),
            log.as_ref(),
        ];
        let waits = waits.into_iter().flatten().next();
        match alarm.or(waits) {
            Some(what) => self.condition.waiting(what.clone()),
            None => self.condition.ready(),
        }
    }
}

// === impl Wait ===

impl Wait {
    /// Somebody waits, and others may wait for longer.
    fn renew(part: &mut Option<Self>, why: String, until: Instant) {
        let others = part.as_ref().and_then(|wait| wait.until);
        let until = Some(others.map_or(until, |others| others.max(until)));
        *part = Some(Self { why, until });
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.health.change(|parts| {
            parts.alarms.remove(&self.key);
        });
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
        let earlier = health.alarm(3, "foreign_chain".into());
        assert_eq!(waiting().as_deref(), Some("foreign_chain"));
        // The next worker of the same partition has its own, and the last word of the earlier one
        // takes back what the earlier one said.
        let later = health.alarm(3, "damaged_segment".into());
        drop(earlier);
        assert_eq!(waiting().as_deref(), Some("damaged_segment"));
        drop(later);
        assert_eq!(waiting().as_deref(), Some("disk full"));
        health.destination(None);
        assert_eq!(waiting().as_deref(), Some("the log"));
        let then = Instant::now() + std::time::Duration::from_secs(1);
        health.store_waits("the store".into(), then);
        assert_eq!(waiting().as_deref(), Some("the store"));
        health.refresh(then);
        assert_eq!(waiting().as_deref(), Some("the log"));
        health.destination_waits("503".into(), then);
        health.refresh(then - std::time::Duration::from_millis(1));
        assert_eq!(waiting().as_deref(), Some("503"));
        health.refresh(then);
        assert_eq!(waiting().as_deref(), Some("the log"));
        health.log(None);
        assert!(readiness.is_ready());
    }
}
