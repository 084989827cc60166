//! The store's own time: how old a mark is, across restarts and whatever the wall clock does.
//!
//! In: the wall clock, the time since the store was opened, and the moments that its files tell.
//! Out: [`Moment`]s. Promises: while the store is open its time goes with the monotonic clock,
//! and the wall clock may do what it likes. Over a restart it goes on by what the wall clock says
//! has passed, by the block that says least, and never to before the newest block. So a wall
//! clock that stepped back, once or for a while, makes no mark look older than it is; and however
//! wrong it is, marks age while the store is open, so none is kept for ever. What cannot be told
//! from a long pause is a wall clock that stepped forward between two runs: then marks are
//! forgotten early.

use crate::tables::micros;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// One moment, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// By the store's own, in microseconds.
    pub(super) time: u64,
    /// By the wall clock, in milliseconds since 1970.
    pub(super) wall: u64,
}

/// Gathers the moments of what was written, in order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    newest: u64,
    /// The least of what was added to the wall clock to get the store's time, in microseconds.
    least: Option<i128>,
}

pub(super) struct Clock {
    opened: Instant,
    /// The store's time when it was opened.
    began: u64,
    wall: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

// === impl Past ===

impl Past {
    pub(super) fn add(&mut self, at: Moment) {
        self.newest = self.newest.max(at.time);
        let difference = i128::from(at.time) - in_micros(at.wall);
        self.least = Some(self.least.map_or(difference, |least| least.min(difference)));
    }

    /// The newest moment that was written, by the store's time.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The store's time when the wall clock says `wall`.
    pub(super) fn go_on(&self, wall: u64) -> u64 {
        let told = self.least.map_or(0, |least| least + in_micros(wall));
        u64::try_from(told).unwrap_or(0).max(self.newest)
    }
}

// === impl Clock ===

impl Clock {
    pub(super) fn new(past: &Past, wall: Box<dyn Fn() -> SystemTime + Send + Sync>) -> Self {
        Self {
            opened: Instant::now(),
            began: past.go_on(millis(wall())),
            wall,
        }
    }

    /// The store's time.
    pub(super) fn time(&self) -> u64 {
        self.began.saturating_add(micros(self.opened.elapsed()))
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            time: self.time(),
            wall: millis((self.wall)()),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock")
            .field(&Duration::from_micros(self.time()))
            .finish()
    }
}

fn in_micros(wall: u64) -> i128 {
    i128::from(wall) * 1_000
}

/// Before 1970 it is 1970.
fn millis(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000;

    /// A run writes blocks at these distances and is then closed for so long; in ms.
    #[derive(Clone, Debug)]
    struct Run {
        blocks: Vec<u64>,
        closed: u64,
        /// What the wall clock is wrong by during the run.
        error: i64,
    }

    fn runs(error: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<Run>> {
        let run = (prop::collection::vec(0..DAY, 0..4), 0..3 * DAY, error);
        let run = run.prop_map(|(blocks, closed, error)| Run {
            blocks,
            closed,
            error,
        });
        prop::collection::vec(run, 1..8)
    }

    /// Plays the runs. Out: for each opening what the store's time has done since the first block,
    /// beside what has truly passed, and what was spent open up to the newest block; in µs.
    fn play(runs: &[Run]) -> Vec<(u64, u64, u64)> {
        const START: u64 = 1_000_000 * DAY;
        let (mut past, mut truth, mut open) = (Past::default(), 0, 0);
        let mut first = None;
        let mut seen = Vec::new();
        for run in runs {
            let wall = |truth: u64| (START + truth).saturating_add_signed(run.error);
            let mut time = past.go_on(wall(truth));
            if let Some((first_time, first_truth)) = first {
                seen.push((
                    time - first_time,
                    (truth - first_truth) * 1_000,
                    open * 1_000,
                ));
            }
            for distance in &run.blocks {
                truth += distance;
                time += distance * 1_000;
                if first.is_some() {
                    open += distance;
                }
                first.get_or_insert((time, truth));
                past.add(Moment {
                    time,
                    wall: wall(truth),
                });
            }
            truth += run.closed;
        }
        seen
    }

    proptest! {
        #[test]
        fn with_a_clock_that_is_right_ages_are_right(runs in runs(Just(0))) {
            for (age, truth, _) in play(&runs) {
                prop_assert_eq!(age, truth);
            }
        }

        #[test]
        fn a_clock_that_steps_back_makes_nothing_older(
            runs in runs(-40_000_000_000..0i64), again in 0usize..8
        ) {
            let mut runs = runs;
            // It was right at first, and may be again.
            runs[0].error = 0;
            if runs[0].blocks.is_empty() {
                runs[0].blocks.push(0);
            }
            if let Some(run) = runs.get_mut(again) {
                run.error = 0;
            }
            for (age, truth, _) in play(&runs) {
                prop_assert!(age <= truth, "{} > {}", age, truth);
            }
        }

        #[test]
        fn whatever_the_clock_does_time_goes_on_while_the_store_is_open(
            runs in runs(-40_000_000_000_000..40_000_000_000_000i64)
        ) {
            for (age, _, open) in play(&runs) {
                prop_assert!(age >= open, "{} < {}", age, open);
            }
        }
    }
}
