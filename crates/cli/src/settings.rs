//! Every setting, in one value.
//!
//! In: a role's defaults, the file, the environment, the flags. Out: [`Settings`], checked as far
//! as one machine can check them, or every fault at once. Names and defaults: the sections' own
//! types, which the fields below name.

mod check;
pub mod reference;
pub mod sizes;

use cloudsync_consumers::DestinationSettings;
use cloudsync_dedupe::DedupeSettings;
use cloudsync_devbroker::Fsync;
use cloudsync_gateway::GatewaySettings;
use cloudsync_kafka::{KafkaSettings, duration};
use cloudsync_runtime::settings::{Fault, FlagValue, Loaded, SettingsErrors, Sources};
use cloudsync_runtime::settings::{load_what_fits, process_environment};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `kafka.brokers` is called while the log runs inside this process.
pub const EMBEDDED: &str = "embedded";
/// Most destinations of one installation.
pub const MAX_DESTINATIONS: usize = 64;
/// Tables whose keys are librdkafka's own names.
const VERBATIM: &[&str] = &["kafka.librdkafka"];
/// Settings that may hold a secret, and so can stand in a file of their own.
pub const SECRETS: &[&str] = &[
    "dedupe.url",
    "dedupe.redis_password",
    "destinations.*.url",
    "destinations.*.s3.secret_access_key",
    "destinations.*.s3.session_token",
    "destinations.*.azure.connection_string",
    "destinations.*.azure.account_key",
    "destinations.*.azure.sas",
    "kafka.librdkafka.*",
];
/// The destinations that there are when nobody says otherwise.
const CLOUDS: [&str; 2] = ["aws", "azure"];

/// Every setting.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The log.
    pub kafka: KafkaSettings,
    /// The log of `up` and `demo`.
    pub log: LogSettings,
    /// The gateway.
    pub gateway: GatewaySettings,
    /// The endpoint that tells health.
    pub admin: AdminSettings,
    /// What has been delivered before.
    pub dedupe: DedupeSettings,
    /// Each destination, by its name.
    pub destinations: BTreeMap<String, DestinationSettings>,
    /// How long an ending process may take to finish what it has taken. Default 10 s.
    #[serde(with = "duration")]
    pub grace_period: Duration,
}

/// The `[log]` section: the log of `up` and `demo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Where it listens. Default `127.0.0.1:9092`.
    pub listen: SocketAddr,
    /// When records reach the disk: `always`, or how often. Default `1s`.
    pub fsync: FsyncSetting,
    /// Groups without whose commit no record is dropped, as a list or with commas between them.
    /// Default: the groups of all destinations.
    pub retain_for: Option<GroupList>,
}

/// Names of consumer groups.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "ListOrText", into = "Vec<String>")]
pub struct GroupList(pub Vec<String>);

/// A list from a file; from the environment one text.
#[derive(Deserialize)]
#[serde(untagged)]
enum ListOrText {
    List(Vec<String>),
    Text(String),
}

/// The `[admin]` section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSettings {
    /// Where it listens. Default `127.0.0.1:9464`.
    pub listen: SocketAddr,
}

/// `always`, or an interval such as `1s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FsyncSetting(pub Fsync);

