//! The floor of the kinds that send: what the same records cost with as little as there can be.
//!
//! In: how many records ours has just carried, its warm-up included. Out: as many as half of
//! them, carried by the floor, at the same rate if there is one. `gateway`: the gateway's own
//! producer (ours, over librdkafka) alone. `pipeline`: that, and two bare readers. `unary` and
//! `http`: a server that answers at once, and the same clients; of many records in a body, one that
//! gives each line as it is to that producer and answers when the log has it.

use super::Round;
use super::world::World;
use crate::args::BenchKind;
use crate::bench::costs::Meter;
use crate::bench::crew::Role;
use crate::bench::messages::{Done, Question, Run};
use anyhow::bail;
use tokio::time::Instant;

/// The processes of the floor.
pub(super) enum Floor {
    Log {
        producer: Role,
        readers: Vec<Role>,
        /// Topics that were made so far.
        topics: u32,
    },
    Server {
        server: Role,
        /// Whether it writes into the log.
        writes: bool,
    },
}

// === impl Floor ===

impl Floor {
    pub(super) async fn start(world: &mut World<'_>) -> anyhow::Result<Self> {
        let readers: &[&str] = match world.plan.kind {
            BenchKind::Unary | BenchKind::Http => {
                let writes = world.plan.batch > 1;
                let topic = writes.then_some("floor");
                let server = world.server("floor server", topic).await?;
                return Ok(Self::Server { server, writes });
            }
            BenchKind::Pipeline => &["floor reader 1", "floor reader 2"],
            BenchKind::Gateway | BenchKind::Consumer => &[],
        };
        let producer = world.producer("floor producer").await?;
        let mut started = Vec::with_capacity(readers.len());
        for name in readers {
            started.push(world.fetcher(name).await?);
        }
        Ok(Self::Log {
            producer,
            readers: started,
            topics: 0,
        })
    }

    /// What it is, for a person.
    pub(super) fn is(&self) -> &'static str {
        match self {
            Self::Log { readers, .. } if readers.is_empty() => "bare producer",
            Self::Log { .. } => "bare producer and two bare readers",
            Self::Server { writes: true, .. } => "bare reader of lines into the bare producer",
            Self::Server { .. } => "bare server, nothing behind it",
        }
    }

    /// One turn beside `round`, which it completes. `load` are the clients, `run` their last run.
    pub(super) async fn turn(
        &mut self,
        world: &World<'_>,
        load: &mut Role,
        run: Run,
        round: &mut Round,
    ) -> anyhow::Result<()> {
        match self {
            Self::Log {
                producer,
                readers,
                topics,
            } => {
                *topics += 1;
                let topic = format!("floor-{topics}");
                world.make_topic(&topic).await?;
                through_the_log(world, producer, readers, &topic, round).await
            }
            Self::Server { server, .. } => {
                let run = Run {
                    gateway: server.address()?,
                    seconds: run.seconds / 2.0,
                    ..run
                };
                let meter = Meter::begin(&[&*server, &*load])?;
                let report = load.run(run, world.plan.patience()).await?;
                round.floor = meter.end(&[&*server, &*load])?;
                let sent = &report.sent;
                if sent.refused + sent.unsent > 0 {
                    let why = sent
                        .complaint
                        .as_deref()
                        .unwrap_or("it is too slow for the rate");
                    bail!("the floor is no floor: {why}");
                }
                round.floor_records = report.sent.acked;
                round.floor_seconds = report.seconds;
                Ok(())
            }
        }
    }
}

async fn through_the_log(
    world: &World<'_>,
    producer: &mut Role,
    readers: &mut [Role],
    topic: &str,
    round: &mut Round,
) -> anyhow::Result<()> {
    let records = (round.records + round.resent).div_ceil(2).max(1);
    let limit = world.plan.patience();
    let produce = Question::Produce {
        topic: topic.to_owned(),
        records,
        rate: world.plan.rate,
        ids: false,
    };
    let fetch = Question::Fetch {
        topic: topic.to_owned(),
        records,
    };
    let meter = Meter::begin(&everyone(producer, readers))?;
    let began = Instant::now();
    let produced: Done = match readers {
        [one, two] => {
            let done = tokio::try_join!(
                producer.floor(&produce, limit),
                one.floor(&fetch, limit),
                two.floor(&fetch, limit)
            );
            done?.0
        }
        _ => producer.floor(&produce, limit).await?,
    };
    // On a schedule, what was sent counts by the time of sending, as with ours.
    round.floor_seconds = match world.plan.rate {
        Some(_) => produced.seconds,
        None => began.elapsed().as_secs_f64(),
    };
    round.floor_records = records;
    round.floor = meter.end(&everyone(producer, readers))?;
    Ok(())
}

fn everyone<'a>(producer: &'a Role, readers: &'a [Role]) -> Vec<&'a Role> {
    std::iter::once(producer).chain(readers).collect()
}
