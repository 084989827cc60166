//! The directory: lock, format, log id, and how the last run ended.
//!
//! In: a path. Out: an open [`Directory`] that no other process can open, and the
//! [`LastEnd`] that tells recovery where each partition may go on; or, from [`look_at`], what lies
//! there, with nothing made or changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{BrokerError, Damage};
use crate::files;

const FORMAT: u32 = 2;
/// Keeps a plain read of the boot id from taking what is not one.
const BOOT_ID_MAX: usize = 128;

/// An open, locked log directory.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    log_id: Uuid,
    boot_id: String,
    /// Held for its lock.
    _lock: File,
}

/// How the run before this one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LastEnd {
    /// Everything was synced; the end offset of each partition folder.
    Clean(BTreeMap<String, i64>),
    /// The process was killed, but the page cache is the same.
    SameBoot,
    /// The machine went down or may have: written but unsynced bytes may be gone.
    OtherBoot,
}

/// A directory that is only read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) log_id: Uuid,
    pub(crate) last_end: LastEnd,
    pub(crate) damage: Vec<Damage>,
    /// Keeps writers away, other readers not; `None` where no writer ever was.
    pub(crate) lock: Option<File>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
    log_id: String,
}

#[derive(Serialize, Deserialize)]
struct Run {
    boot_id: String,
    clean: bool,
    #[serde(default)]
    ends: BTreeMap<String, i64>,
}

impl Directory {
    /// Opens and locks `path`, creating it if absent.
    pub(crate) fn open(path: &Path, boot_id_file: &Path) -> Result<(Self, LastEnd), BrokerError> {
        fs::create_dir_all(path).map_err(BrokerError::file("create directory", path))?;
        let lock = lock(path)?;
        let log_id = read_or_make_format(path)?;
        let boot_id = read_boot_id(boot_id_file);
        let last_end = last_end(path, &boot_id)?;
        let directory = Self {
            path: path.to_owned(),
            log_id,
            boot_id,
            _lock: lock,
        };
        Ok((directory, last_end))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn log_id(&self) -> Uuid {
        self.log_id
    }

    /// To be called once recovery is through and before the first offset is given.
    pub(crate) fn mark_running(&self) -> Result<(), BrokerError> {
        self.write_run(false, BTreeMap::new())
    }

    /// To be called when everything is synced and nothing more will be written.
    pub(crate) fn mark_clean(&self, ends: BTreeMap<String, i64>) -> Result<(), BrokerError> {
        self.write_run(true, ends)
    }

    fn write_run(&self, clean: bool, ends: BTreeMap<String, i64>) -> Result<(), BrokerError> {
        let path = self.path.join("run.json");
        let run = Run {
            boot_id: self.boot_id.clone(),
            clean,
            ends,
        };
        let bytes = to_json(&path, &run)?;
        files::replace_state(&path, &bytes).map_err(BrokerError::file("write", path))
    }
}

/// Looks at the directory `path`, and keeps writers away while it is looked at.
pub(crate) fn look_at(path: &Path, boot_id_file: &Path) -> Result<Found, BrokerError> {
    let lock = lock_against_writers(path)?;
    let missing = || BrokerError::damaged(path.join("format.json"), "it is missing");
    let log_id = read_format(path)?.ok_or_else(missing)?;
    let mut damage = Vec::new();
    let last_end = match last_end(path, &read_boot_id(boot_id_file)) {
        // It only tells where the log should end.
        Err(BrokerError::Damaged { path, detail }) => {
            damage.push(Damage { path, detail });
            LastEnd::OtherBoot
        }
        read => read?,
    };
    Ok(Found {
        log_id,
        last_end,
        damage,
        lock,
    })
}

fn last_end(path: &Path, boot_id: &str) -> Result<LastEnd, BrokerError> {
    let path = path.join("run.json");
    let Some(bytes) = files::read_state(&path)? else {
        return Ok(LastEnd::OtherBoot);
    };
    let run: Run = from_json(&path, &bytes)?;
    Ok(if run.clean {
        LastEnd::Clean(run.ends)
    } else if !boot_id.is_empty() && run.boot_id == boot_id {
        LastEnd::SameBoot
    } else {
        LastEnd::OtherBoot
    })
}

fn lock(path: &Path) -> Result<File, BrokerError> {
    let lock_path = path.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(BrokerError::file("open", lock_path.as_path()))?;
    flock_or_refuse(&file, path, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn lock_against_writers(path: &Path) -> Result<Option<File>, BrokerError> {
    let lock_path = path.join("lock");
    let file = match File::open(&lock_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BrokerError::file("open", lock_path)(error)),
    };
    flock_or_refuse(&file, path, FlockOperation::NonBlockingLockShared)?;
    Ok(Some(file))
}

fn flock_or_refuse(file: &File, path: &Path, how: FlockOperation) -> Result<(), BrokerError> {
    match flock(file, how) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BrokerError::Locked {
            path: path.to_owned(),
        }),
        Err(errno) => Err(BrokerError::file("lock", path.join("lock"))(errno.into())),
    }
}

