//! `s3://bucket/prefix` and `az://container/prefix`: objects in a cloud's object storage.
//!
//! In: a name and bytes. Out: created, there already, or an error with its class.
//!
//! The wire is `object_store`'s, with its own retries off: `deliver` retries. What a service answers
//! reaches `class` through `reply`, with its status, its word and its `Retry-After`, which
//! `object_store` alone would fold into one error. An answer that was lost leaves open whether the
//! object is there; whoever asks again meets it, and compares.

mod azure;
mod class;
mod profile;
mod reply;
mod s3;
pub mod settings;

use super::{Create, ErrorClass, Level, OpenError, Replace, SegmentSink, SinkError, Version};
use crate::settings::DestinationSettings;
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use reply::Connector;
use settings::{AzureSettings, S3Settings};
use std::fmt;
use std::time::Duration;

/// Longest time for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that nobody uses is closed after so long, before the services close it.
const IDLE: Duration = Duration::from_secs(3);

/// The objects below one prefix of a bucket or container.
pub(super) struct CloudSink {
    store: Box<dyn ObjectStore>,
    /// Where it lies, as messages show it.
    place: String,
    prefix: Path,
    /// Storage class or access tier of what is written; none: the bucket's own.
    storage_class: Option<String>,
}

/// A bucket or container, and what names in it begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    bucket: String,
    prefix: Path,
}

/// The URL that the service of `settings` is spoken to under, where one is set, in the settings or in
/// the environment.
#[must_use]
pub fn endpoint(settings: &DestinationSettings) -> Option<String> {
    match settings.url.split_once("://") {
        Some(("s3", _)) => s3::endpoint(&settings.s3),
        Some(("az", _)) => azure::endpoint(&settings.azure),
        _ => None,
    }
}

/// The sink at the URL of `settings`; `None` for a URL of another kind. Nothing is asked.
///
/// # Errors
/// [`OpenError::Refused`], with the setting and the way out.
pub(super) fn connect(settings: &DestinationSettings) -> Result<Option<CloudSink>, OpenError> {
    let Some((scheme @ ("s3" | "az"), rest)) = settings.url.split_once("://") else {
        return Ok(None);
    };
    let place = Place::parse(scheme, rest).map_err(OpenError::Refused)?;
    let refused =
        |error: &dyn fmt::Display| OpenError::Refused(format!("{}: {error}", settings.url));
    let (store, storage_class): (Box<dyn ObjectStore>, _) = if scheme == "s3" {
        let store = s3::store(settings, &place.bucket).map_err(|why| refused(&why))?;
        (Box::new(store), settings.s3.storage_class.clone())
    } else {
        let store = azure::store(settings, &place.bucket).map_err(|why| refused(&why))?;
        (Box::new(store), settings.azure.access_tier.clone())
    };
    Ok(Some(CloudSink {
        store,
        place: settings.url.trim_end_matches('/').to_owned(),
        prefix: place.prefix,
        storage_class,
    }))
}

/// No retries below ours: a second create after a lost answer would call our own object another's.
fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        retry_timeout: Duration::ZERO,
        backoff: BackoffConfig::default(),
    }
}

/// How a service is spoken to. An attempt as a whole is timed by whoever makes it.
fn connector(settings: &DestinationSettings) -> Connector {
    Connector {
        connect: CONNECT,
        answer: settings.attempt_timeout() + CONNECT,
        idle: IDLE,
    }
}

/// What `object_store` is to know of it.
fn options(plain: bool) -> ClientOptions {
    ClientOptions::new().with_allow_http(plain)
}

/// What is wrong with the settings of a cloud, by key and reason.
pub(super) fn errors(settings: &DestinationSettings) -> Vec<(&'static str, String)> {
    let mut errors = settings.s3.errors();
    errors.extend(settings.azure.errors());
    let strangers = [
        ("s3", "s3://", settings.s3 != S3Settings::default()),
        ("azure", "az://", settings.azure != AzureSettings::default()),
    ];
    for (key, scheme, is_set) in strangers {
        if is_set && !settings.url.starts_with(scheme) {
            errors.push((
                key,
                format!("it is for destinations at {scheme}; leave it away here"),
            ));
        }
    }
    errors
}

/// Whether `endpoint` may be spoken to without TLS: on this machine, or where the settings allow it.
fn may_be_plain(endpoint: &str, allow_private: bool) -> Result<bool, String> {
    let Ok(uri) = endpoint.parse::<http::Uri>() else {
        return Err(format!(
            "endpoint {endpoint} is no URL; one is https://host:port"
        ));
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost"
        || host
            .parse()
            .is_ok_and(|it: std::net::IpAddr| it.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(false),
        Some("http") if loopback || allow_private => Ok(true),
        Some("http") => Err(format!(
            "endpoint {endpoint} would be spoken to without TLS; use https, or set allow_private"
        )),
        _ => Err(format!(
            "endpoint {endpoint} must begin with https:// or http://"
        )),
    }
}

/// What is done to an object.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Create,
    Read,
    List,
    Remove,
}

// === impl Verb ===

impl Verb {
    /// The word for it, and the right that it takes: an action of AWS IAM, and one of Azure's roles
    /// (below `Microsoft.Storage/storageAccounts/blobServices/containers/`).
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Create => ("create", "s3:PutObject", "blobs/write"),
            Self::Read => ("read", "s3:GetObject", "blobs/read"),
            Self::List => ("list", "s3:ListBucket", "blobs/read"),
            Self::Remove => ("remove", "s3:DeleteObject", "blobs/delete"),
        }
    }
}

