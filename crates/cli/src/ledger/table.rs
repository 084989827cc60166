//! The ledger for a person: each number with what it means, and one sentence at the end.

use super::{DestinationLedger, Ledger};
use std::fmt::Write as _;

/// Width of a column of numbers.
const NUMBER: usize = 14;
/// Width of the column of names.
const NAME: usize = 24;

type Column = fn(&DestinationLedger) -> u64;

/// The rows of a destination: what is counted, and what that means.
const ROWS: [(&str, Column, &str); 8] = [
    (
        "  delivered",
        |d| d.delivered,
        "lie there, read back just now",
    ),
    (
        "+ duplicates",
        |d| d.duplicates,
        "were there already, so not written again",
    ),
    (
        "+ dead-lettered",
        |d| d.dead_lettered,
        "set aside in the dead-letter topic",
    ),
    (
        "+ not addressed",
        |d| d.not_addressed,
        "name other destinations",
    ),
    (
        "  redelivered",
        |d| d.redelivered,
        "met again after a restart or a rebalance",
    ),
    ("  lost", |d| d.lost, "acknowledged, but not there"),
    ("  doubled", |d| d.doubled, "there more than once"),
    (
        "  altered",
        |d| d.altered,
        "there, but not as they were sent",
    ),
];

pub(super) fn render(ledger: &Ledger) -> String {
    let mut out = String::from("What was sent\n");
    sent(&mut out, ledger);
    out.push_str("\nWhat became of it\n");
    let names: Vec<String> = ledger.destinations.iter().map(|d| d.name.clone()).collect();
    line(&mut out, "", &names, "");
    let all: Vec<String> = names.iter().map(|_| grouped(ledger.in_log)).collect();
    let what = "this many must be accounted for by the next four:";
    line(&mut out, "  in the log", &all, what);
    for (name, column, what) in ROWS {
        let values: Vec<String> = ledger
            .destinations
            .iter()
            .map(|d| grouped(column(d)))
            .collect();
        line(&mut out, name, &values, what);
    }
    out.push('\n');
    out.push_str(&verdict(ledger));
    out
}

fn sent(out: &mut String, ledger: &Ledger) {
    let mut row = |name: &str, value: u64, what: &str| line(out, name, &[grouped(value)], what);
    let resent = match ledger.resent {
        0 => "records handed to the gateway".to_owned(),
        again => format!(
            "records handed to the gateway, {} of them again",
            grouped(again)
        ),
    };
    row("  sent", ledger.sent, &resent);
    let what = "the gateway said: durable in the log";
    row("  acknowledged", ledger.acked, what);
    if ledger.refused > 0 {
        let what = "the gateway said: never acceptable";
        row("  refused", ledger.refused, what);
    }
    if ledger.not_records > 0 {
        let what = "lines or elements of the input that are none, so never sent";
        row("  not records", ledger.not_records, what);
    }
    if ledger.unacked_in_log > 0 {
        let what = "durable, but the answer was lost on its way";
        row("+ unacknowledged", ledger.unacked_in_log, what);
    }
    if ledger.duplicates_at_gateway > 0 {
        let (count, what) = (ledger.duplicates_at_gateway, "not written again");
        row("- duplicates at gateway", count, what);
    }
    let what = "records, counted from the log";
    row("= in the log", ledger.in_log, what);
}

fn line(out: &mut String, name: &str, values: &[String], what: &str) {
    let start = out.len();
    // Writing into a string cannot fail.
    let mut done = write!(out, "{name:<NAME$}").is_ok();
    for value in values {
        done &= write!(out, "{value:>NUMBER$}").is_ok();
    }
    done &= write!(out, "   {what}").is_ok();
    debug_assert!(done, "writing into a string");
    let end = start + out.get(start..).unwrap_or_default().trim_end().len();
    out.truncate(end);
    out.push('\n');
}

fn verdict(ledger: &Ledger) -> String {
    let mut out = String::new();
    if ledger.elapsed_seconds > 0.0 {
        let whole = (ledger.records_per_second.round().max(0.0)) as u64;
        out = format!(
            "{:.1} s from the first send until both groups had committed everything: {} \
             records/s.\n",
            ledger.elapsed_seconds,
            grouped(whole)
        );
        if ledger.destinations.len() != 2 {
            out = out.replace("both groups", "every group");
        }
    }
    let sum = |column: Column| ledger.destinations.iter().map(column).sum::<u64>();
    if ledger.is_clean() {
        out.push_str("Nothing lost, nothing doubled, nothing altered.\n");
        if ledger.left_out() > 0 {
            let count = grouped(ledger.left_out());
            out.push_str(&format!(
                "Not taken from the input, and so nowhere: {count}.\n"
            ));
        }
    } else {
        let counts = [
            (sum(|d| d.lost), "lost"),
            (sum(|d| d.doubled), "doubled"),
            (sum(|d| d.altered), "altered"),
            (ledger.problems.len() as u64, "objects or sums at fault"),
        ];
        let named = if ledger.problems.is_empty() { 3 } else { 4 };
        let counts: Vec<String> = counts
            .iter()
            .take(named)
            .map(|(count, name)| format!("{} {name}", grouped(*count)))
            .collect();
        out.push_str(&format!(
            "The ledger does not hold: {}.\n",
            counts.join(", ")
        ));
    }
    out
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_each_number_means() {
        let destination = |name: &str| DestinationLedger {
            name: name.to_owned(),
            delivered: 200_000,
            duplicates: 40_000,
            ..DestinationLedger::default()
        };
        let mut ledger = Ledger {
            sent: 240_000,
            acked: 240_000,
            resent: 40_000,
            in_log: 240_000,
            destinations: vec![destination("aws"), destination("azure")],
            elapsed_seconds: 2.5,
            records_per_second: 96_000.0,
            ..Ledger::default()
        };
        let expected = "\
What was sent
  sent                         240,000   records handed to the gateway, 40,000 of them again
  acknowledged                 240,000   the gateway said: durable in the log
= in the log                   240,000   records, counted from the log

What became of it
                                   aws         azure
  in the log                   240,000       240,000   this many must be accounted for by the next four:
  delivered                    200,000       200,000   lie there, read back just now
+ duplicates                    40,000        40,000   were there already, so not written again
+ dead-lettered                      0             0   set aside in the dead-letter topic
+ not addressed                      0             0   name other destinations
  redelivered                        0             0   met again after a restart or a rebalance
  lost                               0             0   acknowledged, but not there
  doubled                            0             0   there more than once
  altered                            0             0   there, but not as they were sent

2.5 s from the first send until both groups had committed everything: 96,000 records/s.
Nothing lost, nothing doubled, nothing altered.
";
        assert_eq!(ledger.table(), expected);
        (ledger.refused, ledger.not_records) = (1, 2);
        let table = ledger.table();
        let row =
            "  not records                        2   lines or elements of the input that are";
        assert!(table.contains(row), "{table}");
        assert!(table.ends_with("Not taken from the input, and so nowhere: 3.\n"));
        ledger.destinations[1].lost = 1;
        assert!(
            ledger
                .table()
                .ends_with("The ledger does not hold: 1 lost, 0 doubled, 0 altered.\n")
        );
    }
}
