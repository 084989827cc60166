//! What befalls a request, by seed.
//!
//! It follows from the seed, from what the request is (its method, path and `Idempotency-Key`) and
//! from how often it came before: the same in every run, in whatever order requests come.

use super::plan::{Fault, Latency, Plan};
use hyper::Request;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;
use std::f64::consts::TAU;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Requests that are told apart; with more it forgets how often each came.
const REMEMBERED: usize = 1 << 20;
/// Longest that one is late.
const LATEST: Duration = Duration::from_secs(60);
/// The 99th percentile of the normal distribution.
const P99: f64 = 2.326_347_9;

/// Chooses.
#[derive(Debug)]
pub(super) struct Chooser {
    plan: Plan,
    seed: u64,
    came: Mutex<HashMap<u64, u32>>,
}

/// What befalls a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) fault: Option<Fault>,
    /// Done so much later.
    pub(super) late: Option<Duration>,
    /// Of two ways of the same fault, the other.
    pub(super) other: bool,
}

// === impl Chooser ===

impl Chooser {
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            seed,
            came: Mutex::default(),
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What befalls `request` this time.
    pub(super) fn choose<B>(&self, request: &Request<B>) -> Fate {
        let header = |name: &str| request.headers().get(name).map(|value| value.as_bytes());
        if let Some(only) = &self.plan.only
            && header(&only.header) != Some(only.value.as_bytes())
        {
            return Fate::default();
        }
        let path = request.uri().path_and_query().map_or("", |it| it.as_str());
        let mut what = format!("{} {path} ", request.method()).into_bytes();
        what.extend_from_slice(header("idempotency-key").unwrap_or_default());
        let what = xxh3_64_with_seed(&what, self.seed);
        let before = self.came_before(what);
        let mut random = StdRng::seed_from_u64(what ^ u64::from(before).rotate_left(40));
        let fault = self.fault(random.random());
        let late = self.plan.latency.map(|latency| later(latency, &mut random));
        let other = random.random();
        Fate { fault, late, other }
    }

    fn came_before(&self, what: u64) -> u32 {
        let mut came = self.came.lock();
        if came.len() >= REMEMBERED {
            came.clear();
        }
        let times = came.entry(what).or_default();
        *times += 1;
        *times - 1
    }

    fn fault(&self, mut roll: f64) -> Option<Fault> {
        for (fault, share) in &self.plan.shares {
            if roll < *share {
                return Some(*fault);
            }
            roll -= share;
        }
        None
    }
}

fn later(latency: Latency, random: &mut StdRng) -> Duration {
    let median = latency.median.as_secs_f64().max(1e-6);
    let sigma = (latency.p99.as_secs_f64() / median).max(1.0).ln() / P99;
    // Box and Muller; the first number is never 0.
    let (one, two): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    let normal = (-2.0 * one.ln()).sqrt() * (TAU * two).cos();
    let seconds = median * (sigma * normal).exp();
    Duration::from_secs_f64(seconds.min(LATEST.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(plan: &Plan, seed: u64) -> Vec<Fate> {
        let chooser = Chooser::new(plan.clone(), seed);
        let request = |n| {
            let request = Request::builder().method("PUT").uri(format!("/bucket/{n}"));
            request.body(()).unwrap()
        };
        (0..10_000)
            .map(|n| chooser.choose(&request(n % 5_000)))
            .collect()
    }

    #[test]
    fn shares_and_latency_are_as_planned_and_the_same_for_a_seed() {
        let ms = Duration::from_millis;
        let plan = Plan {
            latency: Some(Latency {
                median: ms(10),
                p99: ms(100),
            }),
            ..Plan::of([(Fault::Broken, 0.2), (Fault::Throttle, 0.02)])
        };
        let chosen = fates(&plan, 7);
        assert_eq!(chosen, fates(&plan, 7));
        assert_ne!(chosen, fates(&plan, 8));
        assert_ne!(
            chosen[..5_000],
            chosen[5_000..],
            "not the same again in a retry"
        );
        let share = |fault| {
            let those = chosen.iter().filter(|fate| fate.fault == Some(fault));
            those.count() as f64 / chosen.len() as f64
        };
        assert!((0.18..0.22).contains(&share(Fault::Broken)));
        assert!((0.013..0.027).contains(&share(Fault::Throttle)));
        let mut late: Vec<_> = chosen.iter().filter_map(|fate| fate.late).collect();
        late.sort_unstable();
        assert!((ms(8)..ms(12)).contains(&late[5_000]), "{:?}", late[5_000]);
        assert!(
            (ms(80)..ms(125)).contains(&late[9_900]),
            "{:?}",
            late[9_900]
        );
    }
}
