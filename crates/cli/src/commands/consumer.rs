//! `cloudsync consumer --destination NAME`: delivers to one destination, until Ctrl-C.

use super::Common;
use super::serve::serve;
use crate::args::ConsumerArgs;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::stack::Roles;
use cloudsync_runtime::redact;

pub(super) async fn run(args: &ConsumerArgs, common: &Common) -> Result<(), Failure> {
    let settings = common.settings(Settings::default(), args.flags())?;
    let name = &args.destination;
    let roles = Roles {
        consumers: vec![name.clone()],
        admin: true,
        ..Roles::default()
    };
    let mut list = common.checklist();
    let (brokers, topic) = (&settings.kafka.brokers, &settings.kafka.topic);
    list.note(format_args!("  kafka          {brokers}, topic {topic}"));
    if settings.dedupe.url.starts_with("memory:") {
        tracing::warn!(
            destination = %name,
            "dedupe.url is memory: what was delivered is forgotten when this process ends, and \
             not shared with other processes of this group"
        );
    }
    serve(&settings, &roles, &mut list, |_, list| {
        if let Some(destination) = settings.destinations.get(name) {
            list.pass(
                name,
                format_args!(
                    "{}, group {}",
                    redact::url(&destination.url),
                    destination.group
                ),
            );
        }
    })
    .await
}
