//! `cloudsync config`: what the settings come to.
//!
//! In: defaults, file, environment. Out: every fault at once (`check`), or the settings in force as
//! the TOML file that would set them (`print`), without secrets, or what can be set (`schema`).

use super::Common;
use crate::args::{ConfigArgs, ConfigCommand, DATA_DIR};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, absolute, reference};
use anyhow::Context;
use cloudsync_runtime::redact;
use cloudsync_runtime::settings::{Loaded, SettingsErrors};
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn run(args: &ConfigArgs, common: &Common) -> Result<(), Failure> {
    if let ConfigCommand::Schema { toml } = args.command {
        return schema(toml);
    }
    let defaults = if args.up {
        let data = absolute(Path::new(DATA_DIR));
        Settings::embedded(&data.context("cannot tell the current directory")?)
    } else {
        Settings::default()
    };
    match common.found(&defaults, Vec::new())? {
        (_, faults) if !faults.is_empty() => return Err(SettingsErrors { faults }.into()),
        (loaded, _) => match args.command {
            ConfigCommand::Check => common.note("the settings hold"),
            ConfigCommand::Print => {
                let text = printed(loaded).context("the settings cannot be printed")?;
                say::data(text);
            }
            // It needs no settings, and so was printed before.
            ConfigCommand::Schema { .. } => {}
        },
    }
    Ok(())
}

/// The settings as a file that sets the same, on another machine too: a directory below the data
/// directory, which nobody has set, is left to it.
fn printed(loaded: Loaded<Settings>) -> Result<String, toml::ser::Error> {
    let destinations = loaded.value.destinations.iter();
    let places = destinations
        .map(|(name, it)| {
            (
                format!("destinations.{name}"),
                name.as_str(),
                it.url.as_str(),
            )
        })
        .chain([(
            "dedupe".to_owned(),
            "dedupe",
            loaded.value.dedupe.url.as_str(),
        )]);
    let below: BTreeMap<String, String> = places
        .filter(|(section, _, url)| {
            url.starts_with("file:") && !loaded.origins.contains_key(&format!("{section}.url"))
        })
        .map(|(section, name, _)| (format!("[{section}]"), name.to_owned()))
        .collect();
    let (mut text, mut name) = (String::new(), None);
    for line in toml::to_string(&without_secrets(loaded.value))?.lines() {
        if line.starts_with('[') {
            name = below.get(line);
        }
        match name.filter(|_| line.starts_with("url = ")) {
            Some(name) => text.push_str(&format!(
                "# url: the directory {name} below --data-dir [{DATA_DIR}]"
            )),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    Ok(text)
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
        destination.hide_secrets();
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
        for destination in settings.destinations.values_mut() {
            let hush = || Some("hush".to_owned());
            "https://me:hush@h/in?sig=hush".clone_into(&mut destination.url);
            destination.s3.secret_access_key = hush();
            destination.s3.session_token = hush();
            destination.azure.connection_string = hush();
            destination.azure.account_key = hush();
            destination.azure.sas = hush();
        }
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
