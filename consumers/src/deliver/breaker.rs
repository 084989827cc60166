//! Whether a destination is worth an attempt just now.
//!
//! In: how attempts went, of all partitions. Out: go, or wait until. Closed, it lets all attempts
//! through; open, none; half-open a few, one after another, of which the first success closes it.
//! Pure: time and randomness come in.
//!
//! It opens when nothing succeeds any more (12 failures in a row, or 3 that speak of an outage, over
//! a second: of many attempts that begin at once those that fail end first), at once when it is
//! denied, and when a share of the attempts of the last 10 s fails, if these are
//! enough to tell. An attempt that is not over in time counts as failed at that moment, so one that
//! hangs is noticed long before its time-out. Who asks for time is there, and counts for nothing.

mod window;

use crate::sink::ErrorClass;
use std::time::Duration;
use tokio::time::Instant;
use window::Window;

/// The breaker of one destination.
#[derive(Debug)]
pub struct Breaker {
    /// Opens when so many of a hundred attempts of the window have failed.
    failure_percent: u32,
    state: State,
    window: Window,
    /// Weight of the failures since the last success.
    run: u32,
    /// Since when nothing that was tried succeeded, as far as these tell.
    run_since: Option<Instant>,
    last_success: Option<Instant>,
    /// How often it opened since it was closed.
    opened: u32,
    /// Each time it opens a new spell begins: what began before says nothing of it.
    spell: u64,
    /// Attempts let through since it opened.
    probes: u32,
    /// Of these, since it was half-open, those whose failure does not speak of an outage.
    soft: u32,
    /// The longest that a success took, lately.
    slowest: Option<Duration>,
}

/// What an attempt may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go, and say with this how it went.
    Go(Ticket),
    /// Ask again at this time; or sooner, when an attempt has succeeded.
    At(Instant),
}

/// When an attempt began, as the breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    began: Instant,
    spell: u64,
    /// Attempts let through before it since the breaker opened; `None` while it is closed.
    probe: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// Attempts are under way; another one goes then, whatever is heard of those.
    HalfOpen {
        next: Instant,
    },
}

/// Share of failed attempts at which a breaker opens, if nothing else is set, in percent.
pub const FAILURE_PERCENT: u32 = 50;
/// For how long it opens at most: who waits for its destination tries again within this time.
pub const LONGEST_OPEN: Duration = Duration::from_secs(3);

/// Weight of failures in a row that opens it: at 23 % of failures that never happens by chance.
const RUN: u32 = 12;
/// How long they take at least, and at most where successes are slow.
const LEAST_RUN: Duration = Duration::from_secs(1);
const LONGEST_RUN: Duration = Duration::from_secs(3);
/// Weight of an outage in it.
const OUTAGE: u32 = 4;
/// For how long it opens the first time; doubles each time after.
const FIRST_OPEN: Duration = Duration::from_millis(500);
/// Between two attempts while it is half-open: one that hangs does not stop the next.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// So many probes in a row that fail otherwise than in an outage open it again.
const SOFT: u32 = 3;
/// Least time for a probe, and the least after which an attempt is not over in time.
const LEAST_PROBE: Duration = Duration::from_secs(5);
const LEAST_IN_TIME: Duration = Duration::from_secs(3);
/// So many times the slowest success of late is still nothing unusual.
const UNUSUAL: u32 = 4;
/// What is left of the slowest success with each other one.
const FADES: f64 = 0.99;

// === impl Breaker ===

impl Default for Breaker {
    fn default() -> Self {
        Self::new(FAILURE_PERCENT)
    }
}

impl Breaker {
    /// A closed one; it opens when `failure_percent` of a hundred attempts fail.
    #[must_use]
    pub fn new(failure_percent: u32) -> Self {
        Self {
            failure_percent,
            state: State::Closed,
            window: Window::default(),
            run: 0,
            run_since: None,
            last_success: None,
            opened: 0,
            spell: 0,
            probes: 0,
            soft: 0,
            slowest: None,
        }
    }

    /// Whether an attempt may begin.
    pub fn admit(&mut self, now: Instant) -> Admission {
        let probe = match self.state {
            State::Closed => None,
            State::Open { until: at } | State::HalfOpen { next: at } if now < at => {
                return Admission::At(at);
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                let next = now + PROBE_EVERY;
                self.state = State::HalfOpen { next };
                self.probes = self.probes.saturating_add(1);
                Some(self.probes - 1)
            }
        };
        Admission::Go(Ticket {
            began: now,
            spell: self.spell,
            probe,
        })
    }

