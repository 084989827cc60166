//! `cloudsync dedupe`: what the dedupe stores hold, and what they would need.
//!
//! In: the settings, which name a store for each destination. Out: a table or one JSON object.
//! Promises: looks at the stores of running consumers only where they are shared (Redis); one that
//! lives in a process (`memory:`, or `file:` while it is in use) is not touched, and the way to its
//! numbers is said. Only `forget` changes what is known.

use super::Common;
use crate::args::{
    DedupeArgs, DedupeCommand, DedupeIdArgs, DedupePlanArgs, DedupeStatsArgs, Output,
};
use crate::failure::Failure;
use crate::ledger::grouped;
use crate::say;
use crate::settings::Settings;
use anyhow::{Context, anyhow};
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::settings::{Layout, is_shared};
use cloudsync_dedupe::{
    DedupeStore, LogPosition, Lookup, OpenError, StoreError, Subject, shard_of, sizing,
};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

pub(super) async fn run(args: &DedupeArgs, common: &Common) -> Result<(), Failure> {
    let settings = common.settings(Settings::default(), Vec::new())?;
    match &args.command {
        DedupeCommand::Stats(args) => stats(args, &settings).await,
        DedupeCommand::Show(args) => show(args, &settings).await,
        DedupeCommand::Forget(args) => forget(args, &settings, common).await,
        DedupeCommand::Plan(args) => {
            plan(args, &settings);
            Ok(())
        }
    }
}

// === which stores ===

/// The stores of the destinations `wanted`, or of all, by name.
async fn stores(
    settings: &Settings,
    wanted: &[String],
) -> Result<Vec<(String, Arc<dyn DedupeStore>)>, Failure> {
    let known: Vec<&String> = settings.destinations.keys().collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        let known = known.join(", ");
        return Err(Failure::usage(format!(
            "there is no destination {unknown:?} in the settings; they have {known}"
        )));
    }
    let mut stores = Vec::new();
    for (name, destination) in &settings.destinations {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        if settings.dedupe.url.starts_with("memory") {
            return Err(Failure::usage(OpenError::Elsewhere));
        }
        // A store is named by where its destination lies.
        if destination.url.is_empty() {
            return Err(Failure::usage(format!(
                "destinations.{name}.url is not set; set it as the consumer of {name} has it"
            )));
        }
        let (dedupe, named) = (settings.dedupe.clone(), destination.dedupe_name(name));
        let open = move || cloudsync_dedupe::settings::look_at(&dedupe, &named);
        let opened = tokio::task::spawn_blocking(open).await;
        let store = opened.context("the store was not opened")?.with_context(|| {
            format!("cannot look at the store of {name}; while a consumer has it, its /metrics tells")
        })?;
        stores.push((name.clone(), store));
    }
    Ok(stores)
}

async fn asked<T>(
    name: &str,
    store: &Arc<dyn DedupeStore>,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Failure> {
    let patience = store.patience();
    let answer = timeout(patience, call).await;
    let answer = answer.map_err(|_| anyhow!("no answer within {patience:?}"));
    let answer = answer.and_then(|answer| Ok(answer?));
    answer
        .with_context(|| format!("destination {name}"))
        .map_err(Failure::Failed)
}

// === stats ===

async fn stats(args: &DedupeStatsArgs, settings: &Settings) -> Result<(), Failure> {
    let (mut table, mut all) = (String::new(), Vec::new());
    let row = |table: &mut String, cells: [&str; 5]| {
        let [name, ids, memory, window, effective] = cells;
        let _infallible = writeln!(
            table,
            "{name:<16}  {ids:>15}  {memory:>12}  {window:>10}  {effective:>16}"
        );
    };
    row(
        &mut table,
        ["destination", "ids", "memory", "window", "effective window"],
    );
    for (name, store) in stores(settings, &args.destination).await? {
        let found = asked(&name, &store, store.stats()).await?;
        let shared = is_shared(&settings.dedupe.url);
        let counted = !(shared && settings.dedupe.layout == Layout::Keys);
        // The store is opened to be looked at, and so with another window than it is run with.
        let window = settings.dedupe.window.as_secs();
        let effective = found.effective_window.map(|it| it.as_secs());
        all.push(json!({
            "destination": name,
            "entries": counted.then_some(found.entries),
            "bytes": counted.then_some(found.bytes),
            "window_seconds": window,
            "effective_window_seconds": effective,
        }));
        let (ids, memory) = match counted {
            true => (grouped(found.entries), mebibytes(found.bytes)),
            // Only a walk through all keys would tell.
            false => ("not counted".to_owned(), "–".to_owned()),
        };
        let window = format!("{window} s");
        let effective = effective.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds} s"));
        row(&mut table, [&name, &ids, &memory, &window, &effective]);
    }
    print(args.output, &table, &json!({ "stores": all }));
    Ok(())
}

// === show and forget ===

fn subject(args: &DedupeIdArgs, settings: &Settings, fingerprint: Fingerprint) -> Subject {
    // As the partition is chosen: by the key, else by the id.
    let chooses = if args.key.is_empty() {
        &args.id
    } else {
        &args.key
    };
    Subject {
        id: Id16::of(&args.tenant, &args.key, &args.id),
        fingerprint,
        shard: shard_of(chooses.as_bytes(), settings.dedupe.shards),
        position: LogPosition {
            partition: -1,
            offset: -1,
        },
    }
}

