//! The measurement itself: which processes run, in which order, and what is read off them.
//!
//! In: a [`World`]. Out: [`Figures`]. Promises: ours and the floor take turns, so that what else
//! the machine does falls on both; processor time is taken from the system at both ends of each
//! turn; what arrived is counted when nothing more can come.

mod consumer;
mod evidence;
mod floor;
mod front;
pub(crate) mod world;

use super::costs::Costs;
use super::measured::Latencies;
use super::messages::{ConsumerState, Point, Sent, Sum};
use crate::args::BenchKind;
use world::World;

/// What was read off.
pub(crate) struct Figures {
    pub(crate) rounds: Vec<Round>,
    /// Which of our processes the floor is held against.
    pub(crate) compared: Vec<String>,
    /// What the floor is.
    pub(crate) floor_is: &'static str,
    /// Of the measured rounds; `None`: nothing was acknowledged.
    pub(crate) latencies: Option<Latencies>,
    pub(crate) points: Vec<Point>,
    /// Everything that was sent, measured or not.
    pub(crate) sent: Sent,
    pub(crate) arrived: Vec<Arrived>,
}

/// Ours once, and the floor once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Acknowledged for the first time; `consumer`: delivered.
    pub(crate) records: u64,
    /// Acknowledged again, sent so on purpose.
    pub(crate) resent: u64,
    /// Until the last acknowledgement; `consumer`: until the last one was delivered.
    pub(crate) seconds: f64,
    /// From there until everything had come to every consumer.
    pub(crate) tail_seconds: f64,
    /// Our processes, meanwhile.
    pub(crate) ours: Costs,
    pub(crate) floor_records: u64,
    pub(crate) floor_seconds: f64,
    /// The floor's processes, while it was measured.
    pub(crate) floor: Costs,
}

/// What came to one place.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    /// The destination, or the log.
    pub(crate) place: String,
    /// What should be there.
    pub(crate) expected: Sum,
    /// What is.
    pub(crate) ids: Sum,
    /// What its consumer says.
    pub(crate) consumer: Option<ConsumerState>,
}

/// Measures.
///
/// # Errors
/// When a process does not do what it was asked.
pub(crate) async fn measure(world: &mut World<'_>) -> anyhow::Result<Figures> {
    match world.plan.kind {
        BenchKind::Pipeline | BenchKind::Gateway | BenchKind::Unary | BenchKind::Http => {
            Box::pin(front::measure(world)).await
        }
        BenchKind::Consumer => Box::pin(consumer::measure(world)).await,
    }
}
