//! Log, gateway and consumer, each alone in its process: the same [`Stack`] that every other
//! command runs.
//!
//! In: settings. Out: where the part listens; of a consumer also what has become of the records.

use super::{Inbox, answer, not_for_me, up};
use crate::bench::messages::{Answer, ConsumerState, Question};
use crate::settings::Settings;
use crate::stack::{Roles, Stack};
use anyhow::Context;
use cloudsync_consumers::Counters;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a part may take to come up.
const READY: Duration = Duration::from_secs(60);

/// The embedded log in `directory`, with its topics.
pub(super) async fn log(
    settings: &Settings,
    directory: PathBuf,
    inbox: Inbox,
) -> anyhow::Result<()> {
    let roles = Roles {
        log: Some(directory),
        topics: true,
        ..Roles::default()
    };
    let stack = Stack::start(settings, &roles).await?;
    up(stack.addresses().log);
    rest(&stack, inbox).await
}

/// The gateway.
pub(super) async fn gateway(settings: &Settings, inbox: Inbox) -> anyhow::Result<()> {
    let roles = Roles {
        gateway: true,
        ..Roles::default()
    };
    let stack = Stack::start(settings, &roles).await?;
    stack.ready(READY).await?;
    up(stack.addresses().gateway);
    rest(&stack, inbox).await
}

/// Until nothing more is asked; a log and a gateway have nothing to say.
async fn rest(stack: &Stack, mut inbox: Inbox) -> anyhow::Result<()> {
    tokio::select! {
        ended = stack.ended() => Err(ended.into()),
        question = inbox.next::<Question>() => Err(not_for_me(&question?)),
    }
}

/// The consumer of `destination`; without `dedupe` it recognises nothing.
pub(super) async fn consumer(
    settings: &Settings,
    destination: String,
    dedupe: bool,
    mut inbox: Inbox,
) -> anyhow::Result<()> {
    up(None);
    let Question::Start = inbox.next().await? else {
        anyhow::bail!("a consumer is started before it is asked");
    };
    let roles = Roles {
        consumers: vec![destination.clone()],
        without_dedupe: !dedupe,
        ..Roles::default()
    };
    let stack = Stack::start(settings, &roles).await?;
    up(None);
    let counters = stack.consumers().get(&destination).map(Arc::clone);
    let counters = counters.context("the consumer counts nothing")?;
    loop {
        let question = tokio::select! {
            ended = stack.ended() => return Err(ended.into()),
            question = inbox.next::<Question>() => question?,
        };
        match question {
            Question::State => {}
            Question::Drain => {
                let left = stack.drain(settings.grace_period).await;
                anyhow::ensure!(left.is_empty(), "{}", left.join("; "));
            }
            other => return Err(not_for_me(&other)),
        }
        answer(&Answer::State(
            state(&stack, &destination, &counters).await?,
        ));
    }
}

async fn state(
    stack: &Stack,
    destination: &str,
    counters: &Counters,
) -> anyhow::Result<ConsumerState> {
    let store = stack.dedupe(destination).context("there is no store")?;
    let stats = store.stats().await.context("the store does not tell")?;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(ConsumerState {
        ids: counters.tally().into(),
        looked_up: stats.lookups,
        delivered: load(&counters.delivered),
        duplicates: load(&counters.duplicates),
        set_aside: load(&counters.dead_lettered) + load(&counters.not_addressed),
        redelivered: load(&counters.redelivered),
        dedupe_bytes: stats.bytes,
        dedupe_evicted: stats.evicted,
        effective_window_seconds: stats.effective_window.map(|it| it.as_secs_f64()),
    })
}
