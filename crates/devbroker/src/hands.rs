//! Faults on request: the next requests of one API fail, come late, or lose their connection.
//!
//! For tests of clients. A broker that was asked for none pays one relaxed load a request.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// What can be asked of the broker, as Kafka's protocol names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the request of that name")]
pub enum Api {
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    FindCoordinator,
    JoinGroup,
    Heartbeat,
    LeaveGroup,
    SyncGroup,
    ApiVersions,
    CreateTopics,
    DeleteTopics,
    InitProducerId,
}

/// When a fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the request has an effect: it is as if it had not come, or not yet.
    Before,
    /// After it had its effect: only the answer is touched.
    After,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It has no effect and is answered with this error code of Kafka's, for everything in it.
    Fail(i16),
    /// It or its answer comes this much later; what the client sent behind it waits as well.
    Delay(Duration, Moment),
    /// It is never answered, and its connection goes on. Clients that want their answers in order
    /// close it at the next one.
    Drop(Moment),
    /// Its connection is closed.
    Cut(Moment),
}

/// Brings faults upon a running broker; from [`crate::Broker::hands`]. Clones are the same hands.
#[derive(Clone, Default)]
pub struct Hands {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Whether there may be anything in `acts`.
    armed: AtomicBool,
    acts: Mutex<HashMap<Api, VecDeque<Act>>>,
}

// === impl Hands ===

impl Hands {
    /// Has `act` happen to the next `count` requests of `api`, behind what is still to happen to
    /// that API, whoever sends them.
    pub fn next(&self, api: Api, count: usize, act: Act) {
        let mut acts = self.inner.acts.lock();
        let of_api = acts.entry(api).or_default();
        of_api.extend(std::iter::repeat_n(act, count));
        self.inner.armed.store(true, Ordering::Relaxed);
    }

    /// How many requests of `api` something is still to happen to. A test that counts its faults
    /// sees zero once all of them came.
    #[must_use]
    pub fn left(&self, api: Api) -> usize {
        self.inner.acts.lock().get(&api).map_or(0, VecDeque::len)
    }

    /// What is to happen to a request that came.
    pub(crate) fn take(&self, api: impl FnOnce() -> Option<Api>) -> Option<Act> {
        if !self.inner.armed.load(Ordering::Relaxed) {
            return None;
        }
        let api = api()?;
        let mut acts = self.inner.acts.lock();
        let act = acts.get_mut(&api)?.pop_front();
        acts.retain(|_, of_api| !of_api.is_empty());
        if acts.is_empty() {
            self.inner.armed.store(false, Ordering::Relaxed);
        }
        act
    }
}

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hands")
            .field(&*self.inner.acts.lock())
            .finish()
    }
}
