//! The kinds that send: `pipeline`, `gateway`, `unary`, `http`.
//!
//! In: a world. Out: [`Figures`]. A round ends when everything that was acknowledged in it has
//! come to every consumer, so what piles up in the log counts against us. Both sides are warmed up
//! before the first.

use super::evidence;
use super::floor::Floor;
use super::world::World;
use super::{Figures, Round};
use crate::args::BenchKind;
use crate::bench::costs::Meter;
use crate::bench::crew::Role;
use crate::bench::measured::Latencies;
use crate::bench::messages::{LoadReport, Point, Run, Sent, Way};
use crate::say;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pause between two questions to the consumers.
const ASK: Duration = Duration::from_millis(10);
/// How long nothing may come to them before the rest counts as lost.
const STALLED: Duration = Duration::from_secs(20);

/// Our processes, and what they have done.
struct Front {
    log: Role,
    gateway: Role,
    consumers: Vec<Role>,
    /// What their dedupe stores share.
    store: Option<Role>,
    load: Role,
    /// Everything, measured or not.
    sent: Sent,
}

/// The measured rounds.
struct Measured {
    latencies: Latencies,
    points: Vec<Point>,
    /// Seconds of the rounds before.
    before: f64,
}

/// One round of ours, and what the clients say of it.
struct Ran {
    round: Round,
    report: LoadReport,
}

pub(super) async fn measure(world: &mut World<'_>) -> anyhow::Result<Figures> {
    let mut front = Front::start(world).await?;
    let mut floor = Floor::start(world).await?;
    let run = Run {
        gateway: front.gateway.address()?,
        seconds: world.plan.seconds,
        rate: world.plan.rate,
        resend: world.plan.resend,
        most_records: world.plan.most_records(),
    };
    say::note("warming up");
    let short = Run {
        seconds: world.plan.warm_up_seconds(),
        ..run
    };
    // Connections, producer ids and group members are there before anything is measured.
    let mut unmeasured = front.round(world, short).await?.round;
    floor
        .turn(world, &mut front.load, short, &mut unmeasured)
        .await?;
    let mut measured = Measured {
        latencies: Latencies::new()?,
        points: Vec::new(),
        before: 0.0,
    };
    let mut rounds = Vec::new();
    for number in 1..=world.plan.rounds {
        say::note(format_args!("round {number} of {}", world.plan.rounds));
        let Ran { mut round, report } = front.round(world, run).await?;
        if report.seconds < run.seconds * 0.95 && report.sent.refused == 0 {
            say::note(format_args!(
                "this round ended early, after {} records: that is all that a log of a bench may \
                 hold",
                report.sent.acked
            ));
        }
        measured.add(report, &round);
        floor.turn(world, &mut front.load, run, &mut round).await?;
        rounds.push(round);
    }
    let compared = std::iter::once(&front.gateway).chain(&front.consumers);
    let compared = compared.map(|role| role.name().to_owned()).collect();
    say::note("counting what arrived");
    let arrived = evidence::arrived(world, &mut front.consumers, &front.sent).await?;
    Ok(Figures {
        rounds,
        compared,
        floor_is: floor.is(),
        latencies: Some(measured.latencies),
        points: measured.points,
        sent: front.sent,
        arrived,
    })
}

// === impl Measured, Front ===

impl Measured {
    fn add(&mut self, report: LoadReport, round: &Round) {
        self.latencies.add(&report.latencies);
        let before = self.before;
        self.points
            .extend(report.points.into_iter().map(|point| Point {
                seconds: before + point.seconds,
                ..point
            }));
        self.before += round.seconds + round.tail_seconds;
    }
}

impl Front {
    async fn start(world: &mut World<'_>) -> anyhow::Result<Self> {
        let way = match world.plan.kind {
            BenchKind::Pipeline | BenchKind::Gateway | BenchKind::Consumer => Way::Stream,
            BenchKind::Unary => Way::Unary,
            BenchKind::Http => Way::Http,
        };
        let log = world.log().await?;
        let gateway = world.gateway().await?;
        let store = world.store().await?;
        let mut consumers = Vec::new();
        if world.plan.kind == BenchKind::Pipeline {
            for name in world.settings.destination_names() {
                let mut consumer = world.consumer(&name, &name).await?;
                consumer.begin().await?;
                consumers.push(consumer);
            }
        }
        Ok(Self {
            log,
            gateway,
            consumers,
            store,
            load: world.load(way).await?,
            sent: Sent::default(),
        })
    }

    async fn round(&mut self, world: &World<'_>, run: Run) -> anyhow::Result<Ran> {
        let meter = Meter::begin(&self.roles())?;
        let began = Instant::now();
        let report = self.load.run(run, world.plan.patience()).await?;
        self.sent.add(report.sent.clone());
        self.delivered().await?;
        let round = Round {
            records: report.sent.acked - report.sent.resent,
            resent: report.sent.resent,
            seconds: report.seconds,
            tail_seconds: (began.elapsed().as_secs_f64() - report.seconds).max(0.0),
            ours: meter.end(&self.roles())?,
            ..Round::default()
        };
        Ok(Ran { round, report })
    }

    fn roles(&self) -> Vec<&Role> {
        let front = [&self.log, &self.gateway];
        let roles = front.into_iter().chain(&self.consumers).chain(&self.store);
        roles.chain(std::iter::once(&self.load)).collect()
    }

    /// Waits until every consumer is done with as many records as were acknowledged, or until
    /// nothing moves any more: what is missing then is counted at the end.
    async fn delivered(&mut self) -> anyhow::Result<()> {
        let wanted = self.sent.acked - self.sent.duplicates.min(self.sent.acked);
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let (mut settled, mut behind) = (0, false);
            for consumer in &mut self.consumers {
                let state = consumer.state().await?;
                settled += state.settled();
                behind |= state.settled() < wanted;
            }
            if settled != last {
                (last, moved) = (settled, Instant::now());
            }
            if !behind || moved.elapsed() > STALLED {
                return Ok(());
            }
            sleep(ASK).await;
        }
    }
}
