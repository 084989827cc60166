//! Shows how far a send is: on a terminal only, on stderr. Bytes of the input that were read, as
//! they lie in the file, tell the share and the time left; the rate is that of acknowledgements.

use crate::demo::feed::Counts;
use crate::input::source::Meter;
use crate::ledger::grouped;
use crate::say;
use cloudsync::client::ClientMetrics;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it moves.
const FRAME: Duration = Duration::from_millis(100);
/// Over how many frames the rate is taken.
const FRAMES: usize = 30;
/// How often it is told that no answer comes.
const TELL: Duration = Duration::from_secs(5);

/// What is shown, and what it is read from.
pub(super) struct Progress<'a> {
    bar: ProgressBar,
    counts: &'a Counts,
    meter: Meter,
    endpoint: &'a str,
    trouble: Arc<Trouble>,
    quiet: bool,
    /// When so many were acknowledged, the newest last.
    acked: VecDeque<(Instant, u64)>,
}

/// The bar of an input, hidden where nobody looks.
pub(super) fn bar(meter: &Meter, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(meter.length(), ProgressDrawTarget::stderr());
    let template = match meter.length() {
        Some(_) => "[{bar:24}] {percent:>3} %  {msg}, {eta} left",
        None => "{spinner} {elapsed}  {msg}",
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Why the client has no connection, the last time that it told.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<String>);

// === impl Trouble ===

impl ClientMetrics for Trouble {
    fn connected(&self) {
        self.0.lock().clear();
    }

    fn not_connected(&self, reason: &str) {
        reason.clone_into(&mut self.0.lock());
    }
}

impl Trouble {
    /// Whether no answer can come.
    pub(super) fn is_cut_off(&self) -> bool {
        !self.0.lock().is_empty()
    }

    /// As it stands behind a sentence.
    fn why(&self) -> String {
        let reason = self.0.lock();
        if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        }
    }
}

// === impl Progress ===

impl<'a> Progress<'a> {
    /// Shows `counts` and `meter` in `bar`.
    pub(super) fn new(
        bar: ProgressBar,
        counts: &'a Counts,
        meter: Meter,
        endpoint: &'a str,
        trouble: Arc<Trouble>,
        quiet: bool,
    ) -> Self {
        Self {
            bar,
            counts,
            meter,
            endpoint,
            trouble,
            quiet,
            acked: VecDeque::with_capacity(FRAMES + 1),
        }
    }

    /// Shows it while `work` runs, and tells now and then that it waits, if it does.
    pub(super) async fn during<T>(mut self, work: impl Future<Output = T>) -> T {
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = (Instant::now(), 0);
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => {
                    self.bar.finish_and_clear();
                    return result;
                }
                _ = frames.tick() => {}
            }
            self.show();
            if told.0.elapsed() >= TELL {
                told = (Instant::now(), self.tell_waiting(told.1));
            }
        }
    }

    fn show(&mut self) {
        let acked = self.counts.acked.load(Ordering::Relaxed);
        self.acked.push_back((Instant::now(), acked));
        if self.acked.len() > FRAMES {
            self.acked.pop_front();
        }
        let rate = rate(&self.acked);
        self.bar.set_position(self.meter.read());
        self.bar.set_message(format!(
            "{} acknowledged, {} a second",
            grouped(acked),
            grouped(rate)
        ));
    }

    /// Says so if nothing was answered since `before` records were; returns how many are now.
    fn tell_waiting(&self, before: u64) -> u64 {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let answered = load(&self.counts.acked) + load(&self.counts.refused);
        let waiting = load(&self.counts.sent).saturating_sub(answered);
        if waiting > 0 && answered == before && !self.quiet {
            let (endpoint, waiting) = (self.endpoint, grouped(waiting));
            let why = self.trouble.why();
            self.bar.suspend(|| {
                say::note(format_args!(
                    "no answer from {endpoint} yet{why}: {waiting} records wait and are sent again; \
                     Ctrl-C ends it and says where to go on"
                ));
            });
        }
        answered
    }
}

/// Records a second between the oldest and the newest.
fn rate(acked: &VecDeque<(Instant, u64)>) -> u64 {
    let (Some((from, first)), Some((to, last))) = (acked.front(), acked.back()) else {
        return 0;
    };
    let seconds = to.duration_since(*from).as_secs_f64();
    if seconds > 0.0 {
        (last.saturating_sub(*first) as f64 / seconds) as u64
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_frames() {
        let start = Instant::now();
        let at = |millis: u64, acked: u64| (start + Duration::from_millis(millis), acked);
        assert_eq!(rate(&VecDeque::new()), 0);
        assert_eq!(rate(&VecDeque::from([at(0, 5)])), 0);
        assert_eq!(rate(&VecDeque::from([at(0, 5), at(500, 105)])), 200);
    }
}
