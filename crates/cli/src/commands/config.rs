//! `cloudsync config`: what the settings come to.
//!
//! In: defaults, file, environment. Out: every fault at once (`check`), or the settings in force as
//! the TOML file that would set them (`print`), without secrets, or what can be set (`schema`).

use super::Common;
use crate::args::{ConfigArgs, ConfigCommand};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, absolute, reference};
use anyhow::Context;
use cloudsync_runtime::redact;
use std::path::Path;

pub(super) fn run(args: &ConfigArgs, common: &Common) -> Result<(), Failure> {
    if let ConfigCommand::Schema { toml } = args.command {
        return schema(toml);
    }
    let defaults = if args.up {
        let data = absolute(Path::new("./cloudsync-data"));
        Settings::embedded(&data.context("cannot tell the current directory")?)
    } else {
        Settings::default()
    };
    let settings = common.settings(defaults, Vec::new())?;
    match args.command {
        ConfigCommand::Check => common.note("the settings hold"),
        ConfigCommand::Print => {
            let text = toml::to_string(&without_secrets(settings));
            say::data(text.context("the settings cannot be printed")?);
        }
        // It needs no settings, and so was printed before.
        ConfigCommand::Schema { .. } => {}
    }
    Ok(())
}

/// What can be set: printed whatever is set, for it helps to put that right.
fn schema(toml: bool) -> Result<(), Failure> {
    if toml {
        let page = reference::page().context("the settings cannot be printed")?;
        say::data(page);
    } else {
        let schema = reference::schema().context("the settings cannot be printed")?;
        say::data(format_args!("{schema:#}\n"));
    }
    Ok(())
}

fn without_secrets(mut settings: Settings) -> Settings {
    let properties = settings.kafka.redacted_properties().into_iter();
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    settings.kafka.librdkafka = properties.collect();
    settings.dedupe.url = redact::url(&settings.dedupe.url);
    if let Some(password) = &mut settings.dedupe.redis_password {
        redact::HIDDEN.clone_into(password);
    }
    for destination in settings.destinations.values_mut() {
        destination.url = redact::url(&destination.url);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_printed() {
        let mut settings = Settings::default();
        let secret = ("sasl.password".to_owned(), "hush".to_owned());
        settings.kafka.librdkafka.extend([secret]);
        settings.dedupe.redis_password = Some("hush".to_owned());
        let text = toml::to_string(&without_secrets(settings)).unwrap();
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains(r#""sasl.password" = "***""#), "{text}");
    }

    #[test]
    fn what_is_printed_sets_the_same() {
        let settings = Settings::embedded(Path::new("/data"));
        let text = toml::to_string(&settings).unwrap();
        let read: Settings = toml::from_str(&text).unwrap();
        assert_eq!(toml::to_string(&read).unwrap(), text);
    }
}
