//! The calls that a consumer makes to its dedupe store, and nothing else.
//!
//! In: the settings of a store, and turns. Out: what they came to, by the system's account of this
//! process and the Redis' own of itself. Promises: every id is new; what the calls need is made
//! before they are measured; a call has ids of one shard, as those of a partition have; as many
//! calls are under way as there are cores; a turn ends with its time or with [`MOST_IDS`] ids, and
//! leaves nothing behind, on the disk or in the Redis.

use super::{Inbox, answer, not_for_me, up};
use crate::bench::messages::{Answer, Called, Question, Turn};
use crate::bench::usage;
use anyhow::{Context, ensure};
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::floor::{Floor, Prepared, RawRedis, Work};
use cloudsync_dedupe::{
    Claim, DedupeSettings, DedupeStore, LogPosition, Lookup, StoreError, Subject, Token, open,
};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

/// Whose ids they are.
pub(in crate::bench) const DESTINATION: &str = "bench";
/// Most ids of a turn, so that its memory has an end.
const MOST_IDS: u64 = 2_000_000;
/// Seconds that are measured at a time, at least, unless [`MOST_AT_ONCE`] ids take less.
const STRETCH: f64 = 0.05;
/// Most ids that are made at a time.
const MOST_AT_ONCE: usize = 1 << 16;
/// Ids of a call when a store is filled.
const FILL: usize = 256;

/// What is called.
enum Side {
    Ours(Arc<dyn DedupeStore>),
    Floor(Floor),
}

/// The same, with all that a stretch of calls needs.
enum Ready<'a> {
    Ours(&'a Arc<dyn DedupeStore>),
    Floor(Prepared),
}

/// Batches of ids that nobody has seen.
struct Ids {
    next: u64,
    shards: u64,
    batch: usize,
    /// How many batches are made at a time.
    at_once: usize,
}

/// A stretch that is being measured.
struct Meter {
    began: Instant,
    client: Duration,
    redis: Option<Duration>,
}

/// Answers until nothing more is asked.
pub(super) async fn calls(dedupe: DedupeSettings, mut inbox: Inbox) -> anyhow::Result<()> {
    up(None);
    loop {
        let called = match inbox.next().await? {
            Question::Turn(asked) => Box::pin(turn(&dedupe, asked)).await?,
            Question::Fill { ids } => Box::pin(fill(&dedupe, ids)).await?,
            Question::Open => reopen(&dedupe).await?,
            other => return Err(not_for_me(&other)),
        };
        answer(&Answer::Called(called));
    }
}

/// How many calls are under way: one a core.
pub(in crate::bench) fn tasks() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

async fn turn(dedupe: &DedupeSettings, asked: Turn) -> anyhow::Result<Called> {
    // Opened for ours as well: it says what the Redis has used.
    let floor = Floor::open(dedupe, DESTINATION).await?;
    let (side, watch) = if asked.floor {
        let watch = Floor::open(dedupe, DESTINATION).await?;
        (
            Side::Floor(floor.context("nothing is below this store")?),
            watch,
        )
    } else {
        (Side::Ours(opened(dedupe).await?), floor)
    };
    let redis = watch.as_ref().and_then(Floor::redis);
    let mut ids = Ids::new(dedupe, asked.batch);
    warm_up(&side, asked.work, &mut ids, redis).await?;
    let mut called = Called::default();
    while called.ids == 0 || called.seconds < asked.seconds && called.ids < MOST_IDS {
        called.add(stretch(&side, asked.work, ids.some(), redis).await?);
    }
    if asked.floor && redis.is_some() {
        let known = opened(dedupe).await?.lookup(&ids.last()).await?;
        let marked = |found: &Lookup| matches!(found, Lookup::Done { .. });
        ensure!(
            known.iter().all(marked),
            "the floor is no floor: it has marked nothing"
        );
    }
    leave_nothing(dedupe, side, redis).await?;
    Ok(called)
}

/// Connections, scripts and the allocator's memory are there before anything is measured, and a
/// stretch is so long that its ends do not count.
async fn warm_up(
    side: &Side,
    work: Work,
    ids: &mut Ids,
    redis: Option<&RawRedis>,
) -> anyhow::Result<()> {
    loop {
        let called = stretch(side, work, ids.some(), redis).await?;
        if called.seconds > STRETCH || !ids.take_more() {
            return Ok(());
        }
    }
}

