//! What is set for one destination.
//!
//! In: the section `[destinations.NAME]`. Out: [`DestinationSettings`] with every default in
//! place. Nothing here opens anything; what the values mean is decided where they are used.

use crate::deliver::{self, FAILURE_PERCENT, RETRY_PERCENT};
use crate::sink;
use crate::sink::cloud::settings::{AzureSettings, S3Settings};
use cloudsync_runtime::redact;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// How records become objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMode {
    /// Many records to an object: a chain of compressed segments for each partition.
    #[default]
    Batch,
    /// One object, or one request, for each record.
    Record,
}

/// What an HTTP endpoint makes of a record that it has had before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Repeats {
    /// It does not know it again: each request has its effect.
    #[default]
    Plain,
    /// It honours `Idempotency-Key`: the same key has one effect.
    Keyed,
}

/// What `Idempotency-Key` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdempotencyKey {
    /// 32 hex digits that stand for tenant, key and request id together.
    #[default]
    Identity,
    /// The request id, as the client gave it.
    RequestId,
}

/// The settings of one destination.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationSettings {
    /// Where it lies: `s3://bucket/prefix`, `az://container/prefix`, `file:///dir`,
    /// `https://host/path` or `null://`.
    pub url: String,
    /// The consumer group that reads for it; no two destinations share one.
    pub group: String,
    /// How records become objects. Default: record for HTTP, which knows no other; else batch.
    #[serde(default)]
    pub mode: Option<WriteMode>,
    /// What an HTTP endpoint makes of a record that it has had before. Default: plain.
    #[serde(default)]
    pub idempotence: Repeats,
    /// What `Idempotency-Key` is. Default: the identity.
    #[serde(default)]
    pub idempotency_key: IdempotencyKey,
    /// Whether an HTTP endpoint may have a private address, and be spoken to without TLS; the latter
    /// also for a cloud's endpoint that is not on this machine.
    #[serde(default)]
    pub allow_private: bool,
    /// Writes running or unmarked at one time, in this process; in `batch` mode uploads, over all
    /// partitions. Default: 64.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// A segment closes at so many payload bytes, uncompressed. Default: 4 MiB.
    #[serde(default = "default_flush_bytes")]
    pub flush_bytes: u64,
    /// A segment closes when it covers so many offsets. Default: 32,768.
    #[serde(default = "default_flush_records")]
    pub flush_records: u32,
    /// A segment closes so long after its first record. Default: 250 ms for `file://` and
    /// `null://`, 1 s for clouds.
    #[serde(default, with = "optional_duration")]
    pub flush_interval: Option<Duration>,
    /// An attempt to write ends after so long. Default: 30 s, in `record` mode 8 s.
    #[serde(default, with = "optional_duration")]
    pub attempt_timeout: Option<Duration>,
    /// A record is dead-lettered after so many failures of its own (`record` mode). Default: 16.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Retries for a hundred successes; 10 a second always go. Default: 50.
    #[serde(default = "default_retry_percent")]
    pub retry_percent: u32,
    /// The breaker opens when so many of a hundred attempts fail. Default: 50.
    #[serde(default = "default_failure_percent")]
    pub failure_percent: u32,
    /// Payload bytes in segments that are open or on their way, over all partitions of the topic,
    /// uncompressed. Default: 256 MiB.
    #[serde(default = "default_buffer_bytes")]
    pub buffer_bytes: u64,
    /// Name of this member within the group, for static membership. Default: none.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// What is set for `s3://` alone.
    #[serde(default)]
    pub s3: S3Settings,
    /// What is set for `az://` alone.
    #[serde(default)]
    pub azure: AzureSettings,
}

fn default_concurrency() -> usize {
    64
}

fn default_flush_bytes() -> u64 {
    4 * 1024 * 1024
}

fn default_flush_records() -> u32 {
    32_768
}

fn default_attempts() -> u32 {
    16
}

fn default_retry_percent() -> u32 {
    RETRY_PERCENT
}

fn default_failure_percent() -> u32 {
    FAILURE_PERCENT
}

fn default_buffer_bytes() -> u64 {
    256 * 1024 * 1024
}

/// Durations as people write them (`250ms`), or nothing.
mod optional_duration {
    use cloudsync_kafka::duration;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => duration::serialize(duration, to),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| duration::parse(&text).map_err(D::Error::custom))
            .transpose()
    }
}

// === impl WriteMode ===

impl WriteMode {
    /// Its name in the settings, in the marker and in the metadata of commits.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Record => "record",
        }
    }
}

// === impl DestinationSettings ===

impl fmt::Debug for DestinationSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationSettings")
            .field("url", &redact::url(&self.url))
            .field("group", &self.group)
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

