//! The destinations that a record can go to: one file a kind, one line in [`open`] or [`connect`].
//!
//! There are two kinds. A [`SegmentSink`] keeps objects under names (a directory, a bucket); both
//! write modes go there. A [`RecordSink`] takes one record at a time (an HTTP endpoint); only
//! `record` mode goes there, and it sees every destination as one.
//!
//! In: names and bytes, or a record. Out: created, there already, or an error with a class. A sink
//! translates and classifies, nothing else: retries, time-outs and the breaker are `deliver`'s.

use crate::settings::DestinationSettings;
use async_trait::async_trait;
use bytes::Bytes;
use cloudsync_runtime::redact;
use object_store::UpdateVersion;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

pub mod cloud;
mod error;
mod file;
mod http;
pub mod marker;
mod null;
mod records;
mod retry_after;

use self::http::HttpSink;
pub use error::{ErrorClass, OpenError, SinkError};
use file::FileSink;
use null::NullSink;
pub use records::{Applied, Idempotence, Outgoing, RecordSink};
use retry_after::retry_after;

/// What stands at a destination's URL.
#[derive(Clone, Debug)]
pub enum Sink {
    /// A place for objects.
    Objects(Arc<dyn SegmentSink>),
    /// A place that takes records, one at a time.
    Records(Arc<dyn RecordSink>),
}

/// What a create found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// Nothing; now the object is there, whole and durable.
    Created,
    /// An object of that name, which was left as it is.
    AlreadyExists,
}

/// What [`SegmentSink::replace`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// The version that was to be replaced; now the new object is there, whole and durable.
    Replaced,
    /// Another version, or none: it was left as it is.
    Changed,
}

/// One state of an object: what a store compares before it replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub(crate) UpdateVersion);

/// What lies right below a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Prefixes of one part more, each ending in `/`, sorted.
    pub prefixes: Vec<String>,
    /// Names of the objects, sorted.
    pub names: Vec<String>,
}

/// A place for objects.
///
/// # Laws
/// 1. `create_if_absent` is atomic: of any number of creates of one name, at once or not, at most
///    one answers [`Create::Created`], and the object is then what that one brought, whole.
/// 2. An error leaves open whether the object was created.
/// 3. An object that was created is found by `get` and `list` from then on.
/// 4. `AlreadyExists`, `None` and an empty list are said only by a destination that is there: one
///    that is away (unmounted, unreachable) is an error.
/// 5. `replace` is all or nothing: whoever reads finds the object of before or the new one, whole.
///    It replaces the version that is named and no other. Files are compared and then renamed over:
///    of two processes that replace one version in the same moment both may say `Replaced`.
/// 6. `level`, asked of the prefixes that it names, and so on, comes to the names that `list` has.
///
/// A sink that [forgets](Self::is_conditional) keeps no object, and so the first law only; a segment
/// comes to it as an empty object.
#[async_trait]
pub trait SegmentSink: Debug + Send + Sync {
    /// Whether it keeps what it is given, so that a second create is told from the first.
    fn is_conditional(&self) -> bool;

    /// Creates the object `name`, unless there is one.
    ///
    /// # Errors
    /// [`SinkError`], with its class.
    async fn create_if_absent(&self, name: &str, object: Bytes) -> Result<Create, SinkError>;

    /// The object `name`; `None` if there is none.
    ///
    /// # Errors
    /// [`SinkError`], with its class.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, SinkError>;

    /// The names of all objects below `prefix` (empty, or ending in `/`), in no order.
    ///
    /// # Errors
    /// [`SinkError`], with its class.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError>;

    /// What lies right below `prefix` (empty, or ending in `/`).
    ///
    /// # Errors
    /// [`SinkError`], with its class.
    async fn level(&self, prefix: &str) -> Result<Level, SinkError>;

    /// The object `name`, and the version that it is; `None` if there is none.
    ///
    /// # Errors
    /// [`SinkError`], with its class.
    async fn get_versioned(&self, name: &str) -> Result<Option<(Bytes, Version)>, SinkError>;

    /// Puts `object` in the place of the object `name`, if that still is what it was at `version`.
    ///
    /// # Errors
    /// [`SinkError`], with its class; it leaves open whether the object was replaced.
    async fn replace(
        &self,
        name: &str,
        object: Bytes,
        version: &Version,
    ) -> Result<Replace, SinkError>;

    /// Removes the object `name`, if there is one.
    ///
    /// # Errors
    /// [`SinkError`], with its class.
    async fn delete(&self, name: &str) -> Result<(), SinkError>;
}

