//! The rows for a person: found beside expected, a line for each destination.

use super::run::{Found, Row};
use crate::ledger::grouped;
use std::fmt::Write as _;

type Cells = [String; 11];

/// The columns, and whether they are numbers.
const HEAD: [(&str, bool); 11] = [
    ("", false),
    ("scenario", false),
    ("sent", true),
    ("acked", true),
    ("at", false),
    ("effects", true),
    ("duplicates", true),
    ("gateway + there", true),
    ("lost", true),
    ("twice", true),
    ("lag", true),
];

/// All rows, and what could not be done.
pub(crate) fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(|(name, _)| name.to_owned())];
    for row in rows {
        for (index, found) in row.destinations.iter().enumerate() {
            lines.push(cells(row, found, index == 0));
        }
    }
    let width = |at: usize| {
        let widths = lines.iter().map(|line| line[at].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; 11] = std::array::from_fn(width);
    let mut out = String::new();
    for line in &lines {
        let start = out.len();
        for ((cell, width), (_, is_number)) in line.iter().zip(widths).zip(HEAD) {
            let _infallible = match is_number {
                true => write!(out, "{cell:>width$}  "),
                false => write!(out, "{cell:<width$}  "),
            };
        }
        let end = start + out.get(start..).unwrap_or_default().trim_end().len();
        out.truncate(end);
        out.push('\n');
    }
    out.push_str("Effects and duplicates: found / expected.\n");
    for row in rows {
        if let Some(left_out) = &row.left_out {
            let _infallible = writeln!(out, "Scenario {}: {left_out}.", row.scenario);
        }
    }
    out
}

fn cells(row: &Row, found: &Found, is_first: bool) -> Cells {
    let of_row = |text: String| if is_first { text } else { String::new() };
    let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), grouped);
    let beside = |found, expected| format!("{} / {}", number(found), grouped(expected));
    let duplicates = [Some(row.duplicates_at_gateway), found.duplicates_there].map(number);
    [
        of_row(if row.ok { "ok" } else { "FAIL" }.to_owned()),
        of_row(format!("{} {}", row.scenario, row.name)),
        of_row(grouped(row.sent)),
        of_row(grouped(row.acked)),
        found.name.clone(),
        beside(found.effects, row.effects_expected),
        beside(found.duplicates, row.duplicates_expected),
        duplicates.join(" + "),
        number(found.lost),
        number(found.doubled),
        grouped(found.lag.unsigned_abs()),
    ]
}
