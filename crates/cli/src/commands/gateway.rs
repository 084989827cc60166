//! `cloudsync gateway`: takes records and makes them durable in Kafka, until Ctrl-C.

use super::serve::serve;
use crate::args::GatewayArgs;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::stack::Roles;
use cloudsync_runtime::Checklist;
use std::path::PathBuf;

pub(super) async fn run(args: &GatewayArgs, config: Option<PathBuf>) -> Result<(), Failure> {
    let settings = super::settings(Settings::default(), config.as_ref(), args.flags())?;
    let roles = Roles {
        gateway: true,
        admin: true,
        ..Roles::default()
    };
    let mut list = Checklist::on_stderr();
    let (brokers, topic) = (&settings.kafka.brokers, &settings.kafka.topic);
    list.note(format_args!("  kafka          {brokers}, topic {topic}"));
    serve(&settings, &roles, &mut list, |_, list| {
        list.pass("ready", "the log answers")
    })
    .await
}
