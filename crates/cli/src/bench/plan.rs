//! What is measured, how long and with what load (pure, no I/O).
//!
//! In: what was typed. Out: a [`Plan`] with every default in place. Promises: what does not fit
//! together is refused before a process starts; a run ends by itself, in time and in bytes.

use crate::args::{BenchArgs, BenchDedupe, BenchDestinations, BenchKind, BenchStore};
use crate::failure::Failure;
use std::time::Duration;

/// Most bytes of records that one run sends; the log keeps all of them until the end.
const MOST_BYTES: u64 = 8 << 30;
/// What a record has beside its payload, in bytes.
const BESIDE_PAYLOAD: u64 = 80;
/// Records of `consumer` for each second that was asked for.
const PRELOAD_PER_SECOND: u64 = 200_000;
/// Records of a batch, if nothing is said.
const BATCH: usize = 256;
/// Connections of `http` that post many records at once: a gateway lets some 40 such uploads in.
const UPLOADS: usize = 16;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: BenchKind,
    /// Parts that the time is cut into, each followed by the floor.
    pub(crate) rounds: u32,
    /// Seconds of load of a round.
    pub(crate) seconds: f64,
    pub(crate) payload_bytes: usize,
    /// Most records of a batch; of `http` those of each body.
    pub(crate) batch: usize,
    /// Records a second; `None`: as fast as it goes.
    pub(crate) rate: Option<f64>,
    pub(crate) connections: usize,
    /// Share of the records that is sent again.
    pub(crate) resend: f64,
    /// The destinations are directories.
    pub(crate) files: bool,
    /// `None`: nothing is recognised.
    pub(crate) dedupe: Option<BenchDedupe>,
    /// The test hook.
    pub(crate) lose_one: bool,
}

// === impl Plan ===

impl Plan {
    /// Checks `args` against each other.
    ///
    /// # Errors
    /// [`Failure::Usage`], as a sentence with the way out.
    pub(crate) fn of(args: &BenchArgs) -> Result<Self, Failure> {
        fits(args)?;
        let kind = args.kind;
        let single = matches!(kind, BenchKind::Unary | BenchKind::Http);
        let many = sends_many(args);
        let dedupe = match args.dedupe {
            BenchStore::Off | BenchStore::All => None,
            BenchStore::Memory => Some(BenchDedupe::Memory),
            BenchStore::Embedded => Some(BenchDedupe::Embedded),
            BenchStore::Buckets => Some(BenchDedupe::Buckets),
            BenchStore::Keys => Some(BenchDedupe::Keys),
        };
        let connections = match kind {
            BenchKind::Pipeline | BenchKind::Gateway | BenchKind::Consumer => 4,
            BenchKind::Unary => 8,
            BenchKind::Http if many => UPLOADS,
            BenchKind::Http => 64,
        };
        Ok(Self {
            kind,
            rounds: args.rounds,
            seconds: f64::from(args.seconds) / f64::from(args.rounds),
            payload_bytes: args.payload_bytes as usize,
            batch: match args.batch {
                Some(batch) => batch as usize,
                None if single => 1,
                None => BATCH,
            },
            rate: args.rate.map(f64::from),
            connections: args.connections.map_or(connections, |count| count as usize),
            resend: args.resend,
            files: args.destinations == BenchDestinations::File,
            dedupe,
            lose_one: args.lose_one,
        })
    }

    /// Most records of one round.
    pub(crate) fn most_records(&self) -> u64 {
        MOST_BYTES / (self.payload_bytes as u64 + BESIDE_PAYLOAD) / u64::from(self.rounds)
    }

    /// How many records `consumer` drains in each round.
    pub(crate) fn preload(&self) -> u64 {
        let wanted = self.total_seconds() * PRELOAD_PER_SECOND as f64 / f64::from(self.rounds);
        (wanted as u64).min(self.most_records()).max(1)
    }

    /// Seconds of load in all.
    pub(crate) fn total_seconds(&self) -> f64 {
        self.seconds * f64::from(self.rounds)
    }

    /// How long the load runs unmeasured before the first round.
    pub(crate) fn warm_up_seconds(&self) -> f64 {
        (self.seconds / 2.0).min(1.0)
    }

    /// When a round that should be over is given up.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.seconds * 3.0 + 120.0)
    }
}

fn sends_many(args: &BenchArgs) -> bool {
    args.batch.is_some_and(|batch| batch > 1)
}

/// Whether what was typed goes together.
fn fits(args: &BenchArgs) -> Result<(), Failure> {
    let kind = args.kind;
    if kind == BenchKind::Unary && sends_many(args) {
        return Err(refused(
            kind,
            "sends one record at a time: leave --batch out",
        ));
    }
    if kind == BenchKind::Consumer && args.rate.is_some() {
        return Err(refused(kind, "drains a full log: leave --rate out"));
    }
    if kind != BenchKind::Pipeline {
        if args.resend > 0.0 {
            return Err(refused(
                kind,
                "sends nothing again: --resend is for pipeline",
            ));
        }
        if args.destinations == BenchDestinations::File {
            return Err(refused(
                kind,
                "writes no files: --destinations is for pipeline",
            ));
        }
    }
    let consumes = matches!(kind, BenchKind::Pipeline | BenchKind::Consumer);
    if !consumes && args.dedupe != BenchStore::default() {
        return Err(refused(
            kind,
            "has no consumer: --dedupe is for pipeline and consumer",
        ));
    }
    let knows_nothing = matches!(args.dedupe, BenchStore::Off | BenchStore::All);
    if knows_nothing && args.resend > 0.0 {
        return Err(refused(
            kind,
            "recognises nothing with --dedupe off, which all begins with: leave --resend out",
        ));
    }
    if args.dedupe == BenchStore::All && (kind != BenchKind::Pipeline || args.plot.is_some()) {
        return Err(refused(
            kind,
            "does not take --dedupe all, or not with --plot: it is for pipeline, and a table",
        ));
    }
    Ok(())
}

fn refused(kind: BenchKind, why: &str) -> Failure {
    Failure::usage(format!("bench {} {why}", kind.name()))
}
