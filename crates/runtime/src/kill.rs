//! The one test hook: `CLOUDSYNC_KILL_AT=<moment>[:n]` ends the process by SIGKILL when it
//! comes to that moment for the n-th time (1 if not said). Announced at start; without the
//! variable a moment costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable's name.
pub const VARIABLE: &str = "CLOUDSYNC_KILL_AT";

/// Moments at which a death has consequences of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Gateway: the log has the batch, the client has no answer yet.
    BeforeProduceAck,
    /// Consumer: the destination has the write, the dedupe store has no mark yet.
    BetweenWriteAndMark,
    /// Consumer: the mark is set, the offset is not committed yet.
    BetweenMarkAndCommit,
    /// Consumer: a partition is being given up.
    DuringRebalance,
    /// `dlq redrive`: the records are back in the log, their entries have no markers yet.
    BetweenRedriveAndMarker,
}

impl Moment {
    /// Every moment.
    pub const ALL: [Self; 5] = [
        Self::BeforeProduceAck,
        Self::BetweenWriteAndMark,
        Self::BetweenMarkAndCommit,
        Self::DuringRebalance,
        Self::BetweenRedriveAndMarker,
    ];

    /// Its name in [`VARIABLE`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeProduceAck => "before-produce-ack",
            Self::BetweenWriteAndMark => "between-write-and-mark",
            Self::BetweenMarkAndCommit => "between-mark-and-commit",
            Self::DuringRebalance => "during-rebalance",
            Self::BetweenRedriveAndMarker => "between-redrive-and-marker",
        }
    }
}

struct Plan {
    moment: Moment,
    left: AtomicU64,
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

/// Reads [`VARIABLE`]; called once at start. Returns the sentence to announce, if it is set.
///
/// # Errors
/// A value that names no moment, as a sentence with the moments there are.
pub fn arm_from_environment() -> Result<Option<String>, String> {
    let Ok(value) = std::env::var(VARIABLE) else {
        return Ok(None);
    };
    let (name, count) = value.split_once(':').unwrap_or((&value, "1"));
    let moment = Moment::ALL.into_iter().find(|moment| moment.name() == name);
    let count = count.parse::<u64>().ok().filter(|count| *count > 0);
    let (Some(moment), Some(count)) = (moment, count) else {
        let names = Moment::ALL.map(Moment::name).join(", ");
        return Err(format!(
            "{VARIABLE}={value} is not <moment>[:n] with a moment of {names}"
        ));
    };
    let plan = Plan {
        moment,
        left: AtomicU64::new(count),
    };
    let armed = PLAN.set(Some(plan)).is_ok();
    Ok(armed.then(|| format!("{VARIABLE}: this process ends by SIGKILL {name}, time {count}")))
}

/// A moment has come: ends the process here if the plan says so.
pub fn kill_point(moment: Moment) {
    let Some(Some(plan)) = PLAN.get() else { return };
    if plan.moment == moment && plan.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        let killed =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        tracing::error!(?killed, "SIGKILL did not end the process");
    }
}
