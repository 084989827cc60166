//! What `bench dedupe` has found.
//!
//! In: [`Figures`]. Out: a [`Report`], which is what `--output json` prints. Promises: figures are
//! medians of the rounds, and the rounds stand beside them; an id that a store did not answer as
//! new, or did not know when it was opened again, is a complaint, and a bench with a complaint has
//! failed.

use super::{Cost, Figures, Round, Size, Stores, under_way};
use crate::bench::messages::Called;
use crate::bench::report::{median, rounded};
use cloudsync_dedupe::floor::Work;
use serde::Serialize;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kind: &'static str,
    /// Calls under way at a time.
    pub(crate) tasks: usize,
    /// Seconds of a turn, at least.
    pub(crate) turn_seconds: f64,
    pub(crate) costs: Vec<CostReport>,
    pub(crate) memory: Vec<SizeReport>,
    /// Why the bench has failed, if it has.
    pub(crate) complaints: Vec<String>,
}

/// What an id costs in one store.
#[derive(Debug, Serialize)]
pub(crate) struct CostReport {
    pub(crate) store: &'static str,
    /// `claim_complete` or `lookup_complete`.
    pub(crate) work: Work,
    /// Ids of a call.
    pub(crate) batch: usize,
    /// In all rounds.
    pub(crate) ids: u64,
    #[serde(flatten)]
    pub(crate) ours: Cells,
    /// `null`: there is nothing below.
    pub(crate) floor: Option<Cells>,
    /// Ids a second of ours divided by those of the floor: the median of the rounds.
    pub(crate) rate_ratio: Option<f64>,
    pub(crate) rounds: Vec<RoundReport>,
}

/// What the ids of turns came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cells {
    pub(crate) ids_per_second: f64,
    /// Processor time of the process that calls, for each id.
    pub(crate) client_us_per_id: f64,
    /// Processor time of the Redis, for each id.
    pub(crate) redis_us_per_id: Option<f64>,
}

/// One turn of each.
#[derive(Debug, Serialize)]
pub(crate) struct RoundReport {
    pub(crate) ids: u64,
    #[serde(flatten)]
    pub(crate) ours: Cells,
    pub(crate) floor_ids: Option<u64>,
    pub(crate) floor: Option<Cells>,
    pub(crate) rate_ratio: Option<f64>,
}

/// What an id takes in one store.
#[derive(Debug, Serialize)]
pub(crate) struct SizeReport {
    pub(crate) store: &'static str,
    pub(crate) ids: u64,
    /// `used_memory` of the Redis, else resident memory of the process.
    pub(crate) bytes_per_id: f64,
    /// Of a store on disk: until it could be asked.
    pub(crate) open_seconds: Option<f64>,
    /// Processor time of that.
    pub(crate) open_cpu_seconds: Option<f64>,
}

// === impl Report ===

impl Report {
    /// Puts `figures` together.
    pub(crate) fn of(stores: &Stores<'_>, figures: &Figures) -> Self {
        Self {
            kind: "dedupe",
            tasks: under_way(),
            turn_seconds: rounded(stores.seconds),
            costs: figures.costs.iter().map(CostReport::of).collect(),
            memory: figures.sizes.iter().map(SizeReport::of).collect(),
            complaints: complaints(figures),
        }
    }
}

fn complaints(figures: &Figures) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut count = |what: String, ids: u64, found: u64| {
        if ids != found {
            complaints.push(format!("{what}: {found} of {ids} ids"));
        }
    };
    for cost in &figures.costs {
        let (ids, new) = cost.rounds.iter().fold((0, 0), |(ids, new), round| {
            (ids + round.ours.ids, new + round.ours.new)
        });
        let (store, batch) = (cost.store.name(), cost.batch);
        count(
            format!("{store}, {batch} a call, answered as new"),
            ids,
            new,
        );
    }
    for size in &figures.sizes {
        let (store, filled) = (size.store.name(), size.filled);
        count(
            format!("{store}, filled, answered as new"),
            filled.ids,
            filled.new,
        );
        if let Some(opened) = size.opened {
            // The warm-up's are there as well.
            let known = opened.ids.min(filled.ids);
            count(
                format!("{store}, known when opened again"),
                filled.ids,
                known,
            );
        }
    }
    complaints
}

impl CostReport {
    fn of(cost: &Cost) -> Self {
        let rounds: Vec<_> = cost.rounds.iter().map(RoundReport::of).collect();
        let floors: Vec<_> = rounds.iter().filter_map(|round| round.floor).collect();
        let ratios: Vec<_> = rounds.iter().filter_map(|round| round.rate_ratio).collect();
        let ours: Vec<_> = rounds.iter().map(|round| round.ours).collect();
        Self {
            store: cost.store.name(),
            work: cost.work,
            batch: cost.batch,
            ids: rounds.iter().map(|round| round.ids).sum(),
            ours: Cells::middle(&ours),
            floor: (!floors.is_empty()).then(|| Cells::middle(&floors)),
            rate_ratio: (!ratios.is_empty()).then(|| rounded(median(ratios))),
            rounds,
        }
    }
}

impl RoundReport {
    fn of(round: &Round) -> Self {
        let (ours, floor) = (Cells::of(&round.ours), round.floor.as_ref().map(Cells::of));
        let ratio = floor.filter(|floor| floor.ids_per_second > 0.0);
        Self {
            ids: round.ours.ids,
            ours,
            floor_ids: round.floor.map(|floor| floor.ids),
            floor,
            rate_ratio: ratio.map(|floor| rounded(ours.ids_per_second / floor.ids_per_second)),
        }
    }
}

impl Cells {
    fn of(called: &Called) -> Self {
        let ids = called.ids.max(1) as f64;
        let micros = |seconds: f64| rounded(seconds * 1e6 / ids);
        let rate = called.ids as f64 / called.seconds;
        Self {
            ids_per_second: if rate.is_finite() { rate.round() } else { 0.0 },
            client_us_per_id: micros(called.client_seconds),
            redis_us_per_id: called.redis_seconds.map(micros),
        }
    }

    /// The median of each.
    fn middle(rounds: &[Self]) -> Self {
        let of = |cell: fn(&Self) -> f64| rounded(median(rounds.iter().map(cell).collect()));
        let redis: Vec<_> = rounds.iter().filter_map(|it| it.redis_us_per_id).collect();
        Self {
            ids_per_second: of(|it| it.ids_per_second),
            client_us_per_id: of(|it| it.client_us_per_id),
            redis_us_per_id: (!redis.is_empty()).then(|| rounded(median(redis))),
        }
    }
}

impl SizeReport {
    fn of(size: &Size) -> Self {
        let filled = &size.filled;
        let bytes = filled.bytes as f64 / filled.ids.max(1) as f64;
        Self {
            store: size.store.name(),
            ids: filled.ids,
            bytes_per_id: (bytes * 10.0).round() / 10.0,
            open_seconds: size.opened.map(|it| rounded(it.seconds)),
            open_cpu_seconds: size.opened.map(|it| rounded(it.client_seconds)),
        }
    }
}