/// The kinds of URL that this build knows.
pub const SCHEMES: &str = "s3://bucket/prefix, az://container/prefix, file:///dir, \
    https://host/path, http://host/path, null://";

/// Whether `url` is one of an HTTP endpoint.
#[must_use]
pub fn is_http(url: &str) -> bool {
    http::is_http(url)
}

/// `url` as the name of a place: without a slash at its end, and without the user and the password
/// of an HTTP endpoint, which may change while the place does not.
pub(crate) fn place(url: &str) -> String {
    let url = if is_http(url) {
        http::without_user(url)
    } else {
        url.to_owned()
    };
    url.trim_end_matches('/').to_owned()
}

/// Whether [`open`] would know which place is meant. Nothing is asked, made or written.
///
/// # Errors
/// [`OpenError`], which does not pass by itself.
pub fn check(settings: &DestinationSettings) -> Result<(), OpenError> {
    if is_http(&settings.url) {
        return http::check(settings);
    }
    connect(settings).map(drop)
}

/// What is wrong with the settings that belong to one kind of destination, by key and reason.
pub(crate) fn errors(settings: &DestinationSettings) -> Vec<(&'static str, String)> {
    cloud::errors(settings)
}

/// What stands at the URL of `settings`, to write to as `destination`: a place for objects as
/// [`open_objects`] leaves it; an endpoint that takes connections.
///
/// # Errors
/// [`OpenError::Unavailable`] may pass by itself; the others need somebody to change something.
pub async fn open(settings: &DestinationSettings, destination: &str) -> Result<Sink, OpenError> {
    if is_http(&settings.url) {
        let endpoint = HttpSink::new(settings)?;
        endpoint.reach().await?;
        return Ok(Sink::Records(Arc::new(endpoint)));
    }
    Ok(Sink::Objects(open_objects(settings, destination).await?))
}

/// The place for objects at the URL of `settings`, to write to as `destination`: made ready, its
/// marker compared, and its condition proven.
///
/// # Errors
/// As [`open`].
pub async fn open_objects(
    settings: &DestinationSettings,
    destination: &str,
) -> Result<Arc<dyn SegmentSink>, OpenError> {
    let (url, mode) = (&settings.url, settings.mode());
    let sink = connect(settings)?;
    if let Some(directory) = file::directory_of(url) {
        file::make_directory(directory).await?;
    }
    if sink.is_conditional() {
        marker::claim(sink.as_ref(), &redact::url(url), destination, mode).await?;
    }
    Ok(sink)
}

/// What stands at the URL of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// A second create is told from the first, and no other destination lies there.
    Proven,
    /// Nothing yet: it is made when the destination is opened.
    NotThere(PathBuf),
    /// It keeps nothing.
    Forgets,
    /// An HTTP endpoint that takes connections; nothing was sent.
    Reached {
        /// What it makes of a record that it has had before.
        idempotence: Idempotence,
    },
}

/// Looks whether `destination` could be opened. Nothing is left there; a probe comes and goes, and
/// to an HTTP endpoint nothing is sent at all.
///
/// # Errors
/// As [`open`].
pub async fn look(settings: &DestinationSettings, destination: &str) -> Result<Looked, OpenError> {
    let url = &settings.url;
    if is_http(url) {
        let endpoint = HttpSink::new(settings)?;
        endpoint.reach().await?;
        let idempotence = endpoint.idempotence();
        return Ok(Looked::Reached { idempotence });
    }
    let sink = connect(settings)?;
    if !sink.is_conditional() {
        return Ok(Looked::Forgets);
    }
    if let Some(directory) = file::directory_of(url)
        && !directory.exists()
    {
        return Ok(Looked::NotThere(directory.to_owned()));
    }
    marker::look(
        sink.as_ref(),
        &redact::url(url),
        destination,
        settings.mode(),
    )
    .await?;
    Ok(Looked::Proven)
}

/// The place for objects at the URL of `settings`, as it is: nothing is asked, made or written.
///
/// # Errors
/// [`OpenError`], when the URL is none of objects that this build knows.
pub fn connect(settings: &DestinationSettings) -> Result<Arc<dyn SegmentSink>, OpenError> {
    let url = settings.url.as_str();
    if let Some(directory) = file::directory_of(url) {
        return Ok(Arc::new(FileSink::new(directory, url)?));
    }
    if let Some(sink) = cloud::connect(settings)? {
        return Ok(Arc::new(sink));
    }
    match url.split_once("://") {
        Some(("null", "")) => Ok(Arc::new(NullSink)),
        Some(("http" | "https", _)) => http::no_objects(url),
        _ => Err(OpenError::Url {
            url: redact::url(url),
            meant: file::meant_by(url),
        }),
    }
}
