//! `file:///dir`: objects as files below a directory.
//!
//! In: a name and bytes. Out: created, there already, or an error with its class.
//!
//! Promises: a file that is there is whole, and with its directory entry on disk (fsync) when a
//! create says so. The directory counts as there only while the marker lies in it; a directory
//! that is removed, unmounted or replaced is an outage, and heals when it comes back.

use super::marker::{MARKER, is_own_name};
use super::{Create, ErrorClass, Level, OpenError, Replace, SegmentSink, SinkError, Version};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use std::io;
use std::path::{Path, PathBuf};

/// The files below one directory.
#[derive(Debug)]
pub(super) struct FileSink {
    files: LocalFileSystem,
    directory: PathBuf,
    /// The directory as names see it.
    base: ObjectPath,
}

/// The directory that a `file://` URL names, as it stands there (no percent-encoding).
pub(super) fn directory_of(url: &str) -> Option<&Path> {
    let path = Path::new(url.strip_prefix("file://")?);
    path.is_absolute().then_some(path)
}

/// The URL that somebody meant who wrote a path, or one slash more or less: three of them stand in
/// front of a directory, since the second two have a host between them, which a file has not.
pub(super) fn meant_by(url: &str) -> Option<String> {
    let path = match url.strip_prefix("file:") {
        Some(rest) => rest,
        None if url.starts_with('/') => url,
        None => return None,
    };
    let path = path.trim_start_matches('/');
    (!path.is_empty()).then(|| format!("file:///{path}"))
}

/// Makes `directory` and what is missing above it, for nobody else to read.
pub(super) async fn make_directory(directory: &Path) -> Result<(), SinkError> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    let made = builder.create(directory).await;
    made.map_err(|error| {
        SinkError::new(
            class_of(error.kind()),
            format!("make {}", directory.display()),
            error,
        )
    })
}

// === impl FileSink ===

impl FileSink {
    pub(super) fn new(directory: &Path, url: &str) -> Result<Self, OpenError> {
        let base = ObjectPath::from_absolute_path(directory).map_err(|_| OpenError::Url {
            url: url.to_owned(),
            meant: None,
        })?;
        // Rooted at `/`, so that the directory need not exist yet and may come and go.
        let files = LocalFileSystem::new().with_fsync(true);
        Ok(Self {
            files,
            directory: directory.to_owned(),
            base,
        })
    }

    fn path(&self, name: &str) -> Result<ObjectPath, SinkError> {
        let parsed = ObjectPath::parse(name);
        let parsed = parsed.map_err(|error| {
            SinkError::new(
                ErrorClass::Rejected,
                format!("name an object {name}"),
                error,
            )
        })?;
        Ok(self.base.parts().chain(parsed.parts()).collect())
    }

    /// The name of the object at `path`.
    fn name_of(&self, path: &ObjectPath) -> Option<String> {
        let parts: Vec<_> = path.prefix_match(&self.base)?.collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        Some(parts.join("/"))
    }

    /// Errs unless the directory is there with its marker.
    async fn present(&self, action: &str) -> Result<(), SinkError> {
        let marker = self.directory.join(MARKER);
        match tokio::fs::metadata(&marker).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let class = class_of(error.kind());
                let source = format!(
                    "{} is not there ({error}): the directory is unmounted, removed or replaced; \
                     bring it back, or restart to begin it anew",
                    marker.display()
                );
                Err(SinkError::new(class, action, source))
            }
        }
    }
}

#[async_trait]
impl SegmentSink for FileSink {
    fn is_conditional(&self) -> bool {
        true
    }