/// What is loaded on top of a role's defaults.
#[derive(Clone, Debug, Default)]
pub struct Overrides<'a> {
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// Flags that were given.
    pub flags: Vec<FlagValue>,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        let destination = |name: &str| DestinationSettings::new("", format!("{name}-sync-group"));
        let named = CLOUDS.map(|name| (name.to_owned(), destination(name)));
        Self {
            kafka: KafkaSettings::default(),
            log: LogSettings::default(),
            gateway: GatewaySettings::default(),
            admin: AdminSettings::default(),
            dedupe: DedupeSettings::default(),
            destinations: BTreeMap::from(named),
            grace_period: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The defaults of `up`: everything embedded, all data below `data_dir` (absolute).
    #[must_use]
    pub fn embedded(data_dir: &Path) -> Self {
        let mut settings = Self::default();
        settings.kafka.brokers = EMBEDDED.to_owned();
        settings.kafka.replication = 1;
        settings.dedupe.url = file_url(&data_dir.join("dedupe"));
        for (name, destination) in &mut settings.destinations {
            destination.url = file_url(&data_dir.join(name));
        }
        settings
    }

    /// The defaults of `demo`: as `up`, on ports that nobody else has.
    #[must_use]
    pub fn demo(data_dir: &Path) -> Self {
        let mut settings = Self::embedded(data_dir);
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        settings.log.listen = free;
        settings.gateway.listen = free;
        settings.admin.listen = free;
        settings
    }

    /// These defaults, with file, environment and flags over them.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn overridden(self, overrides: Overrides<'_>) -> Result<Self, SettingsErrors> {
        match self.found(overrides)? {
            (loaded, faults) if faults.is_empty() => Ok(loaded.value),
            (_, faults) => Err(SettingsErrors { faults }),
        }
    }

    /// As [`Settings::overridden`], with every fault beside what was not at fault, and where each
    /// value came from that is no default.
    ///
    /// # Errors
    /// When nothing at all can be had.
    pub fn found(
        &self,
        overrides: Overrides<'_>,
    ) -> Result<(Loaded<Self>, Vec<Fault>), SettingsErrors> {
        let Overrides { file, flags } = overrides;
        let environment = process_environment();
        let sources = Sources {
            file,
            environment,
            flags,
            verbatim: VERBATIM,
            secrets: SECRETS,
        };
        let (loaded, mut faults) = load_what_fits(self, &sources)?;
        reference::in_plain_words(&mut faults);
        // Where a value is left out, what it goes together with would be blamed.
        if faults.is_empty() {
            faults = check::check(&loaded);
        }
        Ok((loaded, faults))
    }

    /// The names of the destinations.
    #[must_use]
    pub fn destination_names(&self) -> Vec<String> {
        self.destinations.keys().cloned().collect()
    }

    /// The groups without whose commit the embedded log drops no record.
    #[must_use]
    pub fn retain_for(&self) -> Vec<String> {
        let groups = self.destinations.values().map(|it| it.group.clone());
        let given = self.log.retain_for.as_ref();
        given.map_or_else(|| groups.collect(), |list| list.0.clone())
    }

    /// Whether the log runs inside this process.
    #[must_use]
    pub fn log_is_embedded(&self) -> bool {
        self.kafka.brokers == EMBEDDED
    }
}

/// The URL of the directory `path` (absolute).
#[must_use]
pub fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// `path` from the root on; the directory need not be there yet.
///
/// # Errors
/// The system's, when the current directory cannot be told.
pub fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    std::path::absolute(path)
}

// === impl LogSettings, AdminSettings, GroupList, FsyncSetting ===

impl Default for LogSettings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        Self {
            listen,
            fsync: FsyncSetting(Fsync::Every(Duration::from_secs(1))),
            retain_for: None,
        }
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
        }
    }
}

impl From<ListOrText> for GroupList {
    fn from(given: ListOrText) -> Self {
        match given {
            ListOrText::List(names) => Self(names),
            ListOrText::Text(names) => {
                let names = names.split(',').map(str::trim);
                Self(
                    names
                        .filter(|it| !it.is_empty())
                        .map(str::to_owned)
                        .collect(),
                )
            }
        }
    }
}

impl From<GroupList> for Vec<String> {
    fn from(list: GroupList) -> Self {
        list.0
    }
}

impl TryFrom<String> for FsyncSetting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self(Fsync::Always));
        }
        match duration::parse(&text) {
            Ok(interval) if !interval.is_zero() => Ok(Self(Fsync::Every(interval))),
            _ => Err(format!(
                "{text:?} is neither \"always\" nor an interval such as \"1s\""
            )),
        }
    }
}

impl From<FsyncSetting> for String {
    fn from(setting: FsyncSetting) -> Self {
        match setting.0 {
            Fsync::Always => "always".to_owned(),
            Fsync::Every(interval) => duration::format(interval),
        }
    }
}

#[cfg(test)]
mod tests;
