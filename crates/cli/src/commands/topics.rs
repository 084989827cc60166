//! `cloudsync topics ensure`: makes the topics that are missing and checks those that are there.

use super::Common;
use crate::args::{TopicsArgs, TopicsCommand};
use crate::failure::Failure;
use crate::say;
use crate::settings::Settings;
use crate::stack::StackError;
use cloudsync_kafka::{KafkaError, TopicState};

pub(super) async fn run(args: &TopicsArgs, common: &Common) -> Result<(), Failure> {
    let TopicsCommand::Ensure(args) = &args.command;
    let settings = common.settings(Settings::default(), args.flags())?;
    let brokers = &settings.kafka.brokers;
    common.note(format_args!("waiting for kafka at {brokers}, 10 s at most"));
    let reports = cloudsync_kafka::ensure_topics(&settings.kafka).await;
    for report in reports.map_err(failure)? {
        let state = match report.state {
            TopicState::Created => "created",
            TopicState::Existed => "existed",
        };
        say::data(format_args!(
            "{}\t{state}\t{} partitions\n",
            report.topic, report.partitions
        ));
        if let Some(warning) = report.warning {
            common.note(format_args!("note: {warning}"));
        }
    }
    Ok(())
}

fn failure(error: KafkaError) -> Failure {
    if matches!(error, KafkaError::Unavailable { .. }) {
        let way_out = "no topic was checked: start kafka, or say with --brokers where it is";
        return Failure::Failed(anyhow::Error::new(error).context(way_out));
    }
    StackError::Topics(error).into()
}
