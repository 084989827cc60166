//! `cloudsync lag`: how far each group is behind, asked of the log.
//!
//! In: the groups of all destinations, or those that are named. Out: a table or one JSON object a
//! look, with its time where there are several. Joins no group and commits nothing. Exit code 1
//! when a group that was named has never committed: most likely there is no such group.

use super::Common;
use crate::args::{LagArgs, Output};
use crate::failure::Failure;
use crate::ledger::grouped;
use crate::say;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync_kafka::{KafkaError, PartitionLag, lag};
use cloudsync_runtime::signals::Signals;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;
use tokio::time::sleep;

/// Where one group stands.
#[derive(Debug, Serialize)]
struct GroupLag {
    group: String,
    topic: String,
    /// Whether it has committed anything.
    begun: bool,
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
        let found = look(&settings, &groups).await?;
        print(args, &found, None)?;
        return not_begun(args, common, &settings, &found);
    };
    let mut signals = Signals::take().context("cannot listen for signals")?;
    loop {
        tokio::select! {
            found = look(&settings, &groups) => {
                let now = Timestamp::from_second(Timestamp::now().as_second());
                let now = now.context("cannot tell the time")?;
                if !print(args, &found?, Some(now))? {
                    return Ok(());
                }
            }
            _ = signals.next() => return Ok(()),
        }
        tokio::select! {
            () = sleep(Duration::from_secs(seconds)) => {}
            _ = signals.next() => return Ok(()),
        }
    }
}

/// Tells of groups that have committed nothing: those of the settings may not have begun, one that
/// was named is most likely misspelt.
fn not_begun(
    args: &LagArgs,
    common: &Common,
    settings: &Settings,
    found: &[GroupLag],
) -> Result<(), Failure> {
    let groups = found.iter().filter(|it| !it.begun);
    let groups: Vec<_> = groups.map(|it| it.group.as_str()).collect();
    if groups.is_empty() {
        return Ok(());
    }
    let (groups, topic) = (groups.join(", "), &settings.kafka.topic);
    let text = format!("nothing of topic {topic} was ever committed by {groups}");
    if args.group.is_empty() {
        common.note(format_args!("{text}: no consumer of it has run yet"));
        return Ok(());
    }
    let known = settings.destinations.values().map(|it| it.group.as_str());
    let known: Vec<_> = known.collect();
    Err(Failure::Failed(anyhow::anyhow!(
        "{text}: there is no such group, or it has not begun; the settings have {}",
        known.join(", ")
    )))
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

async fn look(settings: &Settings, groups: &[String]) -> Result<Vec<GroupLag>, Failure> {
    let mut found = Vec::new();
    for group in groups {
        let partitions = lag(&settings.kafka, group)
            .await
            .map_err(|error| failure(error, group))?;
        found.push(GroupLag::of(group, &settings.kafka.topic, &partitions));
    }
    Ok(found)
}

/// Whether somebody still reads.
fn print(args: &LagArgs, found: &[GroupLag], at: Option<Timestamp>) -> Result<bool, Failure> {
    Ok(match args.output {
        Output::Json => {
            let mut json = serde_json::json!({ "groups": found });
            if let Some(at) = at {
                json["time"] = at.to_string().into();
            }
            say::data(format_args!("{json}\n"))
        }
        Output::Table => {
            let at = at.map_or_else(String::new, |at| format!("{at}\n"));
            say::data(format_args!("{at}{}", table(found, args.partitions)))
        }
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

/// A line for each group, with the sums of its partitions, or for each of these as well.
fn table(groups: &[GroupLag], partitions: bool) -> String {
    let widths = groups.iter().map(|it| it.group.len());
    let width = widths.max().unwrap_or(0).max(5);
    let number = |offset: i64| grouped(offset.unsigned_abs());
    let row = |group: &str, partition: &str, [committed, end, lag]: [&str; 3]| {
        let partition = match partitions {
            true => format!("  {partition:>9}"),
            false => String::new(),
        };
        format!("{group:<width$}{partition}  {committed:>15}  {end:>15}  {lag:>15}\n")
    };
    let mut out = row("group", "partition", ["committed", "end", "lag"]);
    for group in groups {
        let mut all = (0, 0);
        for of in &group.partitions {
            // What lies below the start was committed, or dropped before anybody could.
            all.0 += of.committed.unwrap_or(of.start);
            all.1 += of.end;
            let committed = of.committed.map_or_else(|| "none".to_owned(), number);
            if partitions {
                let of_partition = [&committed, &number(of.end), &number(of.lag)];
                out.push_str(&row(
                    &group.group,
                    &of.partition.to_string(),
                    of_partition.map(String::as_str),
                ));
            }
        }
        let committed = match group.begun {
            true => number(all.0),
            false => "none".to_owned(),
        };
        let of_all = [&committed, &number(all.1), &number(group.lag)];
        out.push_str(&row(&group.group, "all", of_all.map(String::as_str)));
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
            begun: partitions.iter().any(|it| it.committed.is_some()),
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
            "group                 committed              end              lag\n\
             aws-sync-group            1,210            1,254               44\n"
        );
        let long = table(&groups, true);
        assert!(
            long.contains("          0            1,200            1,234               34\n"),
            "{long}"
        );
        assert!(
            long.contains("          1             none               20               10\n"),
            "{long}"
        );
        let json = serde_json::to_value(&groups).unwrap();
        assert_eq!(json[0]["lag"], 44);
        assert!(json[0]["partitions"][1]["committed"].is_null());
    }
}
