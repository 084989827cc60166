//! The report of `bench pipeline --dedupe all` for a person.
//!
//! In: a [`Report`]. Out: lines of text, a row a store, and below them what the columns are.

use super::{Report, StoreReport};
use crate::bench::table::asked_for;
use crate::ledger::grouped;
use std::fmt::Write as _;

/// `report` as a table.
pub(crate) fn of(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _written = write(&mut out, report).is_ok();
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "{}: payload {} B{}\n",
        report.kind,
        report.payload_bytes,
        asked_for(report.batch, report.connections, report.rate)
    )?;
    writeln!(
        out,
        "{:<10}{:>11}{:>8}{:>14}{:>10}{:>9}{:>11}{:>12}{:>6}{:>9}",
        "dedupe",
        "records/s",
        "of off",
        "consumers µs",
        "Redis µs",
        "all µs",
        "dedupe µs",
        "ack p99 ms",
        "lost",
        "doubled"
    )?;
    report.stores.iter().try_for_each(|it| row(out, it))?;
    let rounds = report.stores.iter().map(|it| it.rounds.len());
    writeln!(
        out,
        "\nProcessor time a record: of both consumers, of the Redis, of every process with the \
         clients and the\nlog, and how much of that is more than without dedupe. A Redis also \
         keeps the gateway's receipts.\nMedians of the rounds ({}), in which each store had {:.1} s \
         on a log of its own.",
        rounds.max().unwrap_or(0),
        report.seconds
    )
}

fn row(out: &mut String, it: &StoreReport) -> std::fmt::Result {
    let redis = it.redis_us;
    let redis = redis.map_or_else(|| "–".to_owned(), |it| format!("{it:.2}"));
    writeln!(
        out,
        "{:<10}{:>11}{:>8.2}{:>14.2}{redis:>10}{:>9.2}{:>11.2}{:>12.1}{:>6}{:>9}",
        it.dedupe,
        grouped(it.records_per_second as u64),
        it.rate_of_off,
        it.consumers_us,
        it.all_us,
        it.dedupe_us,
        it.ack_p99_ms,
        it.lost,
        it.doubled
    )
}
