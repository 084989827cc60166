//! Shows how far a demo is: bars on a terminal, a line now and then elsewhere. To stderr.
//!
//! The numbers are the program's own counters. They are for the eye; the ledger is made otherwise.

use super::feed::Counts;
use crate::ledger::grouped;
use crate::say;
use cloudsync_consumers::Counters;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often bars move.
const FRAME: Duration = Duration::from_millis(100);
/// How often a line is printed where there are no bars.
const LINE: Duration = Duration::from_secs(2);

/// What is shown.
#[derive(Debug)]
pub struct Progress<'a> {
    counts: &'a Counts,
    consumers: &'a BTreeMap<String, Arc<Counters>>,
    /// How many records will be sent at least, if that is known.
    total: Option<u64>,
    quiet: bool,
}

enum Display {
    Nothing,
    Bars(Vec<ProgressBar>),
    Lines { started: Instant, next: Instant },
}

// === impl Progress ===

impl<'a> Progress<'a> {
    /// Shows `counts` against `total`, and each of `consumers` against what was sent.
    #[must_use]
    pub fn new(
        counts: &'a Counts,
        consumers: &'a BTreeMap<String, Arc<Counters>>,
        total: Option<u64>,
    ) -> Self {
        Self {
            counts,
            consumers,
            total,
            quiet: false,
        }
    }

    /// Shows nothing, if so.
    #[must_use]
    pub fn quiet(self, quiet: bool) -> Self {
        Self { quiet, ..self }
    }

    /// Shows it while `work` runs.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut display = self.display();
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = frames.tick() => self.show(&mut display),
            }
        };
        self.show(&mut display);
        if let Display::Bars(bars) = display {
            bars.iter().for_each(ProgressBar::abandon);
        }
        result
    }

    fn display(&self) -> Display {
        if self.quiet {
            return Display::Nothing;
        }
        if !std::io::stderr().is_terminal() {
            let started = Instant::now();
            return Display::Lines {
                started,
                next: started + LINE,
            };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:14} [{bar:32}] {human_pos:>11} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = |name: &str| {
            let bar = ProgressBar::new(self.total.unwrap_or(0)).with_style(style.clone());
            all.add(bar.with_prefix(name.to_owned()))
        };
        let mut bars = vec![bar("sent"), bar("acknowledged")];
        bars.extend(self.consumers.keys().map(|name| bar(&format!("to {name}"))));
        Display::Bars(bars)
    }

    /// Numbers in the order of the bars.
    fn numbers(&self) -> (u64, u64, Vec<u64>) {
        let sent = self.counts.sent.load(Ordering::Relaxed);
        let acked = self.counts.acked.load(Ordering::Relaxed);
        (
            sent,
            acked,
            self.consumers
                .values()
                .map(|counters| settled(counters))
                .collect(),
        )
    }

    fn show(&self, display: &mut Display) {
        let (sent, acked, settled) = self.numbers();
        match display {
            Display::Bars(bars) => {
                let length = self.total.unwrap_or(0).max(sent);
                let positions = [sent, acked].into_iter().chain(settled);
                for (bar, position) in bars.iter().zip(positions) {
                    bar.set_length(length);
                    bar.set_position(position);
                }
            }
            Display::Lines { started, next } if Instant::now() >= *next => {
                *next += LINE;
                let names = self.consumers.keys().zip(settled);
                let settled: String = names
                    .map(|(name, count)| format!(", {} at {name}", grouped(count)))
                    .collect();
                say::note(format_args!(
                    "{:>4} s: {} sent, {} acknowledged{settled}",
                    started.elapsed().as_secs(),
                    grouped(sent),
                    grouped(acked),
                ));
            }
            Display::Lines { .. } | Display::Nothing => {}
        }
    }
}

/// How many records a consumer is done with.
fn settled(counters: &Counters) -> u64 {
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    load(&counters.delivered)
        + load(&counters.duplicates)
        + load(&counters.dead_lettered)
        + load(&counters.not_addressed)
}