impl DestinationSettings {
    /// The settings of a destination at `url`, read by `group`, with every default.
    #[must_use]
    pub fn new(url: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            group: group.into(),
            mode: None,
            idempotence: Repeats::default(),
            idempotency_key: IdempotencyKey::default(),
            allow_private: false,
            concurrency: default_concurrency(),
            flush_bytes: default_flush_bytes(),
            flush_records: default_flush_records(),
            flush_interval: None,
            attempt_timeout: None,
            attempts: default_attempts(),
            retry_percent: default_retry_percent(),
            failure_percent: default_failure_percent(),
            buffer_bytes: default_buffer_bytes(),
            instance_id: None,
            s3: S3Settings::default(),
            azure: AzureSettings::default(),
        }
    }

    /// Puts stars in the place of everything that nobody is to read.
    pub fn hide_secrets(&mut self) {
        self.url = redact::url(&self.url);
        let secrets = [
            &mut self.s3.secret_access_key,
            &mut self.s3.session_token,
            &mut self.azure.connection_string,
            &mut self.azure.account_key,
            &mut self.azure.sas,
        ];
        for secret in secrets.into_iter().flatten() {
            redact::HIDDEN.clone_into(secret);
        }
    }

    /// Every setting that cannot work, by its key in the section, and why. A URL that is not set
    /// is none of them: whoever does not deliver needs none.
    #[must_use]
    pub fn errors(&self) -> Vec<(&'static str, String)> {
        let none = "it must be at least 1";
        let percent = "it must be from 1 to 100";
        let is_percent = |number| (1..=100).contains(&number);
        let checks = [
            ("concurrency", self.concurrency == 0, none),
            ("flush_bytes", self.flush_bytes == 0, none),
            ("flush_records", self.flush_records == 0, none),
            ("attempts", self.attempts == 0, none),
            ("retry_percent", !is_percent(self.retry_percent), percent),
            (
                "failure_percent",
                !is_percent(self.failure_percent),
                percent,
            ),
            ("buffer_bytes", self.buffer_bytes == 0, none),
            ("group", self.group.is_empty(), "it must be a name"),
        ];
        let wrong = checks.into_iter().filter(|(_, wrong, _)| *wrong);
        let mut errors: Vec<_> = wrong.map(|(key, _, why)| (key, why.to_owned())).collect();
        if self.url.is_empty() {
            return errors;
        }
        let of_its_kind = sink::errors(self);
        if of_its_kind.is_empty()
            && let Err(error) = sink::check(self)
        {
            errors.push(("url", error.to_string()));
        }
        errors.extend(of_its_kind);
        if sink::is_http(&self.url) {
            if self.mode == Some(WriteMode::Batch) {
                let why = "an HTTP endpoint takes each record as a request of its own; leave mode \
                           away, or set it to record";
                errors.push(("mode", why.to_owned()));
            }
        } else if self.idempotence == Repeats::Keyed {
            let why = "keyed says something of an HTTP endpoint; leave it away here";
            errors.push(("idempotence", why.to_owned()));
        }
        errors
    }

    /// How records become objects.
    #[must_use]
    pub fn mode(&self) -> WriteMode {
        match self.mode {
            Some(mode) => mode,
            None if sink::is_http(&self.url) => WriteMode::Record,
            None => WriteMode::Batch,
        }
    }

    /// What every commit for this destination carries: the mode and a hash of the URL, so that a
    /// committed offset is never taken for a place in another destination. A user and a password
    /// in the URL of an endpoint are no part of the place.
    #[must_use]
    pub fn commit_metadata(&self) -> String {
        let place = sink::place(&self.url);
        format!("{} {:016x}", self.mode().name(), xxh3_64(place.as_bytes()))
    }

    /// Under which name the dedupe store of the destination `name` is opened. A mark says that the
    /// effect lies at *this* place, so another mode or url has a store of its own; what that one
    /// does not know is delivered.
    #[must_use]
    pub fn dedupe_name(&self, name: &str) -> String {
        let place = xxh3_64(self.commit_metadata().as_bytes());
        format!("{name}-{place:016x}")
    }

    /// How long a segment stays open after its first record.
    #[must_use]
    pub fn flush_interval(&self) -> Duration {
        let local = self.url.starts_with("file:") || self.url.starts_with("null:");
        let default = if local { 250 } else { 1_000 };
        self.flush_interval
            .unwrap_or_else(|| Duration::from_millis(default))
    }

    /// How long one attempt to write may take.
    #[must_use]
    pub fn attempt_timeout(&self) -> Duration {
        let default = match self.mode() {
            WriteMode::Batch => 30_000,
            WriteMode::Record => 8_000,
        };
        self.attempt_timeout
            .unwrap_or_else(|| Duration::from_millis(default))
    }

    /// What bounds the attempts at this destination.
    #[must_use]
    pub fn attempt_limits(&self) -> deliver::Limits {
        deliver::Limits {
            attempt_timeout: self.attempt_timeout(),
            concurrency: self.concurrency,
            failure_percent: self.failure_percent,
            retry_percent: self.retry_percent,
        }
    }

    /// Payload bytes at which a segment closes: `flush_bytes`, or less, so that all of `partitions`
    /// stay within `buffer_bytes` with one segment open and one on its way each.
    #[must_use]
    pub fn segment_bytes(&self, partitions: u32) -> u64 {
        let share = self.buffer_bytes / (2 * u64::from(partitions.max(1)));
        self.flush_bytes.min(share).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_are_enough_and_a_misspelt_key_is_refused() {
        let text = r#"{"url": "file:///tmp/a/", "group": "g"}"#;
        let settings: DestinationSettings = serde_json::from_str(text).unwrap();
        assert_eq!(settings, DestinationSettings::new("file:///tmp/a/", "g"));
        assert_eq!(settings.flush_interval(), Duration::from_millis(250));
        let text = r#"{"url": "az://c", "group": "g", "flush_interval": "2s"}"#;
        let settings: DestinationSettings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.flush_interval(), Duration::from_secs(2));
        let written = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            serde_json::from_str::<DestinationSettings>(&written).unwrap(),
            settings
        );
        let misspelt = r#"{"url": "file:///a", "group": "g", "flush_byte": 1}"#;
        assert!(serde_json::from_str::<DestinationSettings>(misspelt).is_err());
    }

    #[test]
    fn a_url_that_no_sink_knows_is_refused_with_those_that_there_are() {
        let wrong = |url: &str| DestinationSettings::new(url, "g").errors().pop();
        for known in ["", "file:///tmp/a", "null://"] {
            assert_eq!(wrong(known), None, "{known}");
        }
        for (unknown, hint) in [
            ("ftp://me:hush@h/x", "ftp://me:***@h/x"),
            ("s3:///prefix", "names no bucket"),
            ("az://a b/prefix", "names no container"),
            ("null://x", sink::SCHEMES),
            ("/srv/aws", "a directory is file:///srv/aws"),
            ("file://share/aws", "a directory is file:///share/aws"),
            ("file:/srv", "a directory is file:///srv"),
        ] {
            let (key, why) = wrong(unknown).unwrap();
            assert_eq!(key, "url");
            assert!(why.contains(hint) && !why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn the_commit_metadata_tells_modes_and_places_apart() {
        let batch = DestinationSettings::new("file:///tmp/a/", "g");
        let record = DestinationSettings {
            mode: Some(WriteMode::Record),
            ..batch.clone()
        };
        let elsewhere = DestinationSettings::new("file:///tmp/b", "g");
        assert_eq!(
            batch.commit_metadata(),
            DestinationSettings::new("file:///tmp/a", "h").commit_metadata()
        );
        assert_ne!(batch.commit_metadata(), record.commit_metadata());
        assert_ne!(batch.commit_metadata(), elsewhere.commit_metadata());
        assert_ne!(batch.dedupe_name("aws"), record.dedupe_name("aws"));
        assert_ne!(batch.dedupe_name("aws"), elsewhere.dedupe_name("aws"));
        let of = |url: &str| DestinationSettings::new(url, "g").commit_metadata();
        let endpoint = of("https://hooks.example/in");
        assert_eq!(of("https://me:old@hooks.example/in"), endpoint);
        assert_eq!(of("https://me:new@hooks.example/in/"), endpoint);
        assert_ne!(of("https://hooks.example/out"), endpoint);
        assert!(endpoint.starts_with("record "), "{endpoint}");
    }

    #[test]
    fn segments_of_all_partitions_stay_within_the_buffer() {
        let mut settings = DestinationSettings::new("file:///tmp/a", "g");
        assert_eq!(settings.segment_bytes(12), settings.flush_bytes);
        for (partitions, buffer) in [(1, 1 << 20), (12, 1 << 20), (1_000, 1 << 28), (7, 1)] {
            settings.buffer_bytes = buffer;
            let bytes = settings.segment_bytes(partitions);
            assert!(bytes == 1 || 2 * u64::from(partitions) * bytes <= buffer);
        }
    }

    #[test]
    fn an_endpoint_takes_records_and_nothing_else_is_keyed() {
        let wrong = |text: &str| {
            let settings: DestinationSettings = serde_json::from_str(text).unwrap();
            settings.errors().pop()
        };
        let https = r#"{"url": "https://h.example/in", "group": "g""#;
        for fine in ["", r#", "mode": "record""#, r#", "idempotence": "keyed""#] {
            assert_eq!(wrong(&format!("{https}{fine}}}")), None, "{fine}");
        }
        let (key, why) = wrong(&format!(r#"{https}, "mode": "batch"}}"#)).unwrap();
        assert_eq!(key, "mode");
        assert!(why.contains("set it to record"), "{why}");
        let file = r#"{"url": "file:///tmp/a", "group": "g", "idempotence": "keyed"}"#;
        assert_eq!(wrong(file).unwrap().0, "idempotence");
        let plain = r#"{"url": "http://h.example/in", "group": "g"}"#;
        let (key, why) = wrong(plain).unwrap();
        assert_eq!(key, "url");
        assert!(why.contains("allow_private"), "{why}");
    }
}
