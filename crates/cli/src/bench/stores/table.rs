//! The report of `bench dedupe` for a person.
//!
//! In: a [`Report`]. Out: lines of text, the figures in columns, and below them what they are.

use super::report::{Cells, CostReport, Report};
use crate::ledger::grouped;
use cloudsync_dedupe::floor::Work;
use std::fmt::Write as _;

/// `report` as a table.
pub(crate) fn of(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _written = write(&mut out, report).is_ok();
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    for (work, name) in [
        (Work::ClaimComplete, "claim + complete"),
        (Work::LookupComplete, "lookup + complete"),
    ] {
        writeln!(
            out,
            "{name:<19}{:>8}{:>12}{:>11}{:>10}{:>14}{:>11}{:>10}{:>8}",
            "ids/call",
            "ids/s",
            "client µs",
            "Redis µs",
            "floor ids/s",
            "client µs",
            "Redis µs",
            "ratio"
        )?;
        let rows = report.costs.iter().filter(|it| it.work == work);
        rows.into_iter().try_for_each(|it| row(out, it))?;
        writeln!(out)?;
    }
    writeln!(
        out,
        "{:<19}{:>14}{:>12}{:>15}{:>11}",
        "memory", "ids", "B an id", "open, wall s", "CPU s"
    )?;
    for it in &report.memory {
        writeln!(
            out,
            "{:<19}{:>14}{:>12.1}{:>15}{:>11}",
            it.store,
            grouped(it.ids),
            it.bytes_per_id,
            cell(it.open_seconds),
            cell(it.open_cpu_seconds)
        )?;
    }
    footer(out, report)
}

fn row(out: &mut String, it: &CostReport) -> std::fmt::Result {
    let floor = it.floor.map_or_else(
        || ["–".to_owned(), "–".to_owned(), "–".to_owned()],
        |floor| cells(&floor),
    );
    let ([rate, client, redis], [floor_rate, floor_client, floor_redis]) = (cells(&it.ours), floor);
    writeln!(
        out,
        "{:<19}{:>8}{rate:>12}{client:>11}{redis:>10}{floor_rate:>14}{floor_client:>11}\
         {floor_redis:>10}{:>8}",
        it.store,
        it.batch,
        cell(it.rate_ratio)
    )
}

fn cells(cells: &Cells) -> [String; 3] {
    [
        grouped(cells.ids_per_second as u64),
        cell(Some(cells.client_us_per_id)),
        cell(cells.redis_us_per_id),
    ]
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

fn footer(out: &mut String, report: &Report) -> std::fmt::Result {
    let rounds = report.costs.iter().map(|it| it.rounds.len());
    let rounds = rounds.max().unwrap_or(0);
    writeln!(
        out,
        "\nIds that are all new, of one shard in each call, shards in turn; {} calls under way at a \
         time.\nclaim + complete: mode record and http; lookup + complete: mode batch. client: \
         processor time an id\nof the process that calls; Redis: that of the server by its INFO. \
         floor: the store's own commands,\nmade beforehand, as raw pipelines; of embedded append \
         and fdatasync of the same bytes; ratio:\nids/s of ours by those of the floor. Medians of \
         the rounds ({rounds}), in which each store and then its\nfloor had {:.2} s, warmed up. Memory: \
         used_memory of the Redis, else resident memory.\nAgain: cloudsync bench dedupe, on a \
         machine that does nothing else; a longer --seconds is calmer.",
        report.tasks, report.turn_seconds
    )
}