/// Makes the calls for `batches`, and measures them.
async fn stretch(
    side: &Side,
    work: Work,
    batches: Vec<Vec<Subject>>,
    redis: Option<&RawRedis>,
) -> anyhow::Result<Called> {
    let ids = batches.iter().map(|batch| batch.len() as u64).sum();
    let batches = Arc::new(batches);
    let ready = match side {
        Side::Ours(store) => Ready::Ours(store),
        Side::Floor(floor) => Ready::Floor(floor.prepare(work, &batches, tasks())),
    };
    let meter = Meter::begin(redis).await?;
    let new = match &ready {
        Ready::Ours(store) => through(store, work, &batches).await?,
        Ready::Floor(prepared) => {
            prepared.run(tasks()).await?;
            ids
        }
    };
    let measured = meter.end(redis).await?;
    Ok(Called {
        ids,
        new,
        ..measured
    })
}

/// Calls `store`. Out: how many ids it answered as new.
async fn through(
    store: &Arc<dyn DedupeStore>,
    work: Work,
    batches: &Arc<Vec<Vec<Subject>>>,
) -> anyhow::Result<u64> {
    let mut running = JoinSet::new();
    for task in 0..tasks() {
        let (store, batches) = (Arc::clone(store), Arc::clone(batches));
        running.spawn(async move {
            let (me, mut new) = (Token::random(), 0);
            for batch in batches.iter().skip(task).step_by(tasks()) {
                new += first(&store, work, me, batch).await?;
                store.complete(batch).await?;
            }
            Ok::<_, StoreError>(new as u64)
        });
    }
    let mut new = 0;
    while let Some(ended) = running.join_next().await {
        new += ended.context("the calls have ended")??;
    }
    Ok(new)
}

/// The first call for a batch. Out: how many of it are new.
async fn first(
    store: &Arc<dyn DedupeStore>,
    work: Work,
    me: Token,
    batch: &[Subject],
) -> Result<usize, StoreError> {
    Ok(match work {
        Work::ClaimComplete => {
            let claims = store.claim(me, batch).await?.into_iter();
            claims.filter(|it| matches!(it, Claim::Granted(_))).count()
        }
        Work::LookupComplete => {
            let found = store.lookup(batch).await?.into_iter();
            found.filter(|it| *it == Lookup::Unknown).count()
        }
    })
}

/// So many ids, and what memory they take: of the Redis, else of this process.
async fn fill(dedupe: &DedupeSettings, wanted: u64) -> anyhow::Result<Called> {
    let watch = Floor::open(dedupe, DESTINATION).await?;
    let redis = watch.as_ref().and_then(Floor::redis);
    let side = Side::Ours(opened(dedupe).await?);
    let mut ids = Ids::new(dedupe, FILL);
    let memory = async || match redis {
        Some(redis) => Ok(redis.memory().await?),
        None => usage::resident(),
    };
    // What the calls themselves need is there before.
    warm_up(&side, Work::LookupComplete, &mut ids, redis).await?;
    let before = memory().await?;
    let mut called = Called::default();
    while called.ids < wanted {
        let mut batches = ids.some();
        let left = usize::try_from((wanted - called.ids).div_ceil(FILL as u64));
        batches.truncate(left.unwrap_or(usize::MAX));
        called.add(stretch(&side, Work::LookupComplete, batches, redis).await?);
    }
    called.bytes = memory().await?.saturating_sub(before);
    match redis {
        Some(_) => leave_nothing(dedupe, side, redis).await?,
        // What lies on the disk is yet to be opened.
        None => closed(side).await?,
    }
    Ok(called)
}

async fn reopen(dedupe: &DedupeSettings) -> anyhow::Result<Called> {
    let meter = Meter::begin(None).await?;
    let store = opened(dedupe).await?;
    let measured = meter.end(None).await?;
    let ids = store.stats().await?.entries;
    leave_nothing(dedupe, Side::Ours(store), None).await?;
    Ok(Called { ids, ..measured })
}

