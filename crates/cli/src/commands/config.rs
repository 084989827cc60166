//! `cloudsync config`: what the settings come to.
//!
//! In: defaults, file, environment. Out: every fault at once (`check`), or the settings in force as
//! the TOML file that would set them (`print`), without secrets.

use crate::args::{ConfigArgs, ConfigCommand};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, absolute};
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Stands for what nobody is to read.
const HIDDEN: &str = "***";

pub(super) fn run(args: &ConfigArgs, config: Option<&PathBuf>) -> Result<(), Failure> {
    let defaults = if args.up {
        let data = absolute(Path::new("./cloudsync-data"));
        Settings::embedded(&data.context("cannot tell the current directory")?)
    } else {
        Settings::default()
    };
    let settings = super::settings(defaults, config, Vec::new())?;
    match args.command {
        ConfigCommand::Check => say::note("the settings hold"),
        ConfigCommand::Print => {
            let text = toml::to_string(&without_secrets(settings));
            say::data(text.context("the settings cannot be printed")?);
        }
    }
    Ok(())
}

fn without_secrets(mut settings: Settings) -> Settings {
    let properties = settings.kafka.redacted_properties().into_iter();
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    settings.kafka.librdkafka = properties.collect();
    settings.dedupe.url = without_password(&settings.dedupe.url);
    for destination in settings.destinations.values_mut() {
        destination.url = without_password(&destination.url);
    }
    settings
}

/// The URL, with whatever stands for a password in front of its host hidden.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let Some((user, host)) = authority.rsplit_once('@') else {
        return url.to_owned();
    };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:{HIDDEN}@{host}{path}"),
        // A name alone may be a token.
        None => format!("{scheme}://{HIDDEN}@{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_printed() {
        for (url, shown) in [
            ("memory:", "memory:"),
            ("file:///a/b@c", "file:///a/b@c"),
            ("redis://u:p@h:1/2", "redis://u:***@h:1/2"),
            ("redis://:p:q@r@h", "redis://:***@h"),
            ("https://token@h/x", "https://***@h/x"),
        ] {
            assert_eq!(without_password(url), shown);
        }
        let mut settings = Settings::default();
        let secret = ("sasl.password".to_owned(), "hush".to_owned());
        settings.kafka.librdkafka.extend([secret]);
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