/// What is known of an id, whatever its content.
async fn known(
    args: &DedupeIdArgs,
    settings: &Settings,
    name: &str,
    store: &Arc<dyn DedupeStore>,
) -> Result<(Lookup, Fingerprint), Failure> {
    let mut fingerprint = Fingerprint(0);
    loop {
        let subject = [subject(args, settings, fingerprint)];
        let found = asked(name, store, store.lookup(&subject)).await?;
        match found.first() {
            // The store answers about a content: the one that it says it has is the one meant.
            Some(Lookup::Conflict { stored }) if *stored != fingerprint => fingerprint = *stored,
            Some(found) => return Ok((*found, fingerprint)),
            None => return Err(Failure::Failed(anyhow!("destination {name}: no answer"))),
        }
    }
}

async fn show(args: &DedupeIdArgs, settings: &Settings) -> Result<(), Failure> {
    let (mut table, mut all) = (String::new(), Vec::new());
    for (name, store) in stores(settings, &args.destination).await? {
        let (found, fingerprint) = known(args, settings, &name, &store).await?;
        let (state, at) = match found {
            Lookup::Unknown | Lookup::Conflict { .. } => ("unknown", None),
            Lookup::InProgress => ("in progress", None),
            Lookup::Done { position } => ("done", Some(position)),
            Lookup::DeadLettered { position } => ("dead-lettered", Some(position)),
        };
        let lies = store.place_of(&subject(args, settings, fingerprint));
        let at = at.map(|at| format!("{}/{}", at.partition, at.offset));
        let known = state != "unknown";
        let print = known.then(|| format!("{:016x}", fingerprint.0));
        let _infallible = write!(table, "{name}: {state}");
        for (what, value) in [(" at", &at), (" fingerprint", &print), ("\n  in", &lies)] {
            if let Some(value) = value {
                let _infallible = write!(table, "{what} {value}");
            }
        }
        table.push('\n');
        all.push(json!({
            "destination": name, "state": state, "at": at, "fingerprint": print, "in": lies,
        }));
    }
    let id = format!(
        "{:032x}",
        u128::from_be_bytes(subject(args, settings, Fingerprint(0)).id.0)
    );
    print(
        args.output,
        &table,
        &json!({ "id16": id, "destinations": all }),
    );
    Ok(())
}

async fn forget(args: &DedupeIdArgs, settings: &Settings, common: &Common) -> Result<(), Failure> {
    let (mut table, mut all) = (String::new(), Vec::new());
    for (name, store) in stores(settings, &args.destination).await? {
        let (found, fingerprint) = known(args, settings, &name, &store).await?;
        let subject = [subject(args, settings, fingerprint)];
        asked(&name, &store, store.forget(&subject)).await?;
        let was = found != Lookup::Unknown;
        let said = if was { "forgotten" } else { "was not known" };
        let _infallible = writeln!(table, "{name}: {said}");
        all.push(json!({ "destination": name, "forgotten": was }));
    }
    print(args.output, &table, &json!({ "destinations": all }));
    common.note(
        "a running gateway may still answer this id from its own memory (gateway.recent_ids)",
    );
    Ok(())
}

// === plan ===

fn plan(args: &DedupePlanArgs, settings: &Settings) {
    let window = args.window.unwrap_or(settings.dedupe.window);
    let needs = sizing::needs(args.rate, window);
    let mut table = format!(
        "{} new ids a second, remembered for {}, for each destination:\n\n{:<22}  {:>8}  {:>15}  {:>14}  {:>14}\n",
        grouped(args.rate),
        said(window),
        "store",
        "B an id",
        "most ids",
        "memory",
        "disk",
    );
    for need in &needs {
        let tenths = need.tenths_of_a_byte;
        let bytes = format!("{}.{}", tenths / 10, tenths % 10);
        let disk = if need.disk == 0 {
            "–".to_owned()
        } else {
            mebibytes(need.disk)
        };
        let _infallible = writeln!(
            table,
            "{:<22}  {bytes:>8}  {:>15}  {:>14}  {disk:>14}",
            need.store,
            grouped(need.ids),
            mebibytes(need.memory),
        );
    }
    let of_a_window = needs.first().map_or(0, |need| need.ids);
    let _infallible = write!(
        table,
        "\nFor memory: and file: set dedupe.max_entries = {of_a_window}; for buckets set \
         dedupe.redis_expected_ids = {of_a_window}. The server's own memory comes on top; an AOF \
         rewrite or a snapshot may double it for a while.\n",
    );
    let all: Vec<Value> = needs
        .iter()
        .map(|need| {
            json!({
                "store": need.store, "bytes_an_id": need.tenths_of_a_byte as f64 / 10.0,
                "ids": need.ids, "memory_bytes": need.memory, "disk_bytes": need.disk,
            })
        })
        .collect();
    let json = json!({ "rate": args.rate, "window_seconds": window.as_secs(), "stores": all });
    print(args.output, &table, &json);
}

fn said(window: Duration) -> String {
    let seconds = window.as_secs();
    match seconds {
        _ if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{window:?}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes.div_ceil(1 << 20)))
}

fn print(output: Output, table: &str, json: &Value) {
    match output {
        Output::Table => say::data(table),
        Output::Json => say::data(format_args!("{json}\n")),
    };
}
