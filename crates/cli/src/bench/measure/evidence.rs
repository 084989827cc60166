//! What arrived, when nothing more can come.
//!
//! In: what clients were told was acknowledged. Out: for each destination its ids, as `null://`
//! summed them up while its consumer ran, or as they are read back from the files; without
//! consumers the ids in the log, read back. Promises: consumers have settled everything that lies in
//! the log, be it more than was acknowledged, and have left their groups before anything is counted.

use super::Arrived;
use super::world::World;
use crate::bench::crew::Role;
use crate::bench::messages::{Sent, Sum};
use crate::say;
use anyhow::{Context, ensure};
use cloudsync::identity::Id16;
use cloudsync::wire::RecordView;
use cloudsync_consumers::{DeliveredLine, IdTally, read_back};
use cloudsync_kafka::{PartitionLag, PolledRecord, lag, read_topic};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Pause between two looks at how far the groups are.
const LOOK: Duration = Duration::from_millis(50);
/// How long they may stand still before the rest counts as lost.
const STALLED: Duration = Duration::from_secs(20);

/// Counts what came of `sent`.
pub(super) async fn arrived(
    world: &World<'_>,
    consumers: &mut [Role],
    sent: &Sent,
) -> anyhow::Result<Vec<Arrived>> {
    let mut arrived = Vec::new();
    if consumers.is_empty() {
        arrived.push(Arrived {
            place: "log".to_owned(),
            expected: sent.ids,
            ids: in_log(world).await?,
            consumer: None,
        });
    }
    let names: Vec<_> = consumers.iter().map(Role::name).collect();
    nothing_behind(world, &names).await?;
    for consumer in consumers {
        let state = consumer.drain().await?;
        let place = consumer.name().to_owned();
        let ids = if world.plan.files {
            in_files(world, &place).await?
        } else {
            state.ids
        };
        arrived.push(Arrived {
            place,
            expected: sent.ids,
            ids,
            consumer: Some(state),
        });
    }
    Ok(arrived)
}

/// Waits until the groups of `destinations` have committed everything that lies in the log: what
/// came twice may stand at its very end. Gives up when nothing moves any more.
pub(super) async fn nothing_behind(world: &World<'_>, destinations: &[&str]) -> anyhow::Result<()> {
    let (mut least, mut moved) = (i64::MAX, Instant::now());
    loop {
        let mut behind = 0;
        for name in destinations {
            let destination = world.settings.destinations.get(*name);
            let group = &destination.context("a destination that is not set")?.group;
            let told = lag(&world.settings.kafka, group).await;
            let told = told.with_context(|| format!("how far is {group}?"))?;
            behind += told.iter().map(PartitionLag::lag).sum::<i64>();
        }
        if behind < least {
            (least, moved) = (behind, Instant::now());
        }
        if behind == 0 {
            return Ok(());
        }
        if moved.elapsed() > STALLED {
            say::note(format_args!(
                "{behind} records in the log were never settled"
            ));
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

async fn in_log(world: &World<'_>) -> anyhow::Result<Sum> {
    let kafka = &world.settings.kafka;
    let tally = Arc::new(Mutex::new(IdTally::default()));
    let adding = Arc::clone(&tally);
    let visit = move |_partition: i32, record: PolledRecord| {
        let value = record.value.unwrap_or_default();
        // What is no record adds nothing, and so is missing.
        if let Ok(view) = RecordView::parse(&value) {
            let id = Id16::of(view.tenant, view.key, view.request_id);
            adding.lock().add(id);
        }
    };
    let read = read_topic(kafka, &kafka.topic, visit).await;
    read.context("cannot read the log back")?;
    let sum = *tally.lock();
    Ok(sum.into())
}

async fn in_files(world: &World<'_>, destination: &str) -> anyhow::Result<Sum> {
    let settings = world.settings.destinations.get(destination);
    let settings = settings.context("a destination that is not set")?;
    let url = &settings.url;
    let mut tally = IdTally::default();
    let read = read_back(settings, &mut |line: DeliveredLine<'_>| {
        tally.add(line.id16)
    })
    .await;
    let read = read.with_context(|| format!("cannot read {url} back"))?;
    let damage = read.damage_count;
    ensure!(damage == 0, "{damage} objects at {url} are damaged");
    Ok(tally.into())
}
