//! Which effects this process is working on for one destination, whichever partition or
//! assignment they came with.
//!
//! In: identities. Out: a [`Pass`] for the first who asks; nobody else gets one until it is
//! dropped, which is when the mark holds or the record was put back. It belongs to the process: a
//! partition that leaves and comes back finds here what its earlier assignment still writes. In a
//! store the process would meet only its own claim and take it for a lost answer.

use cloudsync::identity::Id16;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

/// The effects under way. Clones share them; bounded by the writes that may run.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    ids: Arc<Mutex<HashSet<Id16>>>,
}

/// The right to work on one effect.
#[derive(Debug)]
#[must_use = "the effect is under way until this is dropped"]
pub struct Pass {
    ids: Arc<Mutex<HashSet<Id16>>>,
    id: Id16,
}

// === impl InFlight ===

impl InFlight {
    /// Begins to work on `id`; `None` while somebody else does.
    #[must_use]
    pub fn enter(&self, id: Id16) -> Option<Pass> {
        let entered = self.ids.lock().insert(id);
        entered.then(|| Pass {
            ids: Arc::clone(&self.ids),
            id,
        })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.ids.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_until_the_pass_is_dropped() {
        let in_flight = InFlight::default();
        let elsewhere = in_flight.clone();
        let pass = in_flight.enter(Id16([1; 16]));
        assert!(pass.is_some());
        assert!(elsewhere.enter(Id16([1; 16])).is_none());
        assert!(elsewhere.enter(Id16([2; 16])).is_some());
        drop(pass);
        assert!(elsewhere.enter(Id16([1; 16])).is_some());
    }
}
