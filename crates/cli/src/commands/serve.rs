//! What `up`, `gateway` and `consumer` share: starting, telling what is waited for, ending.

use crate::doctor::{self, State};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, sizes};
use crate::stack::{Roles, Stack, StackError, Waiting};
use anyhow::Context;
use cloudsync_runtime::Checklist;
use cloudsync_runtime::signals::Signals;
use std::io;
use std::time::Duration;

/// How often it is told what is waited for.
const TELL: Duration = Duration::from_secs(5);

impl From<StackError> for Failure {
    fn from(error: StackError) -> Self {
        if error.is_usage() {
            Self::Usage(error.into())
        } else {
            Self::Failed(error.into())
        }
    }
}

/// Starts `roles`, tells `list` about them, and runs them until a signal comes. `ready` is told
/// once everything is ready for the first time.
pub(super) async fn serve(
    settings: &Settings,
    roles: &Roles,
    list: &mut Checklist<io::Stderr>,
    ready: impl FnOnce(&Stack, &mut Checklist<io::Stderr>) + Send,
) -> Result<(), Failure> {
    let mut signals = Signals::take().context("cannot listen for signals")?;
    if let Some(why) = sizes::crowded(settings) {
        tracing::warn!("{why}");
    }
    let started = tokio::select! {
        started = Stack::start(settings, roles) => started,
        name = signals.next() => {
            say::note(format_args!("{name} while starting"));
            return Err(Failure::Interrupted(name));
        }
    };
    let stack = started?;
    addresses(&stack, list);
    let name = tokio::select! {
        name = signals.next() => name,
        error = come_up_and_run(settings, &stack, list, ready) => {
            list.fail("stopped", &error);
            stack.stop();
            return Err(Failure::Told);
        }
    };
    list.note(format_args!(
        "{name}: finishing what was taken; a second signal stops at once"
    ));
    end(stack, settings.grace_period, &mut signals).await
}

fn addresses(stack: &Stack, list: &mut Checklist<io::Stderr>) {
    let addresses = stack.addresses();
    if let Some(log) = addresses.log {
        list.pass(
            "log",
            format_args!("{log}, the Kafka protocol, this machine only"),
        );
    }
    for topic in stack.topics() {
        list.pass(
            "topic",
            format_args!("{}, {} partitions", topic.topic, topic.partitions),
        );
        if let Some(warning) = &topic.warning {
            list.note(format_args!("  note: {warning}"));
        }
    }
    if let Some(gateway) = addresses.gateway {
        list.pass("gateway", format_args!("{gateway}, gRPC and HTTP"));
    }
    if let Some(admin) = addresses.admin {
        list.pass(
            "admin",
            format_args!("http://{admin}/readyz, http://{admin}/livez"),
        );
    }
}

/// Never returns, unless a part ends.
async fn come_up_and_run(
    settings: &Settings,
    stack: &Stack,
    list: &mut Checklist<io::Stderr>,
    ready: impl FnOnce(&Stack, &mut Checklist<io::Stderr>) + Send,
) -> StackError {
    loop {
        match stack.ready(TELL).await {
            Ok(()) => break,
            Err(StackError::NotReady { waiting, .. }) => {
                tell(&waiting, list);
                tell_trouble(stack, list).await;
            }
            Err(error) => return error,
        }
    }
    ready(stack, list);
    let running = stack.ended();
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended.into(),
        () = check_log(settings, stack) => {}
    }
    running.await.into()
}

/// What the log does not take, although the settings say so, is told before the first record that
/// it refuses.
async fn check_log(settings: &Settings, stack: &Stack) {
    if stack.addresses().gateway.is_none() {
        return;
    }
    let kafka = stack.kafka();
    for finding in doctor::log::examine_topics(kafka).await {
        if matches!(finding.state, State::Warn | State::Fail) {
            tracing::warn!(check = finding.check, "{}", finding.detail);
        }
    }
    if let Some(why) = sizes::short_window(settings) {
        tracing::debug!("{why}");
    }
}

fn tell(waiting: &Waiting, list: &mut Checklist<io::Stderr>) {
    for (name, what) in &waiting.0 {
        list.fail(name, format_args!("waits for {what}"));
    }
}

/// Says why brokers elsewhere do not answer, if they do not: the parts that wait know no more than
/// that.
async fn tell_trouble(stack: &Stack, list: &mut Checklist<io::Stderr>) {
    if stack.addresses().log.is_none()
        && let Ok(Some(error)) = cloudsync_kafka::trouble(stack.kafka()).await
    {
        list.fail("kafka", error);
    }
}

async fn end(stack: Stack, grace: Duration, signals: &mut Signals) -> Result<(), Failure> {
    let left = tokio::select! {
        left = stack.drain(grace) => left,
        name = signals.next() => {
            say::note(format_args!("{name}: stopped at once"));
            stack.stop();
            stack.close().await?;
            return Err(Failure::Interrupted(name));
        }
    };
    for what in &left {
        say::note(format_args!(
            "after {grace:?} {what}; it is met again after a restart"
        ));
    }
    if !left.is_empty() {
        stack.stop();
    }
    stack.close().await?;
    Ok(())
}
