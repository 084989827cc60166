//! `bench dedupe`: what an id costs in each dedupe store, and how much memory it takes.
//!
//! In: what was typed, and the settings. Out: [`Figures`], which [`report`] puts together and
//! [`table`] writes down. Promises: a store and its floor take their turns right after each other,
//! in rounds through all of them; each store's calls come from a process of their own; a Redis that
//! is not the bench's own is left as it was, also when the bench is interrupted.

pub(crate) mod report;
pub(crate) mod table;

use super::crew::{Crew, Role};
use super::messages::{Called, Job, Question, Turn};
use super::role::store::{DESTINATION, tasks};
use crate::args::{BenchDedupe, BenchDedupeArgs};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, file_url};
use anyhow::Context;
use cloudsync_dedupe::DedupeSettings;
use cloudsync_dedupe::floor::{Floor, Work};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// All stores, in the order of the table.
const STORES: [BenchDedupe; 4] = [
    BenchDedupe::Memory,
    BenchDedupe::Embedded,
    BenchDedupe::Buckets,
    BenchDedupe::Keys,
];
const WORKS: [Work; 2] = [Work::ClaimComplete, Work::LookupComplete];
/// How long a Redis may take for an answer: a busy machine is slow, and no call is to fail for it.
const ANSWER: Duration = Duration::from_secs(60);
/// When a turn is given up that should be over.
const PATIENCE: Duration = Duration::from_secs(120);
/// Least ids a second at which a store is filled, or it is given up.
const LEAST_PER_SECOND: u64 = 2_000;

/// Where and what is measured.
pub(crate) struct Stores<'a> {
    directory: &'a Path,
    dedupe: DedupeSettings,
    pub(crate) stores: Vec<BenchDedupe>,
    pub(crate) batches: Vec<usize>,
    pub(crate) rounds: u32,
    /// Seconds of a turn.
    pub(crate) seconds: f64,
    /// Ids that memory is measured with.
    sizes: Vec<u64>,
    /// The Redis is somebody's.
    theirs: bool,
}

/// What was read off.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) costs: Vec<Cost>,
    pub(crate) sizes: Vec<Size>,
}

/// One store, one kind of work, one size of calls.
#[derive(Debug)]
pub(crate) struct Cost {
    pub(crate) store: BenchDedupe,
    pub(crate) work: Work,
    pub(crate) batch: usize,
    pub(crate) rounds: Vec<Round>,
}

/// A turn of the store, and one of its floor if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) ours: Called,
    pub(crate) floor: Option<Called>,
}

/// What ids of a store take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) store: BenchDedupe,
    pub(crate) filled: Called,
    /// Of a store on disk: how it was opened.
    pub(crate) opened: Option<Called>,
}

// === impl Stores ===

impl<'a> Stores<'a> {
    /// What `args` ask for, below `directory`.
    ///
    /// # Errors
    /// [`Failure::Usage`], for a `--redis` that is none.
    pub(crate) fn of(
        args: &BenchDedupeArgs,
        settings: Settings,
        directory: &'a Path,
    ) -> Result<Self, Failure> {
        let mut dedupe = settings.dedupe;
        // A name that nobody has.
        dedupe.namespace = format!("bench-{}", Uuid::now_v7().simple());
        dedupe.redis_response_timeout = ANSWER;
        match &args.redis {
            Some(url) => {
                dedupe.url.clone_from(url);
                let known = cloudsync_dedupe::settings::check(&dedupe);
                known.map_err(|error| Failure::usage(format!("--redis: {error}")))?;
                if !cloudsync_dedupe::settings::is_shared(url) {
                    return Err(Failure::usage(
                        "--redis: it must begin with redis:// or rediss://",
                    ));
                }
            }
            // It is nobody else's, and has no users.
            None => (dedupe.redis_user, dedupe.redis_password) = (None, None),
        }
        let mut stores = Self {
            directory,
            dedupe,
            stores: chosen(args),
            batches: args.batch.iter().map(|batch| *batch as usize).collect(),
            rounds: args.rounds,
            seconds: 0.0,
            sizes: args.ids.clone(),
            theirs: args.redis.is_some(),
        };
        let turns = stores
            .stores
            .iter()
            .map(|store| if has_floor(*store) { 2 } else { 1 });
        let turns = turns.sum::<usize>() * WORKS.len() * stores.batches.len();
        stores.seconds = f64::from(args.seconds) / f64::from(args.rounds) / turns.max(1) as f64;
        Ok(stores)
    }

    /// Measures, with processes of `crew`.
    ///
    /// # Errors
    /// When one of them does not do what it was asked.
    pub(crate) async fn measure(&mut self, crew: &mut Crew) -> anyhow::Result<Figures> {
        let _redis = self.redis(crew).await?;
        let mut figures = Figures::default();
        self.costs(crew, &mut figures).await?;
        for ids in self.sizes.clone() {
            say::note(format_args!("filling with {ids} ids"));
            for store in self.stores.clone() {
                figures.sizes.push(self.size(crew, store, ids).await?);
            }
        }
        Ok(figures)
    }

    /// Takes away what was left on a Redis that is not the bench's own. The crew must have ended.
    ///
    /// # Errors
    /// When the Redis cannot be told.
    pub(crate) async fn leave_nothing(&self) -> anyhow::Result<()> {
        if !self.theirs {
            return Ok(());
        }
        for store in self.stores.iter().filter(|store| store.layout().is_some()) {
            let floor = Floor::open(&self.settings(*store, None), DESTINATION).await?;
            if let Some(redis) = floor.as_ref().and_then(Floor::redis) {
                redis.wipe().await?;
            }
        }
        Ok(())
    }

