//! The rows for a person: expected beside found, a line for each destination.

use super::run::{Found, Row};
use crate::ledger::grouped;
use std::fmt::Write as _;

/// All rows, and what of them is not as expected.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut out = line([
        "",
        "",
        "",
        "",
        "effects",
        "duplicates",
        "at gateway",
        "",
        "",
        "",
        "",
    ]);
    out.push_str(&line([
        "scenario",
        "sent",
        "acked",
        "at",
        "found/exp.",
        "found/exp.",
        "+ there",
        "lost",
        "twice",
        "lag",
        "",
    ]));
    for row in rows {
        for (index, found) in row.destinations.iter().enumerate() {
            out.push_str(&destination(row, found, index == 0));
        }
    }
    for row in rows {
        if let Some(left_out) = &row.left_out {
            let _infallible = writeln!(out, "scenario {}: {left_out}", row.scenario);
        }
    }
    out
}

fn destination(row: &Row, found: &Found, is_first: bool) -> String {
    let of_row = |text: String| if is_first { text } else { String::new() };
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), grouped);
    let beside =
        |found: Option<u64>, expected: u64| format!("{}/{}", number(found), grouped(expected));
    let duplicates = [Some(row.duplicates_at_gateway), found.duplicates_there].map(number);
    let verdict = if row.ok { "as expected" } else { "DIFFERENT" };
    line([
        &of_row(format!("{} {}", row.scenario, row.name)),
        &of_row(grouped(row.sent)),
        &of_row(grouped(row.acked)),
        &found.name,
        &beside(found.effects, row.effects_expected),
        &beside(found.duplicates, row.duplicates_expected),
        &duplicates.join(" + "),
        &number(found.lost),
        &number(found.doubled),
        &grouped(found.lag.unsigned_abs()),
        &of_row(verdict.to_owned()),
    ])
}

fn line(cells: [&str; 11]) -> String {
    let [
        name,
        sent,
        acked,
        at,
        effects,
        duplicates,
        where_,
        lost,
        doubled,
        lag,
        verdict,
    ] = cells;
    let line = format!(
        "{name:<42} {sent:>7} {acked:>7} {at:>8} {effects:>15} {duplicates:>15} {where_:>15} \
         {lost:>4} {doubled:>5} {lag:>4}  {verdict}"
    );
    format!("{}\n", line.trim_end())
}
