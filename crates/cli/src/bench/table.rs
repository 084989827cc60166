//! A report for a person.
//!
//! In: a [`Report`]. Out: lines of text, the figures in columns.

use super::report::{Report, RoleReport};
use crate::args::BenchKind;
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
        load(report)
    )?;
    writeln!(
        out,
        "{:<26}{:>14}{:>17}{:>11}",
        "", "records/s", "CPU µs/record", "peak MiB"
    )?;
    let floor = &report.floor;
    let total = |out: &mut String, name: &str, rate: f64, cpu: f64| {
        let rate = grouped(rate as u64);
        writeln!(out, "{name:<26}{rate:>14}{cpu:>17.2}")
    };
    let rate = report.records_per_second;
    total(
        out,
        &report.floor.held_against.join(" + "),
        rate,
        floor.ours_cpu_us_per_record,
    )?;
    report.roles.iter().try_for_each(|it| role(out, it))?;
    total(
        out,
        "floor",
        floor.records_per_second,
        floor.cpu_us_per_record,
    )?;
    floor.roles.iter().try_for_each(|it| role(out, it))?;
    let name = "ours / floor, median of rounds";
    writeln!(out, "{name:<40}{:>17.2}\n", floor.cpu_ratio)?;
    writeln!(out, "The floor is: {}.", floor.is)?;
    for (number, round) in report.rounds.iter().enumerate() {
        writeln!(
            out,
            "Round {}: {} records/s at {:.2} µs, floor {} at {:.2} µs: {:.2}.",
            number + 1,
            grouped(round.records_per_second as u64),
            round.cpu_us_per_record,
            grouped(round.floor_records_per_second as u64),
            round.floor_cpu_us_per_record,
            round.cpu_ratio
        )?;
    }
    if let Some(ack) = report.ack_ms {
        writeln!(
            out,
            "Acknowledged after: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms.",
            ack.p50, ack.p99, ack.p999, ack.max
        )?;
    }
    arrived(out, report)
}

/// What the clients did, where there were any.
fn load(report: &Report) -> String {
    if report.ack_ms.is_none() {
        return String::new();
    }
    asked_for(report.batch, report.connections, report.rate)
}

/// The load as the head of a table names it, behind the payload.
pub(super) fn asked_for(batch: usize, connections: usize, rate: Option<f64>) -> String {
    let rate = match rate {
        Some(rate) => format!("{} records/s asked for", grouped(rate as u64)),
        None => "as fast as it goes".to_owned(),
    };
    format!(", batches of {batch}, {connections} connections, {rate}")
}

fn role(out: &mut String, role: &RoleReport) -> std::fmt::Result {
    let RoleReport {
        name,
        cpu_us_per_record,
        peak_rss_mib,
    } = role;
    let name = format!("  {name}");
    writeln!(
        out,
        "{name:<40}{cpu_us_per_record:>17.2}{peak_rss_mib:>11.0}"
    )
}

fn arrived(out: &mut String, report: &Report) -> std::fmt::Result {
    let records = grouped(report.records);
    write!(out, "{records} records in {:.1} s", report.seconds)?;
    if report.records_again > 0 {
        let again = grouped(report.records_again);
        write!(out, ", and {again} of them once more")?;
    }
    if report.kind == BenchKind::Pipeline.name() {
        let tail = report.tail_seconds / report.rounds.len().max(1) as f64;
        write!(
            out,
            "; delivered {tail:.2} s after the last acknowledgement"
        )?;
    }
    writeln!(out, ".")?;
    for it in &report.arrived {
        write!(
            out,
            "{}: {} acknowledged, warm-up included; lost {}, doubled {}",
            it.place,
            grouped(it.expected),
            it.lost,
            it.doubled
        )?;
        if report.resent > 0 {
            let (again, known) = (grouped(report.resent), grouped(it.duplicates));
            let before = grouped(report.duplicates_at_gateway);
            write!(
                out,
                "; {again} sent again, {before} recognised by the gateway, {known} here"
            )?;
        }
        if it.dedupe_mib > 0.0 {
            write!(out, "; dedupe table {:.0} MiB", it.dedupe_mib)?;
        }
        writeln!(out, ".")?;
    }
    Ok(())
}