    /// Starts the bench's own Redis, if one is needed.
    async fn redis(&mut self, crew: &mut Crew) -> anyhow::Result<Option<Role>> {
        if self.theirs || self.stores.iter().all(|store| store.layout().is_none()) {
            return Ok(None);
        }
        let directory = self.directory.join("redis");
        let redis = crew.start("redis", &Job::Redis { directory }).await?;
        self.dedupe.url = format!("redis://{}/0", redis.address()?);
        Ok(Some(redis))
    }

    async fn costs(&self, crew: &mut Crew, figures: &mut Figures) -> anyhow::Result<()> {
        let mut clients = Vec::new();
        for store in &self.stores {
            clients.push((*store, self.client(crew, *store, None).await?));
        }
        for number in 1..=self.rounds {
            say::note(format_args!("round {number} of {}", self.rounds));
            for (store, client) in &mut clients {
                for work in WORKS {
                    for batch in &self.batches {
                        let round = self.round(*store, client, work, *batch).await?;
                        figures.add(*store, work, *batch, round);
                    }
                }
            }
        }
        Ok(())
    }

    async fn round(
        &self,
        store: BenchDedupe,
        client: &mut Role,
        work: Work,
        batch: usize,
    ) -> anyhow::Result<Round> {
        let turn = |floor| {
            Question::Turn(Turn {
                work,
                batch,
                seconds: self.seconds,
                floor,
            })
        };
        let limit = PATIENCE + Duration::from_secs_f64(self.seconds * 3.0);
        let ours = client.call(&turn(false), limit).await?;
        let floor = match has_floor(store) {
            true => Some(client.call(&turn(true), limit).await?),
            false => None,
        };
        Ok(Round { ours, floor })
    }

    /// In processes of their own, so that nothing of what came before is measured.
    async fn size(&self, crew: &mut Crew, store: BenchDedupe, ids: u64) -> anyhow::Result<Size> {
        let limit = PATIENCE + Duration::from_secs(ids / LEAST_PER_SECOND);
        let mut client = self.client(crew, store, Some(ids)).await?;
        let filled = client.call(&Question::Fill { ids }, limit).await?;
        // It must have let go of the files.
        drop(client);
        let opened = match store {
            BenchDedupe::Embedded => {
                let mut client = self.client(crew, store, Some(ids)).await?;
                Some(client.call(&Question::Open, limit).await?)
            }
            _ => None,
        };
        Ok(Size {
            store,
            filled,
            opened,
        })
    }

    /// A process that calls `store`, which has room for so many ids, or as the settings say.
    async fn client(
        &self,
        crew: &mut Crew,
        store: BenchDedupe,
        room: Option<u64>,
    ) -> anyhow::Result<Role> {
        let dedupe = Box::new(self.settings(store, room));
        let started = crew.start(store.name(), &Job::Store { dedupe }).await;
        started.with_context(|| format!("the store {}", store.name()))
    }

    fn settings(&self, store: BenchDedupe, room: Option<u64>) -> DedupeSettings {
        let mut dedupe = self.dedupe.clone();
        match store {
            BenchDedupe::Memory => "memory:".clone_into(&mut dedupe.url),
            BenchDedupe::Embedded => dedupe.url = file_url(&self.directory.join("embedded")),
            BenchDedupe::Buckets | BenchDedupe::Keys => {}
        }
        if let Some(layout) = store.layout() {
            dedupe.layout = layout;
            // Two layouts never share a namespace.
            dedupe.namespace = format!("{}-{}", dedupe.namespace, store.name());
        }
        if let Some(ids) = room {
            // The ids of the warm-up, and what one part of a table has more than another.
            dedupe.max_entries = ids + ids / 8 + (1 << 18);
            dedupe.max_memory = None;
        }
        dedupe
    }
}

/// The stores that were asked for; without a Redis at hand those that need none.
fn chosen(args: &BenchDedupeArgs) -> Vec<BenchDedupe> {
    if !args.stores.is_empty() {
        return args.stores.clone();
    }
    let at_hand = args.redis.is_some() || redis_server().is_some();
    if !at_hand {
        say::note(
            "redis-server is not on PATH, so what is in Redis is left out; install it \
             (apt install redis-server), or name one with --redis URL",
        );
    }
    let wanted = |store: &BenchDedupe| at_hand || store.layout().is_none();
    STORES.into_iter().filter(wanted).collect()
}

fn redis_server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|place| place.join("redis-server"));
    places.find(|place| place.is_file())
}

/// Below a table in memory there is nothing.
fn has_floor(store: BenchDedupe) -> bool {
    store != BenchDedupe::Memory
}

/// How many calls are under way at a time.
pub(crate) fn under_way() -> usize {
    tasks()
}

// === impl Figures ===

impl Figures {
    fn add(&mut self, store: BenchDedupe, work: Work, batch: usize, round: Round) {
        let same = |it: &&mut Cost| it.store == store && it.work == work && it.batch == batch;
        match self.costs.iter_mut().find(same) {
            Some(cost) => cost.rounds.push(round),
            None => self.costs.push(Cost {
                store,
                work,
                batch,
                rounds: vec![round],
            }),
        }
    }
}
