//! Shows how far a comparison is: a line that moves on a terminal, one now and then elsewhere. To
//! stderr.

use crate::ledger::grouped;
use crate::say;
use cloudsync_consumers::verify::scan::Seen;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the line moves.
const FRAME: Duration = Duration::from_millis(100);
/// How often a line is printed where none moves.
const LINE: Duration = Duration::from_secs(5);

/// What is shown.
#[derive(Debug)]
pub struct Progress {
    /// Counts records, from 0 for each step.
    pub seen: Arc<Seen>,
    /// Nothing is shown.
    pub quiet: bool,
}

// === impl Progress ===

impl Progress {
    /// Shows the step `what` while `work` runs.
    pub async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        self.seen.0.store(0, Ordering::Relaxed);
        let terminal = std::io::stderr().is_terminal() && !self.quiet;
        let bar = match terminal {
            true => bar(what),
            false => ProgressBar::hidden(),
        };
        let began = Instant::now();
        let mut next = began + LINE;
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => {
                    bar.finish_and_clear();
                    return result;
                }
                _ = frames.tick() => {}
            }
            let seen = self.seen.0.load(Ordering::Relaxed);
            bar.set_position(seen);
            if !terminal && !self.quiet && Instant::now() >= next {
                next += LINE;
                let seconds = began.elapsed().as_secs();
                say::note(format_args!(
                    "{seconds:>4} s: {what}: {} records",
                    grouped(seen)
                ));
            }
        }
    }
}

fn bar(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix}: {human_pos} records, {per_sec}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.with_prefix(what.to_owned())
}
