//! When a sender sends: at once, or on a schedule (no I/O but waiting).
//!
//! In: the number of a sender's record. Out: when it is due. Promises: with a rate, the moment
//! depends on nothing but the number: a sender that was held up catches up, and its records count
//! from when they were due. It ends by itself.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a schedule that is behind may go on after its end.
const LATE: Duration = Duration::from_secs(10);

/// The schedule of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began: Instant,
    until: Instant,
    /// Records a second, over all senders.
    rate: Option<f64>,
    senders: f64,
}

/// One sender's part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pace: Pace,
    sender: f64,
    most: u64,
}

// === impl Pace, Turn ===

impl Pace {
    /// A run of `seconds` from `began` on, with `rate` records a second over all `senders`.
    pub(super) fn new(began: Instant, seconds: f64, rate: Option<f64>, senders: usize) -> Self {
        Self {
            began,
            until: began + Duration::from_secs_f64(seconds),
            rate,
            senders: senders as f64,
        }
    }
}

impl Turn {
    /// Sender number `sender`, which sends `most` records at most.
    pub(super) fn new(pace: Pace, sender: usize, most: u64) -> Self {
        Self {
            pace,
            sender: sender as f64,
            most,
        }
    }

    /// Waits until record `number` of this sender is due, and says when that was; `None`: the run
    /// is over.
    pub(super) async fn wait(&self, number: u64) -> Option<Instant> {
        let now = Instant::now();
        if number >= self.most {
            return None;
        }
        let Some(due) = self.due(number) else {
            return (now < self.pace.until).then_some(now);
        };
        if due >= self.pace.until || now >= self.pace.until + LATE {
            return None;
        }
        if due > now {
            sleep_until(due).await;
        }
        Some(due)
    }

    /// How many records from `number` on were due before the end, and cannot be sent any more.
    pub(super) fn unsent(&self, number: u64) -> u64 {
        let Some(rate) = self.pace.rate else {
            return 0;
        };
        let seconds = (self.pace.until - self.pace.began).as_secs_f64();
        let about = seconds.mul_add(rate, -self.sender) / self.pace.senders;
        // Give or take one, by rounding: the schedule itself decides.
        let last = (about as u64).saturating_add(2);
        let is_due = |number: &u64| self.due(*number).is_some_and(|due| due < self.pace.until);
        let due = (last.saturating_sub(4)..=last).rev().find(is_due);
        let due = due.map_or(0, |number| number + 1);
        due.min(self.most).saturating_sub(number)
    }

    /// When record `number` of this sender is due, if there is a schedule.
    fn due(&self, number: u64) -> Option<Instant> {
        let rate = self.pace.rate?;
        let place = (number as f64).mul_add(self.pace.senders, self.sender);
        Some(self.pace.began + Duration::from_secs_f64(place / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_all_senders_are_spread_evenly() {
        let began = Instant::now();
        let pace = Pace::new(began, 1.0, Some(1_000.0), 4);
        let mut due: Vec<_> = (0..4)
            .flat_map(|sender| {
                let turn = Turn::new(pace, sender, 250);
                (0..250).map(move |number| turn.due(number).unwrap())
            })
            .collect();
        due.sort_unstable();
        for (place, due) in due.iter().enumerate() {
            let wanted = Duration::from_millis(place as u64);
            let off = (*due - began).abs_diff(wanted);
            assert!(off < Duration::from_micros(1), "{place}: {off:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_what_is_due_has_nothing_unsent() {
        for thirds in 1..20u32 {
            let seconds = f64::from(thirds) / 3.0;
            let pace = Pace::new(Instant::now(), seconds, Some(3_000.0), 4);
            for sender in 0..4 {
                let turn = Turn::new(pace, sender, u64::MAX);
                let mut number = u64::from(thirds) * 249;
                while turn.wait(number).await.is_some() {
                    number += 1;
                }
                assert_eq!(turn.unsent(number), 0, "{thirds} {sender}");
                assert_eq!(turn.unsent(number - 1), 1, "{thirds} {sender}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_was_held_up_catches_up_and_the_run_ends() {
        let began = Instant::now();
        let turn = Turn::new(Pace::new(began, 1.0, Some(10.0), 1), 0, u64::MAX);
        assert_eq!(turn.wait(0).await, Some(began));
        tokio::time::advance(Duration::from_millis(550)).await;
        let held_up = Instant::now();
        for number in 1..=5 {
            let due = turn.wait(number).await.unwrap();
            assert_eq!(due, began + Duration::from_millis(100) * number as u32);
            assert_eq!(Instant::now(), held_up);
        }
        turn.wait(6).await.unwrap();
        assert!(Instant::now() > held_up);
        assert_eq!(turn.unsent(6), 4);
        assert_eq!(turn.wait(10).await, None);
        assert_eq!(turn.unsent(10), 0);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(turn.wait(7).await, None, "it is too late for it");
        assert_eq!(turn.unsent(7), 3);
        let free = Turn::new(Pace::new(Instant::now(), 1.0, None, 1), 0, 3);
        assert_eq!(free.unsent(0), 0);
        assert!(free.wait(2).await.is_some() && free.wait(3).await.is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(free.wait(0).await, None);
    }
}
