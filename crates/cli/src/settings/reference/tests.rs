use super::*;
use std::collections::BTreeSet;
use std::path::Path;

/// The shipped page.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../cloudsync.toml");

fn load(text: &str) -> Result<Settings, String> {
    super::super::tests::loaded_on(&Settings::default(), text, &[])
}

fn json(settings: &Settings) -> Value {
    serde_json::to_value(settings).unwrap()
}

#[test]
fn the_table_has_every_key_and_no_other() {
    let mut real = BTreeMap::new();
    flatten(json(&Settings::default()), "", &mut real);
    let general = |key: &String| {
        let rest = key.strip_prefix("destinations.");
        let name = rest.and_then(|rest| rest.split_once('.'));
        name.map_or_else(|| key.clone(), |(_, name)| format!("{ANY}{name}"))
    };
    let real: BTreeSet<_> = real.keys().map(general).collect();
    let named: BTreeSet<_> = keys().map(|key| key.key.to_owned()).collect();
    assert_eq!(named, real);
    assert_eq!(named.len(), keys().count(), "each once");
}

#[test]
fn the_shipped_page_is_the_one_of_this_program() {
    let shipped = std::fs::read_to_string(SHIPPED).unwrap();
    assert!(
        shipped == page().unwrap(),
        "cloudsync.toml is old; make it anew: cargo run -- config schema --toml > cloudsync.toml"
    );
}

#[test]
fn the_page_loads_to_the_defaults_as_it_is_and_with_every_line_in_force() {
    let page = page().unwrap();
    let defaults = json(&Settings::default());
    assert_eq!(json(&load(&page).unwrap()), defaults);
    let in_force = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    let all: String = page.lines().map(in_force).collect();
    assert_eq!(json(&load(&all).unwrap()), defaults);
    assert!(all.lines().filter(|line| line.contains(" = ")).count() > 40);
    assert!(page.lines().all(|line| line.chars().count() <= 100));
    // And beside the embedded defaults it changes nothing either.
    let up = Settings::embedded(Path::new("/data"));
    let same = super::super::tests::loaded_on(&up, &page, &[]).unwrap();
    assert_eq!(json(&same), json(&up));
}

/// A file with `key` set to `value`, and what else must be set for that to be tried alone.
fn file(key: &Key, value: &str) -> String {
    let path = key.key.replace('*', "aws");
    let beside = match key.key {
        "kafka.max_record_bytes" => "gateway.max_record_bytes = 1\n",
        "dedupe.lease" => "dedupe.window = \"1d\"\n",
        "dedupe.window" => "dedupe.lease = \"1s\"\n",
        _ => "",
    };
    format!("{beside}{path} = {value}\n")
}

#[test]
fn every_bound_is_the_one_that_loading_holds_to() {
    for key in keys() {
        let accepted = |value: &str| {
            load(&file(key, value))
                .map(|_| ())
                .map_err(|why| format!("{}: {why}", key.key))
        };
        let refused = |value: &str| {
            let why = accepted(value).expect_err(key.key);
            let name = key.key.rsplit('.').next().unwrap();
            assert!(why.contains(name), "{value}: {why}");
        };
        match key.kind {
            Kind::Count { least, most, .. } => {
                assert_eq!(accepted(&least.to_string()), Ok(()));
                // Below 0 there is -1.
                refused(&(i128::from(least) - 1).to_string());
                if let Some(most) = most {
                    assert_eq!(accepted(&most.to_string()), Ok(()));
                    refused(&(most + 1).to_string());
                }
            }
            Kind::Time { least, most } => {
                for bound in [least, most].into_iter().flatten() {
                    assert_eq!(accepted(&format!("\"{bound}\"")), Ok(()));
                }
                if least == Some("1s") {
                    refused("\"999ms\"");
                }
                if most == Some("1s") {
                    refused("\"1001ms\"");
                }
                refused("5");
            }
            Kind::Choice(words) => {
                for word in words {
                    assert_eq!(accepted(&format!("\"{word}\"")), Ok(()));
                }
                refused("\"no such word\"");
            }
            Kind::Flag => refused("\"perhaps\""),
            Kind::Address => refused("\"localhost\""),
            Kind::Size(_) => refused("\"65535 B\""),
            _ => assert_eq!(accepted(&key.kind.example()), Ok(()), "{}", key.key),
        }
    }
}

#[test]
fn what_may_hold_a_secret_can_stand_in_a_file() {
    let marked = keys().filter_map(|key| match key.kind {
        Kind::Secret(_) => Some(key.key.to_owned()),
        Kind::Properties => Some(format!("{}.*", key.key)),
        _ => None,
    });
    let marked: BTreeSet<_> = marked.collect();
    let secrets = super::super::SECRETS.iter();
    assert_eq!(marked, secrets.map(|key| (*key).to_owned()).collect());
}

#[test]
fn the_schema_has_every_key_with_its_default() {
    let schema = schema().unwrap();
    for key in keys() {
        let path = key
            .key
            .replace(
                "destinations.*.",
                "destinations/additionalProperties/properties/",
            )
            .replace('.', "/properties/");
        let of_key = schema.pointer(&format!("/properties/{path}"));
        let of_key = of_key.unwrap_or_else(|| panic!("{} is missing", key.key));
        assert!(of_key["description"].as_str().unwrap().len() > 10);
    }
    assert_eq!(
        schema.pointer("/properties/kafka/properties/partitions/default"),
        Some(&12.into())
    );
    assert_eq!(schema["properties"]["kafka"]["additionalProperties"], false);
}
