//! `bench pipeline --dedupe all`: the same load with each dedupe store, and what each one costs.
//!
//! In: a plan, whose store is left open, and how one pipeline is measured. Out: a [`Report`] with a row a store.
//! Promises: the stores take turns, round by round, each on a log and with processes of its own;
//! figures are medians of the rounds; what is wrong in any of them is wrong in all.

pub(crate) mod table;

use super::plan::Plan;
use super::report::{self, median, rounded};
use crate::args::BenchDedupe;
use crate::failure::Failure;
use crate::say;
use serde::Serialize;

/// `None` is no dedupe at all, which the others are held against.
const STORES: [Option<BenchDedupe>; 5] = [
    None,
    Some(BenchDedupe::Memory),
    Some(BenchDedupe::Embedded),
    Some(BenchDedupe::Buckets),
    Some(BenchDedupe::Keys),
];
/// What a Redis is called among the processes.
const REDIS: &str = "redis";

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kind: &'static str,
    payload_bytes: usize,
    batch: usize,
    connections: usize,
    /// Records a second that were asked for.
    rate: Option<f64>,
    /// Seconds of load of each store in each round.
    seconds: f64,
    stores: Vec<StoreReport>,
    /// Why the bench has failed, if it has.
    pub(crate) complaints: Vec<String>,
}

/// The pipeline with one store: medians of the rounds. Processor time is for each record.
#[derive(Debug, Serialize)]
struct StoreReport {
    dedupe: &'static str,
    records_per_second: f64,
    /// Divided by the records/s without dedupe: the median of the rounds.
    rate_of_off: f64,
    /// Both consumers together.
    consumers_us: f64,
    /// `null`: there is no Redis.
    redis_us: Option<f64>,
    /// Every process, the clients and the log as well.
    all_us: f64,
    /// What of that is more than without dedupe: the median of the rounds.
    dedupe_us: f64,
    ack_p99_ms: f64,
    lost: u64,
    doubled: u64,
    rounds: Vec<report::Report>,
}

/// Measures every store in turns; `measure` does one pipeline.
///
/// # Errors
/// [`Failure`], of the first that cannot be measured.
pub(crate) async fn measure(
    plan: &Plan,
    mut measure: impl AsyncFnMut(&Plan) -> Result<report::Report, Failure>,
) -> Result<Report, Failure> {
    let mut measured: Vec<Vec<report::Report>> = STORES.map(|_| Vec::new()).into();
    for number in 1..=plan.rounds {
        for (store, reports) in STORES.into_iter().zip(&mut measured) {
            let name = name(store);
            say::note(format_args!("{name}, turn {number} of {}", plan.rounds));
            let one = Plan {
                dedupe: store,
                rounds: 1,
                ..plan.clone()
            };
            reports.push(measure(&one).await?);
        }
    }
    Ok(Report::of(plan, measured))
}

fn name(store: Option<BenchDedupe>) -> &'static str {
    store.map_or("off", BenchDedupe::name)
}

// === impl Report, StoreReport ===

impl Report {
    fn of(plan: &Plan, measured: Vec<Vec<report::Report>>) -> Self {
        let off = measured.first().map(|reports| Turns::of(reports));
        let off = off.unwrap_or_default();
        let mut complaints = Vec::new();
        for (store, reports) in STORES.into_iter().zip(&measured) {
            let all = reports.iter().flat_map(|it| &it.complaints);
            complaints.extend(all.map(|why| format!("{}: {why}", name(store))));
        }
        let stores = STORES.into_iter().zip(measured);
        Self {
            kind: plan.kind.name(),
            payload_bytes: plan.payload_bytes,
            batch: plan.batch,
            connections: plan.connections,
            rate: plan.rate,
            seconds: plan.seconds,
            stores: stores
                .map(|(store, reports)| StoreReport::of(name(store), reports, &off))
                .collect(),
            complaints,
        }
    }
}

/// A figure of each turn of a store.
#[derive(Default)]
struct Turns {
    rates: Vec<f64>,
    all: Vec<f64>,
}

impl Turns {
    fn of(reports: &[report::Report]) -> Self {
        Self {
            rates: reports.iter().map(|it| it.records_per_second).collect(),
            all: reports.iter().map(|it| micros(it, |_| true)).collect(),
        }
    }
}

impl StoreReport {
    fn of(dedupe: &'static str, reports: Vec<report::Report>, off: &Turns) -> Self {
        let turns = Turns::of(&reports);
        let of = |figure: &dyn Fn(&report::Report) -> f64| {
            rounded(median(reports.iter().map(figure).collect()))
        };
        let beside = |ours: &[f64], off: &[f64], compare: fn(f64, f64) -> f64| {
            let pairs = ours.iter().zip(off);
            rounded(median(pairs.map(|(a, b)| compare(*a, *b)).collect()))
        };
        let has_redis = reports
            .iter()
            .any(|it| it.roles.iter().any(|role| role.name == REDIS));
        let redis = of(&|it| micros(it, |name| name == REDIS));
        Self {
            dedupe,
            records_per_second: of(&|it| it.records_per_second).round(),
            rate_of_off: beside(&turns.rates, &off.rates, report::ratio),
            consumers_us: of(&|it| micros(it, |name| it.arrived.iter().any(|at| at.place == name))),
            redis_us: has_redis.then_some(redis),
            all_us: of(&|it| micros(it, |_| true)),
            dedupe_us: beside(&turns.all, &off.all, |ours, off| ours - off),
            ack_p99_ms: of(&|it| it.ack_ms.map_or(0.0, |ack| ack.p99)),
            lost: reports.iter().map(|it| it.lost).sum(),
            doubled: reports.iter().map(|it| it.doubled).sum(),
            rounds: reports,
        }
    }
}

/// Processor microseconds a record of the roles that `of` picks.
fn micros(report: &report::Report, of: impl Fn(&str) -> bool) -> f64 {
    let picked = report.roles.iter().filter(|role| of(&role.name));
    picked.map(|role| role.cpu_us_per_record).sum()
}