    /// How long the attempt of `ticket` may take, if `longest` is what any may: a probe less, unless
    /// successes are slow here. Each third one has all the time, for these may have become slower.
    #[must_use]
    pub fn time_for(&self, ticket: Ticket, longest: Duration) -> Duration {
        match (ticket.probe, self.slowest) {
            (Some(probe), Some(slowest)) if probe % 3 != 2 => {
                longest.min(LEAST_PROBE.max(slowest * UNUSUAL))
            }
            _ => longest,
        }
    }

    /// After how long an attempt that may take `longest` is not over in time: when it would be
    /// unusual; half of that, while nothing is known.
    #[must_use]
    pub fn in_time(&self, longest: Duration) -> Duration {
        let unusual = self.slowest.map(|it| LEAST_IN_TIME.max(it * UNUSUAL));
        unusual.map_or(longest / 2, |unusual| unusual.min(longest))
    }

    /// The attempt of `ticket` succeeded, and `took` so long. Out: whether that closed it.
    pub fn succeeded(&mut self, ticket: Ticket, now: Instant, took: Duration) -> bool {
        let faded = self.slowest.unwrap_or_default().mul_f64(FADES);
        self.slowest = Some(took.max(faded));
        if ticket.spell != self.spell {
            return false;
        }
        let closes = self.state != State::Closed;
        if closes {
            self.state = State::Closed;
            self.window = Window::default();
            (self.opened, self.probes, self.soft) = (0, 0, 0);
        }
        (self.run, self.run_since, self.last_success) = (0, None, Some(now));
        self.window.add(now, false);
        closes
    }

    /// The attempt of `ticket` is not over in time; `random` is in 0..=1. Out: whether that opened a
    /// closed one.
    pub fn is_late(&mut self, ticket: Ticket, now: Instant, random: f64) -> bool {
        self.state == State::Closed && self.failed(ticket, ErrorClass::Outage, now, random)
    }

    /// The attempt of `ticket` failed; `random` is in 0..=1. Out: whether that opened a closed one.
    pub fn failed(&mut self, ticket: Ticket, class: ErrorClass, now: Instant, random: f64) -> bool {
        if ticket.spell != self.spell {
            return false;
        }
        match self.state {
            State::Closed => {
                let (weight, at_once) = match class {
                    ErrorClass::Throttled(_) => return false,
                    ErrorClass::Transient => (1, false),
                    ErrorClass::Outage => (OUTAGE, false),
                    ErrorClass::Denied | ErrorClass::Rejected => (RUN, true),
                };
                self.window.add(now, true);
                let lasts = self.nothing_succeeds(weight, ticket.began, now);
                let opens = at_once || lasts || self.window.failed(now, self.failure_percent);
                if opens {
                    self.spell += 1;
                    self.open(now, random);
                }
                opens
            }
            State::HalfOpen { .. } => {
                // One that fails now and then is back all the same.
                let is_away = match class {
                    ErrorClass::Outage | ErrorClass::Denied => true,
                    ErrorClass::Transient | ErrorClass::Throttled(_) | ErrorClass::Rejected => {
                        self.soft += 1;
                        false
                    }
                };
                if is_away || self.soft >= SOFT {
                    self.open(now, random);
                }
                false
            }
            // Another probe has said so already.
            State::Open { .. } => false,
        }
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When an attempt may begin, if none may at `now`.
    #[must_use]
    pub fn waits(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until: at } | State::HalfOpen { next: at } => (now < at).then_some(at),
        }
    }

    /// 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self.state {
            State::Closed => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        }
    }

    /// A failure of `weight`, of an attempt that `began` then. Out: whether enough of them followed
    /// each other for long enough.
    fn nothing_succeeds(&mut self, weight: u32, began: Instant, now: Instant) -> bool {
        let since = self.last_success.map_or(began, |last| last.max(began));
        let since = self.run_since.map_or(since, |before| before.min(since));
        (self.run, self.run_since) = (self.run.saturating_add(weight), Some(since));
        let slow = self.slowest.unwrap_or_default() * 2;
        let long_enough = slow.clamp(LEAST_RUN, LONGEST_RUN);
        self.run >= RUN && now.saturating_duration_since(since) >= long_enough
    }

    fn open(&mut self, now: Instant, random: f64) {
        let longest = FIRST_OPEN
            .saturating_mul(1 << self.opened.min(10))
            .min(LONGEST_OPEN);
        self.opened = self.opened.saturating_add(1);
        (self.run, self.run_since, self.soft) = (0, None, 0);
        // Half of it at least: a breaker that opens for nothing protects nobody.
        let wait = longest.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.state = State::Open { until: now + wait };
    }
}

#[cfg(test)]
mod tests;