// === impl Place ===

impl Place {
    fn parse(scheme: &str, rest: &str) -> Result<Self, String> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let harmless = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_' | '$');
        if bucket.is_empty() || !bucket.chars().all(harmless) {
            let what = if scheme == "s3" {
                "bucket"
            } else {
                "container"
            };
            return Err(format!(
                "destination url {scheme}://{rest} names no {what}; one is {scheme}://{what}/prefix"
            ));
        }
        let prefix = Path::parse(prefix).map_err(|error| {
            format!(
                "destination url {scheme}://{rest} has a prefix that no object can have: {error}"
            )
        })?;
        let bucket = bucket.to_owned();
        Ok(Self { bucket, prefix })
    }
}

// === impl CloudSink ===

impl fmt::Debug for CloudSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudSink")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl CloudSink {
    fn path(&self, name: &str) -> Result<Path, SinkError> {
        let parsed = Path::parse(name);
        let parsed = parsed.map_err(|error| {
            SinkError::new(
                ErrorClass::Rejected,
                format!("name an object {name}"),
                error,
            )
        })?;
        Ok(self.prefix.parts().chain(parsed.parts()).collect())
    }

    fn failed(&self, verb: Verb, name: &str, error: Error) -> SinkError {
        let (verb, of_s3, of_azure) = verb.words();
        let error = class::classify(format!("{verb} {}/{name}", self.place), error);
        if !error
            .code
            .as_deref()
            .is_some_and(|code| code.starts_with("403"))
        {
            return error;
        }
        let right = if self.place.starts_with("s3://") {
            of_s3
        } else {
            of_azure
        };
        SinkError {
            action: format!("{}, which takes the right {right}", error.action),
            ..error
        }
    }

    /// The name below the prefix; `None` for what does not lie there.
    fn name_of(&self, path: &Path) -> Option<String> {
        let parts: Vec<_> = path.prefix_match(&self.prefix)?.collect();
        let texts = parts.iter().map(AsRef::as_ref);
        Some(texts.collect::<Vec<&str>>().join("/"))
    }

    fn options(&self, mode: PutMode, name: &str) -> PutOptions {
        let content_type = if name.ends_with(".zst") {
            "application/zstd"
        } else {
            "application/json"
        };
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, content_type.into());
        if let Some(class) = &self.storage_class {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        PutOptions {
            mode,
            attributes,
            ..PutOptions::default()
        }
    }
}

#[async_trait]
impl SegmentSink for CloudSink {
    fn is_conditional(&self) -> bool {
        true
    }

    async fn create_if_absent(&self, name: &str, object: Bytes) -> Result<Create, SinkError> {
        let path = self.path(name)?;
        let options = self.options(PutMode::Create, name);
        match self
            .store
            .put_opts(&path, PutPayload::from(object), options)
            .await
        {
            Ok(_) => Ok(Create::Created),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                Ok(Create::AlreadyExists)
            }
            Err(error) => Err(self.failed(Verb::Create, name, error)),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, SinkError> {
        Ok(self.get_versioned(name).await?.map(|(object, _)| object))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        let below = self.path(prefix.trim_end_matches('/'))?;
        let listed = self.store.list(Some(&below)).try_filter_map(|object| {
            let name = self.name_of(&object.location);
            async move { Ok(name) }
        });
        let listed: Result<Vec<_>, _> = listed.try_collect().await;
        listed.map_err(|error| self.failed(Verb::List, prefix, error))
    }

    async fn level(&self, prefix: &str) -> Result<Level, SinkError> {
        let below = self.path(prefix.trim_end_matches('/'))?;
        let listed = self.store.list_with_delimiter(Some(&below)).await;
        let listed = listed.map_err(|error| self.failed(Verb::List, prefix, error))?;
        let folders = listed.common_prefixes.iter();
        let folders = folders.filter_map(|path| Some(format!("{}/", self.name_of(path)?)));
        let objects = listed.objects.iter();
        let objects = objects.filter_map(|object| self.name_of(&object.location));
        let mut level = Level {
            prefixes: folders.collect(),
            names: objects.collect(),
        };
        level.prefixes.sort_unstable();
        level.names.sort_unstable();
        Ok(level)
    }

    async fn get_versioned(&self, name: &str) -> Result<Option<(Bytes, Version)>, SinkError> {
        let path = self.path(name)?;
        let read = async {
            let found = self.store.get(&path).await?;
            let version = UpdateVersion {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            Ok((found.bytes().await?, Version(version)))
        };
        match read.await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(Verb::Read, name, error)),
        }
    }

    async fn replace(
        &self,
        name: &str,
        object: Bytes,
        version: &Version,
    ) -> Result<Replace, SinkError> {
        let path = self.path(name)?;
        let options = self.options(PutMode::Update(version.0.clone()), name);
        let put = self
            .store
            .put_opts(&path, PutPayload::from(object), options);
        match put.await {
            Ok(_) => Ok(Replace::Replaced),
            Err(Error::Precondition { .. } | Error::NotFound { .. }) => Ok(Replace::Changed),
            Err(error) => Err(self.failed(Verb::Create, name, error)),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), SinkError> {
        match self.store.delete(&self.path(name)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(Verb::Remove, name, error)),
        }
    }
}

#[cfg(test)]
mod tests;
