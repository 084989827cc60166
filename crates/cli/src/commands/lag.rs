//! `cloudsync lag`: how far each group is behind, asked of the log.
//!
//! In: the groups of all destinations, or those that are named. Out: a table or one JSON object a
//! look. Joins no group and commits nothing.

use super::Common;
use crate::args::{LagArgs, Output};
use crate::failure::Failure;
use crate::ledger::grouped;
use crate::say;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync_kafka::{KafkaError, PartitionLag, lag};
use cloudsync_runtime::signals::Signals;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::sleep;

/// Where one group stands.
#[derive(Debug, Serialize)]
struct GroupLag {
    group: String,
    topic: String,
    /// Records that it has yet to settle, in all partitions.
    lag: i64,
    partitions: Vec<OfPartition>,
}

#[derive(Debug, Serialize)]
struct OfPartition {
    partition: i32,
    /// `null` before the first commit.
    committed: Option<i64>,
    start: i64,
    end: i64,
    lag: i64,
}

pub(super) async fn run(args: &LagArgs, common: &Common) -> Result<(), Failure> {
    let settings = common.settings(Settings::default(), args.flags())?;
    let groups = groups(args, &settings)?;
    let Some(seconds) = args.watch else {
        look(args, &settings, &groups).await?;
        return Ok(());
    };
    let mut signals = Signals::take().context("cannot listen for signals")?;
    loop {
        tokio::select! {
            result = look(args, &settings, &groups) => if !result? {
                return Ok(());
            },
            _ = signals.next() => return Ok(()),
        }
        tokio::select! {
            () = sleep(Duration::from_secs(seconds)) => {}
            _ = signals.next() => return Ok(()),
        }
    }
}

fn groups(args: &LagArgs, settings: &Settings) -> Result<Vec<String>, Failure> {
    if !args.group.is_empty() {
        return Ok(args.group.clone());
    }
    let of_all: Vec<String> = settings
        .destinations
        .values()
        .map(|destination| destination.group.clone())
        .collect();
    if of_all.is_empty() {
        return Err(Failure::usage(
            "no destination is set, so there is no group; name one with --group",
        ));
    }
    Ok(of_all)
}

/// Whether somebody still reads.
async fn look(args: &LagArgs, settings: &Settings, groups: &[String]) -> Result<bool, Failure> {
    let mut found = Vec::new();
    for group in groups {
        let partitions = lag(&settings.kafka, group)
            .await
            .map_err(|error| failure(error, group))?;
        found.push(GroupLag::of(group, &settings.kafka.topic, &partitions));
    }
    Ok(match args.output {
        Output::Json => {
            let json = serde_json::json!({ "groups": found });
            say::data(format_args!("{json}\n"))
        }
        Output::Table => say::data(table(&found, args.partitions)),
    })
}

fn failure(error: KafkaError, group: &str) -> Failure {
    let away = matches!(error, KafkaError::Unavailable { .. });
    let error = anyhow::Error::new(error);
    Failure::Failed(if away {
        error.context(
            "nothing was asked: start kafka (or cloudsync up), or say with --brokers where it is",
        )
    } else {
        error.context(format!("cannot tell where group {group} stands"))
    })
}

/// A line for each group, or for each of its partitions as well.
fn table(groups: &[GroupLag], partitions: bool) -> String {
    let width = groups
        .iter()
        .map(|it| it.group.len())
        .max()
        .unwrap_or(0)
        .max(5);
    let mut out = format!(
        "{:<width$}  partition       committed             end             lag\n",
        "group"
    );
    let mut row = |group: &str, partition: &str, committed: &str, end: &str, lag: i64| {
        let lag = grouped(lag.unsigned_abs());
        // Writing to a string does not fail.
        let _ok = writeln!(
            out,
            "{group:<width$}  {partition:>9} {committed:>15} {end:>15} {lag:>15}"
        );
    };
    for group in groups {
        for of in group.partitions.iter().filter(|_| partitions) {
            let committed = of.committed.map_or_else(
                || "none".to_owned(),
                |offset| grouped(offset.unsigned_abs()),
            );
            let end = grouped(of.end.unsigned_abs());
            row(
                &group.group,
                &of.partition.to_string(),
                &committed,
                &end,
                of.lag,
            );
        }
        row(&group.group, "all", "", "", group.lag);
    }
    out
}

// === impl GroupLag ===

impl GroupLag {
    fn of(group: &str, topic: &str, partitions: &[PartitionLag]) -> Self {
        let of = |it: &PartitionLag| OfPartition {
            partition: it.partition,
            committed: it.committed,
            start: it.start,
            end: it.end,
            lag: it.lag(),
        };
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            lag: partitions.iter().map(PartitionLag::lag).sum(),
            partitions: partitions.iter().map(of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_line_and_its_partitions_if_asked() {
        let partitions = [
            PartitionLag {
                partition: 0,
                committed: Some(1_200),
                start: 0,
                end: 1_234,
            },
            PartitionLag {
                partition: 1,
                committed: None,
                start: 10,
                end: 20,
            },
        ];
        let groups = [GroupLag::of("aws-sync-group", "data-topic", &partitions)];
        let short = table(&groups, false);
        assert_eq!(
            short,
            "group           partition       committed             end             lag\n\
             aws-sync-group        all                                              44\n"
        );
        let long = table(&groups, true);
        assert!(
            long.contains("        0           1,200           1,234              34\n"),
            "{long}"
        );
        assert!(
            long.contains("        1            none              20              10\n"),
            "{long}"
        );
        let json = serde_json::to_value(&groups).unwrap();
        assert_eq!(json[0]["lag"], 44);
        assert!(json[0]["partitions"][1]["committed"].is_null());
    }
}
