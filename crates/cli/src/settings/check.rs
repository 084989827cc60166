//! What serde cannot check: ranges, and settings that do not go together.
//!
//! In: settings, and where each came from. Out: every fault at once, as one sentence each with the
//! way out and the place.

use super::{MAX_DESTINATIONS, Settings};
use cloudsync::limits::MAX_DESTINATION_NAME_BYTES;
use cloudsync_consumers::WriteMode;
use cloudsync_dedupe::OpenError;
use cloudsync_kafka::{SettingsError, duration};
use cloudsync_runtime::settings::{Fault, Loaded, Origin, SettingsErrors};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Collects faults.
struct Faults<'a> {
    origins: &'a BTreeMap<String, Origin>,
    found: Vec<Fault>,
}

/// Every fault of `loaded` at once; none if it holds.
pub(super) fn check(loaded: &Loaded<Settings>) -> Vec<Fault> {
    let settings = &loaded.value;
    let mut faults = Faults {
        origins: &loaded.origins,
        found: Vec::new(),
    };
    sections(settings, &mut faults);
    destinations(settings, &mut faults);
    together(settings, &mut faults);
    faults.found
}

/// What each section has to say about itself.
fn sections(settings: &Settings, faults: &mut Faults<'_>) {
    for error in settings.kafka.errors() {
        let key = match &error {
            SettingsError::Property { key, .. } => format!("kafka.librdkafka.{key}"),
            SettingsError::Value { key, .. } => format!("kafka.{key}"),
            _ => String::new(),
        };
        faults.add(&key, &error);
    }
    for error in settings.gateway.errors() {
        faults.add(&format!("gateway.{}", error.name), &error);
    }
    for error in settings.dedupe.errors() {
        let key = match &error {
            OpenError::OutOfRange { name, .. } => format!("dedupe.{name}"),
            _ => "dedupe.url".to_owned(),
        };
        faults.add(&key, &error);
    }
}

fn destinations(settings: &Settings, faults: &mut Faults<'_>) {
    let count = settings.destinations.len();
    if count > MAX_DESTINATIONS {
        let text = format!("there are {count} destinations, more than {MAX_DESTINATIONS}");
        faults.add("", &text);
    }
    let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, destination) in &settings.destinations {
        if name.len() > MAX_DESTINATION_NAME_BYTES {
            let text = format!(
                "the name of destination {name} is longer than {MAX_DESTINATION_NAME_BYTES} bytes"
            );
            faults.add(&format!("destinations.{name}.url"), &text);
        }
        for (key, why) in destination.errors() {
            let key = format!("destinations.{name}.{key}");
            faults.add(&key, &format_args!("{key} is refused: {why}"));
        }
        if let Some(other) = groups.insert(&destination.group, name) {
            let key = format!("destinations.{name}.group");
            let group = &destination.group;
            faults.add(
                &key,
                &format_args!(
                    "destinations.{other}.group and {key} are both {group}: each would get a part \
                     of the records; give each a group of its own"
                ),
            );
        }
    }
}

/// What holds alone, and not beside something else.
fn together(settings: &Settings, faults: &mut Faults<'_>) {
    let (accepted, stored) = (
        settings.gateway.max_record_bytes,
        settings.kafka.max_record_bytes,
    );
    if accepted + ADDED > stored {
        faults.add(
            "kafka.max_record_bytes",
            &format_args!(
                "gateway.max_record_bytes = {accepted} does not fit into kafka.max_record_bytes = \
                 {stored}: the gateway adds up to {ADDED} bytes; set the latter to {} at least",
                accepted + ADDED
            ),
        );
    }
    let lease = settings.dedupe.lease;
    for (name, destination) in &settings.destinations {
        let Some(attempt) = destination.attempt_timeout else {
            continue;
        };
        if destination.mode() == WriteMode::Record && attempt > lease / 2 {
            let key = format!("destinations.{name}.attempt_timeout");
            faults.add(
                &key,
                &format_args!(
                    "{key} = {} is more than half of dedupe.lease = {}, and an attempt must end \
                     while its lease holds; lower the one, or raise the other to {}",
                    duration::format(attempt),
                    duration::format(lease),
                    duration::format(attempt * 2),
                ),
            );
        }
    }
}

/// What the gateway adds to a record before it is stored, in bytes, at the most.
const ADDED: usize = 4_096;

// === impl Faults ===

impl Faults<'_> {
    fn add(&mut self, key: &str, why: &dyn Display) {
        let fault = match self.origins.get(key) {
            Some(origin) => {
                SettingsErrors::one(Origin::Setting, "", &format_args!("{why} ({origin})"))
            }
            None => SettingsErrors::one(Origin::Setting, "", why),
        };
        self.found.extend(fault.faults);
    }
}
