//! `cloudsync gateway`: takes records and makes them durable in Kafka, until Ctrl-C.

use super::Common;
use super::serve::serve;
use crate::args::GatewayArgs;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::stack::Roles;

pub(super) async fn run(args: &GatewayArgs, common: &Common) -> Result<(), Failure> {
    let settings = common.settings(Settings::default(), args.flags())?;
    let roles = Roles {
        gateway: true,
        admin: true,
        ..Roles::default()
    };
    let mut list = common.checklist();
    let (brokers, topic) = (&settings.kafka.brokers, &settings.kafka.topic);
    list.note(format_args!("  kafka          {brokers}, topic {topic}"));
    serve(&settings, &roles, &mut list, |_, list| {
        list.pass("ready", "the log answers")
    })
    .await
}
