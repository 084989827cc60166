//! Which store a destination uses, and its limits.
//!
//! In: the section `dedupe` of the configuration. Out: an opened store, or a sentence that says
//! what is wrong. Promises: unknown names are refused, and so is what would break a promise.

use crate::embedded::EmbeddedStore;
use crate::memory::{MemoryLimits, MemoryStore};
use crate::redis;
use crate::store::DedupeStore;
use crate::units;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod error;

pub use error::OpenError;

/// The stores of this build, for messages.
const SCHEMES: &str = "memory:, file:///dir, redis://, rediss://, redis+sentinel://, \
                       redis+cluster:// and both of these with rediss";

/// The section `dedupe`.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupeSettings {
    /// Where the store is: `memory:`, `file:///dir` or a Redis \[`memory:`\].
    pub url: String,
    /// Parts that a shared store is cut into \[12\]; fixed for the life of its data.
    pub shards: u32,
    /// Name in front of everything in a shared store \[`cs1`\]; another one begins anew.
    pub namespace: String,
    /// How a shared store lays out its keys \[`buckets`\].
    pub layout: Layout,
    /// How long marks are remembered \[60 min\].
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// How long a claim holds without renewal \[30 s\].
    #[serde(with = "units::duration")]
    pub lease: Duration,
    /// How often ended marks and leases are cleared away \[5 min\].
    #[serde(with = "units::duration")]
    pub cleanup_interval: Duration,
    /// How often a destination logs what its store holds \[60 s\].
    #[serde(with = "units::duration")]
    pub stats_interval: Duration,
    /// Most ids that a store in this process knows \[1,000,000\].
    pub max_entries: u64,
    /// Most memory that a store in this process takes \[what `max_entries` needs\].
    #[serde(with = "units::optional_size")]
    pub max_memory: Option<u64>,
    /// What a destination does while the store cannot be asked \[auto\].
    pub on_unavailable: OnUnavailable,
    /// Which decisions about ids a destination logs \[off\].
    pub log: DecisionLog,
    /// User of Redis \[the one of the URL\].
    pub redis_user: Option<String>,
    /// Password of Redis \[the one of the URL\].
    pub redis_password: Option<String>,
    /// File with the certificates that a server's is signed by, PEM \[the system's\].
    pub redis_ca: Option<String>,
    /// File with this client's own certificate, PEM \[none\].
    pub redis_cert: Option<String>,
    /// File with the key of `redis_cert`, PEM \[none\].
    pub redis_key: Option<String>,
    /// Longest wait for a connection to Redis \[1 s\].
    #[serde(with = "units::duration")]
    pub redis_connect_timeout: Duration,
    /// Longest wait for an answer of Redis \[2 s\].
    #[serde(with = "units::duration")]
    pub redis_response_timeout: Duration,
    /// The `maxmemory-policy` that the server may have beside `noeviction`, which is none that
    /// drops ids \[noeviction\].
    pub redis_maxmemory_policy: String,
    /// Ids of a destination that come within a window: above 1,000,000 for each shard the hashes
    /// of the layout `buckets` are cut \[12,000,000\]. A namespace that is cut otherwise is refused.
    pub redis_expected_ids: u64,
}

/// How a shared store lays out its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Hashes per destination, shard and time window: cheap.
    #[default]
    Buckets,
    /// A key for each id: easy to look at.
    Keys,
}

/// Which decisions about ids are logged, under the target `idempotency`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DecisionLog {
    /// None.
    #[default]
    Off,
    /// The first 100 of each second.
    Sampled,
    /// All of them: a line a record and more.
    All,
}

/// What a destination does while the store cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnavailable {
    /// Go on where the destination itself recognises a duplicate, else pause.
    #[default]
    Auto,
    /// Go on; duplicates are possible on destinations that recognise none.
    Continue,
    /// Pause until it answers again.
    Pause,
}

/// Whether [`open`] would know which store is meant; nothing is made or changed.
///
/// # Errors
/// [`OpenError`], in a sentence for the operator.
pub fn check(settings: &DedupeSettings) -> Result<(), OpenError> {
    settings.validate()?;
    match scheme(&settings.url) {
        "memory" => Ok(()),
        "file" => directory(&settings.url).map(|_| ()),
        // It connects with its first call.
        scheme if redis::is_redis(scheme) => redis::open(settings, "check").map(drop),
        other => Err(unknown(other)),
    }
}

/// Opens the store of one destination. Stores of two destinations never see each other's ids. A
/// store on disk is read whole: to be called where waiting for the disk does no harm.
///
/// # Errors
/// [`OpenError`], in a sentence for the operator.
pub fn open(
    settings: &DedupeSettings,
    destination: &str,
) -> Result<Arc<dyn DedupeStore>, OpenError> {
    settings.validate()?;
    match scheme(&settings.url) {
        "memory" => Ok(Arc::new(MemoryStore::new(
            destination,
            MemoryLimits::of(settings),
        ))),
        "file" => {
            let directory = directory(&settings.url)?;
            let limits = MemoryLimits::of(settings);
            Ok(Arc::new(EmbeddedStore::open(
                directory,
                destination,
                limits,
            )?))
        }
        scheme if redis::is_redis(scheme) => redis::open(settings, destination),
        other => Err(unknown(other)),
    }
}