/// The log's id, or `None` in a directory without a format.
fn read_format(path: &Path) -> Result<Option<Uuid>, BrokerError> {
    let file = path.join("format.json");
    let read = files::read_state(&file);
    if let Err(BrokerError::Damaged { .. }) = read
        && let Some(bytes) = files::read_if_there(&file).ok().flatten()
        && let Ok(format) = serde_json::from_slice::<Format>(&bytes)
    {
        // Format 1 had no checksums.
        return Err(BrokerError::Format {
            path: path.to_owned(),
            found: format.format,
            expected: FORMAT,
        });
    }
    let Some(bytes) = read? else {
        return Ok(None);
    };
    let format: Format = from_json(&file, &bytes)?;
    if format.format != FORMAT {
        return Err(BrokerError::Format {
            path: path.to_owned(),
            found: format.format,
            expected: FORMAT,
        });
    }
    Uuid::parse_str(&format.log_id)
        .map(Some)
        .map_err(|error| BrokerError::damaged(&file, format!("log_id: {error}")))
}

fn read_or_make_format(path: &Path) -> Result<Uuid, BrokerError> {
    if let Some(log_id) = read_format(path)? {
        return Ok(log_id);
    }
    let file = path.join("format.json");
    let topics = ["topics.json", "partitions"].map(|name| path.join(name));
    if topics.iter().any(|it| it.exists()) {
        return Err(BrokerError::damaged(file, "missing beside existing topics"));
    }
    let log_id = Uuid::now_v7();
    let format = Format {
        format: FORMAT,
        log_id: log_id.to_string(),
    };
    let bytes = to_json(&file, &format)?;
    files::replace_state(&file, &bytes).map_err(BrokerError::file("write", file))?;
    Ok(log_id)
}

/// Empty where the system does not tell, which counts as another boot.
fn read_boot_id(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let text = text.trim();
    if text.len() > BOOT_ID_MAX {
        String::new()
    } else {
        text.to_owned()
    }
}

/// Serializes a small state file.
pub(crate) fn to_json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, BrokerError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| BrokerError::damaged(path, error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a small state file back.
pub(crate) fn from_json<T: for<'de> Deserialize<'de>>(
    path: &Path,
    bytes: &[u8],
) -> Result<T, BrokerError> {
    serde_json::from_slice(bytes).map_err(|error| BrokerError::damaged(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_end_follows_the_boot_id() {
        let dir = tempfile::tempdir().unwrap();
        let boot = dir.path().join("boot");
        let log = dir.path().join("log");
        fs::write(&boot, "first\n").unwrap();

        let (open, end) = Directory::open(&log, &boot).unwrap();
        assert_eq!(end, LastEnd::OtherBoot, "a new directory promises nothing");
        open.mark_running().unwrap();
        let id = open.log_id();
        drop(open);

        let (open, end) = Directory::open(&log, &boot).unwrap();
        assert_eq!((end, open.log_id()), (LastEnd::SameBoot, id));
        drop(open);

        fs::write(&boot, "second\n").unwrap();
        let (open, end) = Directory::open(&log, &boot).unwrap();
        assert_eq!(end, LastEnd::OtherBoot);
        open.mark_clean(BTreeMap::from([("t-0".into(), 7)]))
            .unwrap();
        drop(open);

        fs::remove_file(&boot).unwrap();
        let (_, end) = Directory::open(&log, &boot).unwrap();
        assert_eq!(end, LastEnd::Clean(BTreeMap::from([("t-0".into(), 7)])));
    }

    #[test]
    fn a_second_open_and_another_format_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let boot = Path::new("/nonexistent");
        let (open, _) = Directory::open(dir.path(), boot).unwrap();
        assert!(matches!(
            Directory::open(dir.path(), boot),
            Err(BrokerError::Locked { .. })
        ));
        drop(open);
        fs::write(
            dir.path().join("format.json"),
            r#"{"format":1,"log_id":""}"#,
        )
        .unwrap();
        let error = Directory::open(dir.path(), boot).unwrap_err();
        assert!(
            matches!(error, BrokerError::Format { found: 1, .. }),
            "{error}"
        );
    }
}
