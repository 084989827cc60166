//! `consumer`: one consumer that drains a full log.
//!
//! In: a world. Out: [`Figures`]. The log is filled once; each round is a new group with a new
//! process, which reads everything, and then a bare reader, which does the same. The time counts
//! from the first record, since what comes before is the group's; the processor time from before
//! the start.

use super::world::World;
use super::{Arrived, Figures, Round, evidence};
use crate::bench::costs::Meter;
use crate::bench::crew::Role;
use crate::bench::messages::{ConsumerState, Done, Point, Question, Sent};
use crate::say;
use cloudsync_consumers::DestinationSettings;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pause between two questions to the consumer.
const ASK: Duration = Duration::from_millis(20);
/// What a point of the plot covers at least.
const STRETCH: Duration = Duration::from_millis(250);
/// How long nothing may come to it.
const STALLED: Duration = Duration::from_secs(30);
/// What both sides of the comparison are called.
const OURS: &str = "consumer";
const FLOOR: &str = "floor reader";

pub(super) async fn measure(world: &mut World<'_>) -> anyhow::Result<Figures> {
    let rounds = world.plan.rounds;
    let template = DestinationSettings::new("null://", "");
    world.settings.destinations = (1..=rounds)
        .map(|round| {
            let group = format!("bench-{round}");
            let name = format!("round-{round}");
            (
                name,
                DestinationSettings {
                    group,
                    ..template.clone()
                },
            )
        })
        .collect();
    let log = world.log().await?;
    let filled = fill(world).await?;
    let store = world.store().await?;
    let mut figures = Figures {
        rounds: Vec::new(),
        compared: vec![OURS.to_owned()],
        floor_is: "bare reader",
        latencies: None,
        points: Vec::new(),
        sent: Sent {
            acked: filled.records,
            ids: filled.ids,
            last: filled.last,
            ..Sent::default()
        },
        arrived: Vec::new(),
    };
    for number in 1..=rounds {
        say::note(format_args!("round {number} of {rounds}"));
        let mut round = ours(
            world,
            [Some(&log), store.as_ref()],
            number,
            filled,
            &mut figures,
        )
        .await?;
        let mut reader = world.fetcher(FLOOR).await?;
        let meter = Meter::begin(&[&reader])?;
        let fetch = Question::Fetch {
            topic: world.settings.kafka.topic.clone(),
            records: filled.records,
        };
        let done = reader.floor(&fetch, world.plan.patience()).await?;
        round.floor = meter.end(&[&reader])?;
        round.floor_records = done.records;
        round.floor_seconds = done.seconds;
        figures.rounds.push(round);
    }
    Ok(figures)
}

async fn fill(world: &mut World<'_>) -> anyhow::Result<Done> {
    let records = world.plan.preload();
    say::note(format_args!("filling the log with {records} records"));
    let mut producer = world.producer("filler").await?;
    let question = Question::Produce {
        topic: world.settings.kafka.topic.clone(),
        records,
        rate: None,
        ids: true,
    };
    producer.floor(&question, world.plan.patience()).await
}

/// One round of ours.
async fn ours(
    world: &mut World<'_>,
    around: [Option<&Role>; 2],
    number: u32,
    filled: Done,
    figures: &mut Figures,
) -> anyhow::Result<Round> {
    let destination = format!("round-{number}");
    let mut consumer = world.consumer(OURS, &destination).await?;
    let meter = Meter::begin(&with(around, &consumer))?;
    consumer.begin().await?;
    let before = figures.points.last().map_or(0.0, |point| point.seconds);
    let watched = watch(&mut consumer, filled.records, before).await?;
    let costs = meter.end(&with(around, &consumer))?;
    figures.points.extend(watched.points);
    evidence::nothing_behind(world, &[destination.as_str()]).await?;
    let state = consumer.drain().await?;
    figures.arrived.push(Arrived {
        place: destination,
        expected: filled.ids,
        ids: state.ids,
        consumer: Some(state),
    });
    Ok(Round {
        records: filled.records,
        seconds: watched.seconds,
        ours: costs,
        ..Round::default()
    })
}

fn with<'a>(around: [Option<&'a Role>; 2], consumer: &'a Role) -> Vec<&'a Role> {
    around.into_iter().flatten().chain([consumer]).collect()
}

/// What was seen of a consumer from outside.
struct Watched {
    seconds: f64,
    points: Vec<Point>,
}

/// Waits until `consumer` is done with `records`, or nothing moves any more: what is missing then
/// is counted at the end.
async fn watch(consumer: &mut Role, records: u64, before: f64) -> anyhow::Result<Watched> {
    let started = Instant::now();
    let mut began: Option<Instant> = None;
    let mut last = (ConsumerState::default(), started);
    let mut points = Vec::new();
    loop {
        let state = consumer.state().await?;
        let now = Instant::now();
        if state.looked_up > 0 {
            began.get_or_insert(now);
        }
        let done = state.settled() >= records;
        let more = state.settled() - last.0.settled();
        let since = now.duration_since(last.1);
        if more > 0 && (done || since >= STRETCH) {
            points.push(Point {
                seconds: before + now.duration_since(began.unwrap_or(started)).as_secs_f64(),
                per_second: more as f64 / since.as_secs_f64().max(1e-3),
                p50_ms: 0.0,
                p99_ms: 0.0,
            });
            last = (state, now);
        }
        if done || since >= STALLED {
            break;
        }
        sleep(ASK).await;
    }
    let seconds = began.unwrap_or(started).elapsed().as_secs_f64();
    Ok(Watched { seconds, points })
}