/// The store of one destination, as it is, for somebody who looks or forgets an id: nothing is laid
/// out, made or dropped by opening it, whatever the settings say of its limits.
///
/// # Errors
/// [`OpenError`]; also where there is no store, or it lives in another process.
pub fn look_at(
    settings: &DedupeSettings,
    destination: &str,
) -> Result<Arc<dyn DedupeStore>, OpenError> {
    settings.validate()?;
    match scheme(&settings.url) {
        "memory" => Err(OpenError::Elsewhere),
        "file" => {
            let directory = directory(&settings.url)?;
            let limits = MemoryLimits::of(settings);
            let store = EmbeddedStore::open_to_look(directory, destination, limits)?;
            Ok(Arc::new(store))
        }
        scheme if redis::is_redis(scheme) => redis::look_at(settings, destination),
        other => Err(unknown(other)),
    }
}

/// As [`look_at`], where the store is shared by processes; `None` where each process has its own.
///
/// # Errors
/// [`OpenError`], in a sentence for the operator.
pub fn look_at_shared(
    settings: &DedupeSettings,
    destination: &str,
) -> Result<Option<Arc<dyn DedupeStore>>, OpenError> {
    match is_shared(&settings.url) {
        true => look_at(settings, destination).map(Some),
        false => Ok(None),
    }
}

/// Whether a store at `url` is shared by processes: a Redis.
#[must_use]
pub fn is_shared(url: &str) -> bool {
    redis::is_redis(scheme(url))
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or(url, |(scheme, _)| scheme)
}

fn unknown(scheme: &str) -> OpenError {
    let scheme = scheme.to_owned();
    OpenError::UnknownScheme { scheme }
}

/// The directory that a `file://` URL names, as it stands there (no percent-encoding).
fn directory(url: &str) -> Result<&Path, OpenError> {
    let directory = url.strip_prefix("file://").map(Path::new);
    let absolute = directory.filter(|path| path.is_absolute());
    absolute.ok_or_else(|| OpenError::NoDirectory {
        url: url.to_owned(),
    })
}

// === impl DedupeSettings ===

impl Default for DedupeSettings {
    fn default() -> Self {
        Self {
            url: "memory:".to_owned(),
            shards: 12,
            namespace: "cs1".to_owned(),
            layout: Layout::default(),
            window: Duration::from_secs(60 * 60),
            lease: Duration::from_secs(30),
            cleanup_interval: Duration::from_secs(5 * 60),
            stats_interval: Duration::from_secs(60),
            max_entries: 1_000_000,
            max_memory: None,
            on_unavailable: OnUnavailable::default(),
            log: DecisionLog::default(),
            redis_user: None,
            redis_password: None,
            redis_ca: None,
            redis_cert: None,
            redis_key: None,
            redis_connect_timeout: Duration::from_secs(1),
            redis_response_timeout: Duration::from_secs(2),
            redis_maxmemory_policy: "noeviction".to_owned(),
            redis_expected_ids: 12_000_000,
        }
    }
}

impl fmt::Debug for DedupeSettings {
    /// Without the URL, which may hold a password, but for its scheme.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.url.split(':').next().unwrap_or_default();
        f.debug_struct("DedupeSettings")
            .field("url", &format_args!("{scheme}:…"))
            .field("namespace", &self.namespace)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl DedupeSettings {
    /// Checks what one setting alone can get wrong.
    ///
    /// # Errors
    /// [`OpenError::OutOfRange`], with the setting, its value and the rule.
    pub fn validate(&self) -> Result<(), OpenError> {
        match self.errors().into_iter().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Everything that [`DedupeSettings::validate`] has to say.
    #[must_use]
    pub fn errors(&self) -> Vec<OpenError> {
        let second = Duration::from_secs(1);
        let rules = [
            (
                "shards",
                self.shards.to_string(),
                "1 to 16384",
                (1..=16_384).contains(&self.shards),
            ),
            (
                "window",
                millis(self.window),
                "at least 1 s",
                self.window >= second,
            ),
            (
                "lease",
                millis(self.lease),
                "at least 1 s, at most the window",
                self.lease >= second && self.lease <= self.window,
            ),
            (
                "cleanup_interval",
                millis(self.cleanup_interval),
                "at least 1 s",
                self.cleanup_interval >= second,
            ),
            (
                "stats_interval",
                millis(self.stats_interval),
                "at least 1 s",
                self.stats_interval >= second,
            ),
            (
                "max_entries",
                self.max_entries.to_string(),
                "at least 1",
                self.max_entries >= 1,
            ),
            (
                "max_memory",
                self.max_memory
                    .map_or_else(String::new, |bytes| format!("{bytes} B")),
                "at least 64 KiB",
                self.max_memory.is_none_or(|bytes| bytes >= 64 << 10),
            ),
        ];
        let broken = rules.into_iter().filter(|(.., holds)| !holds);
        broken
            .map(|(name, value, rule, _)| OpenError::OutOfRange { name, value, rule })
            .chain(self.redis_errors())
            .collect()
    }

    fn redis_errors(&self) -> impl Iterator<Item = OpenError> + use<> {
        let waits = |wait: Duration| wait >= Duration::from_millis(100);
        let rules = [
            (
                "namespace",
                format!("{:?}", self.namespace),
                "1 to 64 letters, digits, - and _",
                redis::is_namespace(&self.namespace),
            ),
            (
                "redis_connect_timeout",
                millis(self.redis_connect_timeout),
                "at least 100 ms",
                waits(self.redis_connect_timeout),
            ),
            (
                "redis_response_timeout",
                millis(self.redis_response_timeout),
                "at least 100 ms",
                waits(self.redis_response_timeout),
            ),
            (
                "redis_expected_ids",
                self.redis_expected_ids.to_string(),
                "at least 1",
                self.redis_expected_ids >= 1,
            ),
        ];
        let broken = rules.into_iter().filter(|(.., holds)| !holds);
        broken.map(|(name, value, rule, _)| OpenError::OutOfRange { name, value, rule })
    }
}

fn millis(value: Duration) -> String {
    format!("{} ms", value.as_millis())
}
