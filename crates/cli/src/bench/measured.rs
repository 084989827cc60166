//! How long acknowledgements took, and how many there were over time.
//!
//! In: acknowledgements, each with the time since its record was due. Out: percentiles of all of
//! them, and a [`Point`] for each stretch of the run. Promises: memory does not grow with the
//! records. A record that was sent late counts from the moment when it was due, so a stall is
//! seen by all that it held up.

use super::messages::Point;
use anyhow::Context;
use hdrhistogram::Histogram;
use std::time::Duration;
use tokio::time::Instant;

/// Stretches of a run.
const STRETCHES: f64 = 100.0;
/// The shortest of them.
const SHORTEST: f64 = 0.1;
/// Longest time that is told from longer ones, in microseconds.
const LONGEST: u64 = 600_000_000;

/// What a run has measured so far.
pub(crate) struct Measured {
    began: Instant,
    width: f64,
    all: Latencies,
    stretch: Latencies,
    /// Which stretch is being measured.
    index: u64,
    points: Vec<Point>,
}

/// Times until acknowledgement.
pub(crate) struct Latencies(Histogram<u64>);

// === impl Measured ===

impl Measured {
    /// A run of `seconds` that begins at `began`.
    ///
    /// # Errors
    /// Never, unless the bounds above are none.
    pub(crate) fn new(began: Instant, seconds: f64) -> anyhow::Result<Self> {
        Ok(Self {
            began,
            width: (seconds / STRETCHES).max(SHORTEST),
            all: Latencies::new()?,
            stretch: Latencies::new()?,
            index: 0,
            points: Vec::new(),
        })
    }

    /// Records that were due at `due` have been acknowledged at `now`.
    pub(crate) fn acked(&mut self, now: Instant, due: impl Iterator<Item = Instant>) {
        let since = now.saturating_duration_since(self.began).as_secs_f64();
        let index = (since / self.width) as u64;
        // A stretch in which nothing came is a point as well.
        while self.index < index {
            self.end_stretch();
            self.index += 1;
        }
        for due in due {
            let took = now.saturating_duration_since(due);
            self.all.record(took);
            self.stretch.record(took);
        }
    }

    /// Microseconds and how often, and the points.
    pub(crate) fn end(mut self) -> (Vec<(u64, u64)>, Vec<Point>) {
        self.end_stretch();
        (self.all.to_pairs(), self.points)
    }

    fn end_stretch(&mut self) {
        self.points.push(Point {
            seconds: (self.index + 1) as f64 * self.width,
            per_second: self.stretch.count() as f64 / self.width,
            p50_ms: self.stretch.ms(0.5),
            p99_ms: self.stretch.ms(0.99),
        });
        self.stretch.0.reset();
    }
}

// === impl Latencies ===

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never, unless the bounds above are none.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        Ok(Self(histogram.context("no histogram with these bounds")?))
    }

    fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    /// Adds what [`Measured::end`] gave.
    pub(crate) fn add(&mut self, pairs: &[(u64, u64)]) {
        for (micros, count) in pairs {
            self.0.saturating_record_n(*micros, *count);
        }
    }

    fn to_pairs(&self) -> Vec<(u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect()
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time within which `share` (0 to 1) of them came, in milliseconds.
    pub(crate) fn ms(&self, share: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.value_at_quantile(share) as f64 / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_survive_the_way_to_another_process_and_stretches_add_up() {
        let began = Instant::now();
        let mut measured = Measured::new(began, 10.0).unwrap();
        let ms = Duration::from_millis;
        for number in 0..1_000u64 {
            let now = began + ms(number * 5);
            let due = now.checked_sub(ms(1 + number % 100)).unwrap();
            measured.acked(now, std::iter::once(due));
        }
        let (pairs, points) = measured.end();
        let mut all = Latencies::new().unwrap();
        all.add(&pairs);
        assert_eq!(all.count(), 1_000);
        assert!((49.0..52.0).contains(&all.ms(0.5)), "{}", all.ms(0.5));
        assert!((98.0..101.0).contains(&all.ms(0.99)), "{}", all.ms(0.99));
        let counted: f64 = points.iter().map(|point| point.per_second * 0.1).sum();
        assert!((counted - 1_000.0).abs() < 0.5, "{counted}");
        assert_eq!(points.len(), 50);
    }

    /// One stall of a second at 1,000 records a second delays the thousand that were due in it.
    #[test]
    fn a_stall_is_seen_by_all_that_it_held_up() {
        let began = Instant::now();
        let mut measured = Measured::new(began, 2.0).unwrap();
        let now = began + Duration::from_secs(1);
        measured.acked(now, (0..1_000).map(|n| began + Duration::from_millis(n)));
        let (pairs, _) = measured.end();
        let mut all = Latencies::new().unwrap();
        all.add(&pairs);
        assert!((490.0..510.0).contains(&all.ms(0.5)), "{}", all.ms(0.5));
    }
}
