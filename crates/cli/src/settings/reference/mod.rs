//! The page of all settings, made from one table (`keys`) and the defaults of the types.
//!
//! In: nothing. Out: a TOML file that says what each setting means and changes none, and a JSON
//! Schema for editors and checkers. Promises, held by tests: the table has every key and no
//! other, every bound is the one that loading holds to, and the page loads to the defaults.

mod keys;
mod words;

pub(super) use words::in_plain_words;

use super::Settings;
use keys::keys;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A time, as every section reads it.
const TIME: &str = r"^\d+ ?(ms|s|min|h|d)$";
/// Longest line of the page.
const WIDTH: usize = 96;
/// What stands for any name of a destination.
const ANY: &str = "destinations.*.";
/// The destination that the page explains.
const EXPLAINED: &str = "aws";

/// One setting.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// As a dotted path.
    key: &'static str,
    kind: Kind,
    /// What it means.
    about: &'static str,
}

/// What a setting may be. Texts beside a kind are examples.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text(&'static str),
    /// Text that may hold a secret, and so can come from a file of its own.
    Secret(&'static str),
    Address,
    Flag,
    Count {
        unit: &'static str,
        least: u64,
        most: Option<u64>,
    },
    Time {
        least: Option<&'static str>,
        most: Option<&'static str>,
    },
    OptionalTime(&'static str),
    TimeOr(&'static str),
    Size(&'static str),
    Choice(&'static [&'static str]),
    Names(&'static str),
    Properties,
}

/// The page: a TOML file with every setting, its meaning, unit, bounds and default.
///
/// # Errors
/// When the defaults cannot be written down.
pub fn page() -> Result<String, serde_json::Error> {
    let defaults = defaults()?;
    let mut page = wrapped(HEAD);
    let mut section = "";
    for key in keys() {
        let (table, name) = key.key.rsplit_once('.').unwrap_or(("", key.key));
        if table != section {
            section = table;
            let shown = table.replace('*', EXPLAINED);
            page.push_str(&format!("\n[{shown}]\n"));
        }
        page.push('\n');
        page.push_str(&wrapped(&format!("{} {}", key.about, key.kind.bounds())));
        let default = defaults.get(key.key).unwrap_or(&Value::Null);
        page.push_str(&match key.kind {
            Kind::Properties => "#librdkafka = {}\n".to_owned(),
            _ if default.is_null() => {
                format!("# No default. Example: {name} = {}\n", key.kind.example())
            }
            _ => format!("#{name} = {default}\n"),
        });
    }
    page.push('\n');
    page.push_str(&wrapped(
        "The other destination has the same keys. More may follow, each in a table of its name \
         with at least url and group.",
    ));
    page.push_str("[destinations.azure]\n");
    for name in ["url", "group"] {
        let default = defaults.get(&format!("destinations.azure.{name}"));
        page.push_str(&format!("#{name} = {}\n", default.unwrap_or(&Value::Null)));
    }
    Ok(page)
}

const HEAD: &str = "Every setting of CloudSync. A line such as `#grace_period = \"10s\"` says what \
    holds anyway: take the # away to change it. Settings come from the defaults, a file such as \
    this one (--config FILE), the environment (CLOUDSYNC_SECTION__KEY) and flags, the later over \
    the earlier. A time is a whole number and ms, s, min, h or d. What may hold a secret can stand \
    in a file of its own: CLOUDSYNC_SECTION__KEY_FILE=/path. Made by: cloudsync config schema --toml";

/// The JSON Schema of a settings file.
///
/// # Errors
/// When the defaults cannot be written down.
pub fn schema() -> Result<Value, serde_json::Error> {
    let defaults = defaults()?;
    let mut root = Map::new();
    let mut of_a_destination = Map::new();
    for key in keys() {
        let default = defaults.get(key.key);
        let schema = key.schema(default);
        match (key.key.strip_prefix(ANY), key.key.split_once('.')) {
            (Some(name), _) => match name.split_once('.') {
                None => drop(of_a_destination.insert(name.to_owned(), schema)),
                Some((table, name)) => {
                    let table = of_a_destination.entry(table);
                    table.or_insert_with(|| object(Map::new()))["properties"][name] = schema;
                }
            },
            (None, None) => {
                root.insert(key.key.to_owned(), schema);
            }
            (None, Some((section, name))) => {
                let table = root.entry(section).or_insert_with(|| object(Map::new()));
                table["properties"][name] = schema;
            }
        }
    }
    root.insert(
        "destinations".to_owned(),
        json!({
            "type": "object",
            "maxProperties": super::MAX_DESTINATIONS,
            "additionalProperties": object(of_a_destination),
        }),
    );
    let mut schema = object(root);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "CloudSync settings".into();
    Ok(schema)
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// The default of each key; `null` where there is none. `aws` stands for every destination.
fn defaults() -> Result<BTreeMap<String, Value>, serde_json::Error> {
    let mut defaults = BTreeMap::new();
    flatten(
        serde_json::to_value(Settings::default())?,
        "",
        &mut defaults,
    );
    let of_aws = format!("destinations.{EXPLAINED}.");
    let general: Vec<_> = defaults
        .iter()
        .filter_map(|(key, value)| {
            Some((
                format!("{ANY}{}", key.strip_prefix(&of_aws)?),
                value.clone(),
            ))
        })
        .collect();
    defaults.extend(general);
    Ok(defaults)
}

fn flatten(value: Value, path: &str, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (key, value) in table {
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                flatten(value, &path, into);
            }
        }
        other => {
            into.insert(path.to_owned(), other);
        }
    }
}

/// `text` as comment lines.
fn wrapped(text: &str) -> String {
    let (mut out, mut line) = (String::new(), "#".to_owned());
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &line + "\n"
}

// === impl Key, Kind ===

impl Key {
    /// Whether `path` names this setting.
    fn is(&self, path: &str) -> bool {
        let (wanted, given) = (self.key.split('.'), path.split('.'));
        let same = |(wanted, given): (&str, &str)| wanted == "*" || wanted == given;
        wanted.clone().count() == given.clone().count() && wanted.zip(given).all(same)
    }

    fn schema(&self, default: Option<&Value>) -> Value {
        let mut schema = self.kind.schema();
        schema["description"] = format!("{} {}", self.about, self.kind.bounds())
            .trim_end()
            .into();
        if let Some(default) = default.filter(|default| !default.is_null()) {
            schema["default"] = default.clone();
        }
        schema
    }
}

impl Kind {
    /// Unit and bounds, as a sentence; empty where there are none.
    fn bounds(self) -> String {
        match self {
            Self::Count {
                unit,
                least,
                most: Some(most),
            } => format!("In {unit}, {least} to {most}."),
            Self::Count { unit, least, .. } => format!("In {unit}, {least} or more."),
            Self::Time {
                least: Some(least), ..
            } => format!("A time of at least {least}."),
            Self::Time {
                most: Some(most), ..
            } => format!("A time of at most {most}."),
            Self::Time { .. } | Self::OptionalTime(_) => "A time.".to_owned(),
            Self::TimeOr(word) => format!("\"{word}\" or a time."),
            Self::Size(_) => "A whole number and B, KiB, MiB or GiB.".to_owned(),
            Self::Choice(words) => format!("One of: {}.", words.join(", ")),
            Self::Address => "ip:port.".to_owned(),
            Self::Flag => "true or false.".to_owned(),
            Self::Names(_) => "A list of names.".to_owned(),
            Self::Secret(_) => "May hold a secret.".to_owned(),
            Self::Properties => "May hold secrets.".to_owned(),
            Self::Text(_) => String::new(),
        }
    }

    /// A value, as TOML.
    fn example(self) -> String {
        match self {
            Self::Text(example)
            | Self::Secret(example)
            | Self::OptionalTime(example)
            | Self::TimeOr(example)
            | Self::Size(example) => format!("\"{example}\""),
            Self::Names(example) => format!("[\"{example}\"]"),
            Self::Choice(words) => format!("\"{}\"", words.first().unwrap_or(&"")),
            Self::Time { least, most } => format!("\"{}\"", least.or(most).unwrap_or("1s")),
            Self::Count { least, .. } => least.to_string(),
            Self::Address => "\"127.0.0.1:0\"".to_owned(),
            Self::Flag => "true".to_owned(),
            Self::Properties => "{}".to_owned(),
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::Text(example) | Self::Secret(example) => {
                json!({ "type": "string", "examples": [example] })
            }
            Self::Address => json!({ "type": "string", "pattern": r"^.+:\d+$" }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Count { least, most, .. } => {
                let mut schema = json!({ "type": "integer", "minimum": least });
                if let Some(most) = most {
                    schema["maximum"] = most.into();
                }
                schema
            }
            Self::Time { .. } | Self::OptionalTime(_) => {
                json!({ "type": "string", "pattern": TIME })
            }
            Self::TimeOr(word) => {
                json!({ "anyOf": [{ "const": word }, { "type": "string", "pattern": TIME }] })
            }
            Self::Size(_) => json!({ "type": "string", "pattern": r"^\d+ ?(B|KiB|MiB|GiB)$" }),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Names(_) => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Properties => json!({
                "type": "object",
                "additionalProperties": { "type": ["string", "integer", "boolean"] },
            }),
        }
    }
}

#[cfg(test)]
mod tests;
