//! An HTTP endpoint that misbehaves by seed, counts every effect, and forgets nothing.
//!
//! In: posts. Out: what was done for each id, for a checker. *Plain*, each post that it takes has
//! an effect. *Keyed*, an `Idempotency-Key` has one, and another payload under it is refused with
//! 422. What befalls a post follows from the seed, its key and how often the key was posted
//! before, so a run can be told again whatever the order of things.

mod faults;
mod serving;

pub use faults::{Fault, Faults};

use faults::Chooser;
use serving::Door;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use xxhash_rust::xxh3::xxh3_128;

/// How an endpoint treats what it is sent.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// It honours `Idempotency-Key`.
    pub keyed: bool,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// Seed of the choices.
    pub seed: u64,
}

/// What an endpoint has seen of one `Idempotency-Key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Times that it was posted.
    pub posts: u32,
    /// Effects that it had.
    pub effects: u32,
    /// Effects of which nobody was told.
    pub replies_lost: u32,
    /// Posts that were answered 422.
    pub unprocessable: u32,
    /// Posts that were answered 400, as poison.
    pub poisonous: u32,
    /// XXH3-128 of the payload of its first effect.
    pub payload: Option<u128>,
    /// The header `Content-Type` of its first effect.
    pub content_type: String,
    /// The header `X-CloudSync-Key` of its first effect.
    pub key: String,
    /// The header `X-CloudSync-Sequence` of its first effect.
    pub sequence: String,
    /// The header `Authorization` of its last post.
    pub authorization: String,
}

/// A running endpoint. It ends when this is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    book: Arc<Book>,
    is_here: watch::Sender<bool>,
    listens: watch::Receiver<bool>,
    _task: JoinSet<()>,
}

/// What all connections write into.
#[derive(Debug)]
struct Book {
    keyed: bool,
    chooser: Chooser,
    /// Ids that end with a multiple of this are poison; 0: none are.
    poison: AtomicU32,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    seen: BTreeMap<String, Seen>,
    /// Ids in the order of their first effects, by record key.
    order: BTreeMap<String, Vec<String>>,
    faults: BTreeMap<Fault, u64>,
}

/// A post, as far as it matters here.
#[derive(Debug, Default)]
struct Post {
    id: String,
    key: String,
    sequence: String,
    content_type: String,
    authorization: String,
    payload: u128,
}

/// What a post came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Effect,
    Replayed,
    Conflict,
}

// === impl Endpoint ===

impl Endpoint {
    /// Starts one on a free port of this machine.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(behaviour: Behaviour) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book {
            keyed: behaviour.keyed,
            chooser: Chooser::new(behaviour.faults, behaviour.seed),
            poison: AtomicU32::new(0),
            pages: Mutex::default(),
        });
        let (is_here, here) = watch::channel(true);
        let (listening, listens) = watch::channel(true);
        let mut task = JoinSet::new();
        let door = Door::new(address, Arc::clone(&book), here, listening);
        task.spawn(door.serve(listener));
        Ok(Self {
            address,
            book,
            is_here,
            listens,
            _task: task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to post to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/records", self.address)
    }

    /// Refuses connections, and ends those that there are, until [`Self::come_back`].
    ///
    /// # Errors
    /// When it has ended.
    pub async fn go_away(&mut self) -> anyhow::Result<()> {
        self.is_here.send_replace(false);
        self.listens.wait_for(|listens| !listens).await?;
        Ok(())
    }

    /// Takes connections again, at the same address.
    ///
    /// # Errors
    /// When it has ended: the port was taken meanwhile.
    pub async fn come_back(&mut self) -> anyhow::Result<()> {
        self.is_here.send_replace(true);
        self.listens.wait_for(|listens| *listens).await?;
        Ok(())
    }

    /// From now on every id that ends with a multiple of `every` is poison: its posts are answered
    /// 400, and nothing is done. `None`: the cause is removed.
    pub fn poison(&self, every: Option<u32>) {
        self.book
            .poison
            .store(every.unwrap_or(0), Ordering::Relaxed);
    }

    /// What it has seen, by `Idempotency-Key`.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        self.book.pages().seen.clone()
    }

    /// Number of keys with an effect.
    #[must_use]
    pub fn with_effect(&self) -> usize {
        let pages = self.book.pages();
        pages.seen.values().filter(|seen| seen.effects > 0).count()
    }

    /// Ids in the order of their first effects, by `X-CloudSync-Key`.
    #[must_use]
    pub fn order(&self) -> BTreeMap<String, Vec<String>> {
        self.book.pages().order.clone()
    }

    /// How often each fault was chosen.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        self.book.pages().faults.clone()
    }
}

// === impl Book ===

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a post, and says what shall befall it.
    fn posted(&self, post: &Post) -> Option<Fault> {
        let mut pages = self.pages();
        let seen = pages.seen.entry(post.id.clone()).or_default();
        seen.authorization.clone_from(&post.authorization);
        let fault = self.chooser.choose(&post.id, seen.posts);
        seen.posts += 1;
        if let Some(fault) = fault {
            *pages.faults.entry(fault).or_default() += 1;
        }
        fault
    }

    /// Does what `post` asks for. `told`: somebody will hear of it.
    fn apply(&self, post: &Post, told: bool) -> Done {
        let mut pages = self.pages();
        let seen = pages.seen.entry(post.id.clone()).or_default();
        let first = seen.payload.is_none();
        if self.keyed && !first {
            if seen.payload == Some(post.payload) {
                return Done::Replayed;
            }
            seen.unprocessable += 1;
            return Done::Conflict;
        }
        seen.effects += 1;
        seen.replies_lost += u32::from(!told);
        if first {
            seen.payload = Some(post.payload);
            seen.content_type.clone_from(&post.content_type);
            seen.key.clone_from(&post.key);
            seen.sequence.clone_from(&post.sequence);
            let of_key = pages.order.entry(post.key.clone()).or_default();
            of_key.push(post.id.clone());
        }
        Done::Effect
    }

    /// Whether `post` is poison, of which note is taken.
    fn is_poison(&self, post: &Post) -> bool {
        let every = self.poison.load(Ordering::Relaxed);
        let digits = post.id.rsplit('-').next().unwrap_or_default();
        let number: Option<u32> = digits.parse().ok();
        let is_one = every > 0 && number.is_some_and(|number| number % every == 0);
        if is_one {
            let mut pages = self.pages();
            pages.seen.entry(post.id.clone()).or_default().poisonous += 1;
        }
        is_one
    }

    /// A post is answered 422 whatever it says.
    fn refuse(&self, post: &Post) {
        let mut pages = self.pages();
        pages.seen.entry(post.id.clone()).or_default().unprocessable += 1;
    }

    fn fault(&self, fault: Fault) {
        *self.pages().faults.entry(fault).or_default() += 1;
    }
}

// === impl Post ===

impl Post {
    fn new(headers: &hyper::HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Self {
            id: text("idempotency-key"),
            key: text("x-cloudsync-key"),
            sequence: text("x-cloudsync-sequence"),
            content_type: text("content-type"),
            authorization: text("authorization"),
            payload: xxh3_128(body),
        }
    }
}
