//! Small durable files: replaced as a whole, synced, with their directory. And the reads and writes
//! of large ones that the standard library would copy or clear once more for.
//!
//! State files end in a line with their checksum. Promises: after a crash such a file holds the
//! old bytes or the new ones; a bit that was flipped in it is found, never believed.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::error::BrokerError;

/// Begins the last line of a state file.
const CHECKSUM: &[u8] = b"crc32c ";

/// Replaces the state file `path` by `content`, which ends in a line feed.
pub(crate) fn replace_state(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut bytes = content.to_vec();
    bytes.extend_from_slice(CHECKSUM);
    bytes.extend_from_slice(format!("{:08x}\n", crc32c::crc32c(content)).as_bytes());
    replace(path, &bytes)
}

/// The content of the state file `path`, `None` where there is none.
pub(crate) fn read_state(path: &Path) -> Result<Option<Vec<u8>>, BrokerError> {
    let found = read_if_there(path).map_err(BrokerError::file("read", path))?;
    let Some(mut bytes) = found else {
        return Ok(None);
    };
    let content = checked(&bytes).map(<[u8]>::len);
    let damaged = || BrokerError::damaged(path, "it fails its checksum");
    bytes.truncate(content.ok_or_else(damaged)?);
    Ok(Some(bytes))
}

fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let content = bytes.len().checked_sub(CHECKSUM.len() + 9)?;
    let (content, checksum) = bytes.split_at(content);
    let digits = checksum.strip_prefix(CHECKSUM)?.strip_suffix(b"\n")?;
    // What we write, and nothing that only means the same.
    let expected = format!("{:08x}", crc32c::crc32c(content));
    (digits == expected.as_bytes()).then_some(content)
}

/// Replaces `path` so that after a crash it holds the old bytes or the new ones, never a mix.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (_, named) = exchange(path, bytes)?;
    named
}

/// As [`replace`]. Out: the new file, open for writing, which has the name from now on; and whether
/// it is certain to have it after a power cut.
pub(crate) fn exchange(path: &Path, bytes: &[u8]) -> io::Result<(File, io::Result<()>)> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Opened first: behind the rename nothing is left to fail but the disk.
    let dir = path.parent().map(File::open).transpose()?;
    fs::rename(&temporary, path)?;
    let named = dir.map_or(Ok(()), |dir| dir.sync_all());
    Ok((file, named))
}

/// Keeps `bytes` of the file `path`, which is damaged at `position`, beside it under a name that
/// ends in `.cut`. What was kept from there before stays, too.
pub(crate) fn keep_cut(path: &Path, position: u64, bytes: &[u8]) -> io::Result<()> {
    let mut turn = 1;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(match turn {
            1 => format!(".{position}.cut"),
            turn => format!(".{position}.{turn}.cut"),
        });
        let name = Path::new(&name);
        if read_if_there(name)?.is_none_or(|before| before == bytes) {
            return replace(name, bytes);
        }
        turn += 1;
    }
}

/// Milliseconds since 1970, as records' timestamps are.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Makes a directory's entries durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The file's bytes, or `None` where there is none.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes both parts, one behind the other, from `position` on.
pub(crate) fn write_all_at(file: &File, [head, rest]: [&[u8]; 2], position: u64) -> io::Result<()> {
    let parts = [IoSlice::new(head), IoSlice::new(rest)];
    let written = match rustix::io::pwritev(file, &parts, position) {
        Ok(written) => written,
        Err(Errno::INTR) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let of_rest = written.saturating_sub(head.len());
    file.write_all_at(&head[written.min(head.len())..], position + written as u64)?;
    let behind = position + head.len() as u64 + of_rest as u64;
    file.write_all_at(&rest[of_rest..], behind)
}

/// Reads exactly `length` bytes from `position` on.
pub(crate) fn read_exactly_at(file: &File, position: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = position + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // A vector may have got more room than it was asked for.
    bytes.truncate(length);
    Ok(bytes)
}