    async fn create_if_absent(&self, name: &str, object: Bytes) -> Result<Create, SinkError> {
        let action = format!("create {}", self.directory.join(name).display());
        if !is_own_name(name) {
            self.present(&action).await?;
        }
        let options = PutOptions::from(PutMode::Create);
        let path = self.path(name)?;
        match self
            .files
            .put_opts(&path, PutPayload::from(object), options)
            .await
        {
            Ok(_) => Ok(Create::Created),
            Err(Error::AlreadyExists { .. }) => Ok(Create::AlreadyExists),
            Err(error) => Err(classify(action, error)),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, SinkError> {
        Ok(self.get_versioned(name).await?.map(|(object, _)| object))
    }

    async fn get_versioned(&self, name: &str) -> Result<Option<(Bytes, Version)>, SinkError> {
        let action = format!("read {}", self.directory.join(name).display());
        let path = self.path(name)?;
        let read = async {
            let found = self.files.get(&path).await?;
            let version = version_of(&found.meta);
            Ok((found.bytes().await?, version))
        };
        match read.await {
            Ok(found) => Ok(Some(found)),
            Err(error) => {
                // Away is something else than empty, and says more than a file that is missing.
                if !is_own_name(name) {
                    self.present(&action).await?;
                }
                match error {
                    Error::NotFound { .. } => Ok(None),
                    error => Err(classify(action, error)),
                }
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, SinkError> {
        let action = format!("list {}", self.directory.join(prefix).display());
        // A probe comes before the marker.
        let of_ours = is_own_name(prefix);
        if !of_ours {
            self.present(&action).await?;
        }
        let below = self.path(prefix.trim_end_matches('/'))?;
        let listed = self
            .files
            .list(Some(&below))
            .map_ok(|object| object.location);
        let listed: Vec<_> = listed
            .try_collect()
            .await
            .map_err(|error| classify(action.clone(), error))?;
        // An object that was there may have gone with the directory.
        if !of_ours {
            self.present(&action).await?;
        }
        Ok(listed
            .iter()
            .filter_map(|path| self.name_of(path))
            .collect())
    }

    async fn level(&self, prefix: &str) -> Result<Level, SinkError> {
        let action = format!("list {}", self.directory.join(prefix).display());
        self.present(&action).await?;
        let below = self.path(prefix.trim_end_matches('/'))?;
        let found = self.files.list_with_delimiter(Some(&below)).await;
        let found = match found {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(Level::default()),
            Err(error) => return Err(classify(action, error)),
        };
        self.present(&action).await?;
        let folders = found.common_prefixes.iter();
        let folders = folders.filter_map(|path| Some(format!("{}/", self.name_of(path)?)));
        let objects = found.objects.iter();
        let objects = objects.filter_map(|object| self.name_of(&object.location));
        let (mut prefixes, mut names): (Vec<_>, Vec<_>) = (folders.collect(), objects.collect());
        prefixes.sort_unstable();
        names.sort_unstable();
        Ok(Level { prefixes, names })
    }

    async fn replace(
        &self,
        name: &str,
        object: Bytes,
        version: &Version,
    ) -> Result<Replace, SinkError> {
        let action = format!("replace {}", self.directory.join(name).display());
        self.present(&action).await?;
        let path = self.path(name)?;
        match self.files.head(&path).await {
            Ok(found) if version_of(&found) == *version => {}
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(Replace::Changed),
            Err(error) => return Err(classify(action, error)),
        }
        // Written beside it, synced, and renamed over it.
        let options = PutOptions::from(PutMode::Overwrite);
        let put = self
            .files
            .put_opts(&path, PutPayload::from(object), options);
        match put.await {
            Ok(_) => Ok(Replace::Replaced),
            Err(error) => Err(classify(action, error)),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), SinkError> {
        match self.files.delete(&self.path(name)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(classify(
                format!("remove {}", self.directory.join(name).display()),
                error,
            )),
        }
    }
}

fn version_of(found: &ObjectMeta) -> Version {
    Version(UpdateVersion {
        e_tag: found.e_tag.clone(),
        version: found.version.clone(),
    })
}

// === classes ===

fn classify(action: String, error: Error) -> SinkError {
    let class = match io_kind(&error) {
        Some(kind) => class_of(kind),
        None => ErrorClass::Transient,
    };
    SinkError::new(class, action, error)
}

/// The kind of the first I/O error below `error`.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut below = Some(error);
    while let Some(cause) = below {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        below = cause.source();
    }
    None
}

fn class_of(kind: io::ErrorKind) -> ErrorClass {
    use io::ErrorKind as Kind;
    match kind {
        Kind::PermissionDenied => ErrorClass::Denied,
        Kind::InvalidFilename => ErrorClass::Rejected,
        Kind::Interrupted | Kind::WouldBlock | Kind::ResourceBusy => ErrorClass::Transient,
        // The disk is full, gone, read-only or not what it was: it stays so until somebody acts.
        _ => ErrorClass::Outage,
    }
}

#[cfg(test)]
mod tests;
