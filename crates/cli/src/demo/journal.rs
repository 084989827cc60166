//! What was sent, and what was acknowledged: the side of the ledger that CloudSync has no part in.
//!
//! In: each send in its order, and verdicts by their place in that order. Out: `sent.journal`, a
//! file that the ledger reads back. It keeps identities and hashes, no data: 33 bytes a send, 17
//! a range of acknowledgements.
//!
//! An entry that the file ends inside of is passed over: its writer was cut off.

use cloudsync::DEFAULT_TENANT;
use cloudsync::identity::Id16;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3Default;

/// Name of the file in a demo's directory.
pub const FILE_NAME: &str = "sent.journal";
/// The first bytes of the file: what it is, and in which version.
const MAGIC: &[u8; 8] = b"csjrnl01";

const SENT: u8 = 1;
const RESENT: u8 = 2;
const ACKED: u8 = 3;
const REJECTED: u8 = 4;

/// Hash of what a record says: 128 bits over payload, the byte `0x1F`, and content type. Wider
/// than the fingerprint that CloudSync computes, so that the two do not fail together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub u128);

/// One record as it was sent: which effect, with what content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sent {
    /// Its identity.
    pub id: Id16,
    /// Its content.
    pub content: ContentHash,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record was sent; again, if the demo meant to send it twice.
    Sent {
        /// What.
        sent: Sent,
        /// It is a repetition.
        again: bool,
    },
    /// The sends with these numbers, from 0, are durable in the log.
    Acked(Range<u64>),
    /// The send with this number was refused for good.
    Rejected(u64),
}

/// Writes a journal.
#[derive(Debug)]
pub struct Journal {
    file: BufWriter<File>,
}

// === impl ContentHash, Sent ===

impl ContentHash {
    /// The hash of `payload` sent as `content_type`.
    #[must_use]
    pub fn of(payload: &[u8], content_type: &str) -> Self {
        let mut hasher = Xxh3Default::new();
        hasher.update(payload);
        hasher.update(&[0x1f]);
        hasher.update(content_type.as_bytes());
        Self(hasher.digest128())
    }
}

impl Sent {
    /// A record of the default tenant.
    #[must_use]
    pub fn of(key: &str, request_id: &str, payload: &[u8], content_type: &str) -> Self {
        Self {
            id: Id16::of(DEFAULT_TENANT, key, request_id),
            content: ContentHash::of(payload, content_type),
        }
    }
}

// === impl Journal ===

impl Journal {
    /// Begins a journal at `path`, where no file may be.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 18, File::create_new(path)?);
        file.write_all(MAGIC)?;
        Ok(Self { file })
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Sent { sent, again } => {
                let mut bytes = [if *again { RESENT } else { SENT }; 33];
                bytes[1..17].copy_from_slice(&sent.id.0);
                bytes[17..].copy_from_slice(&sent.content.0.to_le_bytes());
                self.file.write_all(&bytes)
            }
            Entry::Acked(range) => {
                let mut bytes = [ACKED; 17];
                bytes[1..9].copy_from_slice(&range.start.to_le_bytes());
                bytes[9..].copy_from_slice(&range.end.to_le_bytes());
                self.file.write_all(&bytes)
            }
            Entry::Rejected(sequence) => {
                let mut bytes = [REJECTED; 9];
                bytes[1..].copy_from_slice(&sequence.to_le_bytes());
                self.file.write_all(&bytes)
            }
        }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The system's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Gives `visit` every entry of the journal at `path`.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidData`] if it is no journal.
pub fn read(path: &Path, mut visit: impl FnMut(Entry)) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a journal of sends",
        ));
    }
    loop {
        match read_entry(&mut file) {
            Ok(Some(entry)) => visit(entry),
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn read_entry(file: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut kind = [0; 1];
    file.read_exact(&mut kind)?;
    let entry = match kind[0] {
        SENT | RESENT => {
            let id = Id16(array(file)?);
            let content = ContentHash(u128::from_le_bytes(array(file)?));
            Entry::Sent {
                sent: Sent { id, content },
                again: kind[0] == RESENT,
            }
        }
        ACKED => {
            let start = u64::from_le_bytes(array(file)?);
            Entry::Acked(start..u64::from_le_bytes(array(file)?))
        }
        REJECTED => Entry::Rejected(u64::from_le_bytes(array(file)?)),
        other => {
            let text = format!("it has an entry of the unknown kind {other}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    };
    Ok(Some(entry))
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_torn_end_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let sent = Sent::of("k", "id", b"payload", "application/json");
        let entries = [
            Entry::Sent { sent, again: false },
            Entry::Acked(0..1),
            Entry::Sent { sent, again: true },
            Entry::Rejected(1),
        ];
        let mut journal = Journal::create(&path).unwrap();
        entries
            .iter()
            .for_each(|entry| journal.write(entry).unwrap());
        journal.flush().unwrap();
        assert!(
            Journal::create(&path).is_err(),
            "a journal is never written over"
        );

        let read_all = || {
            let mut found = Vec::new();
            read(&path, |entry| found.push(entry)).map(|()| found)
        };
        assert_eq!(read_all().unwrap(), entries);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(read_all().unwrap(), entries[..3]);
        std::fs::write(&path, b"something else").unwrap();
        assert_eq!(read_all().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