async fn opened(dedupe: &DedupeSettings) -> anyhow::Result<Arc<dyn DedupeStore>> {
    let dedupe = dedupe.clone();
    let store = spawn_blocking(move || open(&dedupe, DESTINATION)).await??;
    store.ready().await?;
    Ok(store)
}

/// Dropping a store may wait for the disk.
async fn closed(side: Side) -> anyhow::Result<()> {
    spawn_blocking(move || drop(side)).await.context("a store")
}

async fn leave_nothing(
    dedupe: &DedupeSettings,
    side: Side,
    redis: Option<&RawRedis>,
) -> anyhow::Result<()> {
    closed(side).await?;
    if let Some(redis) = redis {
        redis.wipe().await?;
    }
    match dedupe.url.strip_prefix("file://").map(Path::new) {
        Some(directory) if directory.exists() => std::fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display())),
        _ => Ok(()),
    }
}

// === impl Ids, Meter, Called ===

impl Ids {
    fn new(dedupe: &DedupeSettings, batch: usize) -> Self {
        Self {
            next: 0,
            shards: u64::from(dedupe.shards.max(1)),
            batch,
            at_once: 2 * tasks(),
        }
    }

    fn some(&mut self) -> Vec<Vec<Subject>> {
        (0..self.at_once).map(|_| self.one()).collect()
    }

    /// Whether there will be more at a time from now on.
    fn take_more(&mut self) -> bool {
        let more = self.at_once * 2 * self.batch <= MOST_AT_ONCE;
        self.at_once *= if more { 2 } else { 1 };
        more
    }

    fn one(&mut self) -> Vec<Subject> {
        let from = self.next;
        self.next += self.batch as u64;
        self.made(from)
    }

    /// The batch that was made last.
    fn last(&self) -> Vec<Subject> {
        self.made(self.next.saturating_sub(self.batch as u64))
    }

    fn made(&self, from: u64) -> Vec<Subject> {
        // The batches take the shards in turn.
        let shard = (from / self.batch as u64) % self.shards;
        (from..from + self.batch as u64)
            .map(|n| subject(n, shard as u32))
            .collect()
    }
}

/// As spread as real ids are, and cheap to make.
fn subject(n: u64, shard: u32) -> Subject {
    let spread = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let low = spread(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut id = [0; 16];
    id[..8].copy_from_slice(&low.to_le_bytes());
    id[8..].copy_from_slice(&spread(low).to_le_bytes());
    Subject {
        id: Id16(id),
        fingerprint: Fingerprint(low),
        shard,
        position: LogPosition {
            partition: i32::try_from(shard).unwrap_or(i32::MAX),
            // As large as those of a log that has run for a while.
            offset: i64::try_from(n)
                .unwrap_or(i64::MAX)
                .saturating_add(1_000_000_000),
        },
    }
}

impl Meter {
    async fn begin(redis: Option<&RawRedis>) -> anyhow::Result<Self> {
        Ok(Self {
            redis: used(redis).await?,
            client: usage::of(std::process::id())?.cpu,
            began: Instant::now(),
        })
    }

    async fn end(self, redis: Option<&RawRedis>) -> anyhow::Result<Called> {
        let seconds = self.began.elapsed().as_secs_f64();
        let client = usage::of(std::process::id())?.cpu;
        let used = used(redis).await?.zip(self.redis);
        Ok(Called {
            seconds,
            client_seconds: client.saturating_sub(self.client).as_secs_f64(),
            redis_seconds: used.map(|(now, before)| now.saturating_sub(before).as_secs_f64()),
            ..Called::default()
        })
    }
}

async fn used(redis: Option<&RawRedis>) -> anyhow::Result<Option<Duration>> {
    match redis {
        Some(redis) => Ok(Some(redis.cpu().await?)),
        None => Ok(None),
    }
}

impl Called {
    fn add(&mut self, more: Self) {
        self.ids += more.ids;
        self.new += more.new;
        self.seconds += more.seconds;
        self.client_seconds += more.client_seconds;
        if let Some(seconds) = more.redis_seconds {
            *self.redis_seconds.get_or_insert_default() += seconds;
        }
    }
}
