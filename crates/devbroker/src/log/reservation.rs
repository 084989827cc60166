//! The promise that no offset is given twice, kept on disk on both sides of the log's end.
//!
//! In: the offset a batch will end at, and the one that it has ended at. Out: two files. Ahead of
//! the end, synced: `reservation`, a bound below which any offset may have been given. At the end,
//! written but not synced: `end`, the offset that the next batch was to get.
//!
//! After a kill `end` survives, and shows whether what was written is still all there; after a
//! power cut it may not. Whoever misses something goes on at the bound.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::BrokerError;
use crate::files;

const BOUND: &str = "reservation";
const END: &str = "end";
/// 20 digits, a space, 8 hex digits of their CRC-32C, a line feed.
const END_BYTES: usize = 30;

/// The bounds of one partition's offsets.
#[derive(Debug)]
pub(crate) struct Reservation {
    path: PathBuf,
    /// Offsets below may have been given.
    bound: i64,
    step: i64,
    end_file: File,
    /// What `end` says; `None` where it said nothing that can be read.
    end: Option<i64>,
}

// === impl Reservation ===

impl Reservation {
    /// For a new, empty partition in the folder `dir`.
    pub(crate) fn create(dir: &Path, step: i64) -> io::Result<Self> {
        let path = dir.join(BOUND);
        files::replace_state(&path, b"0\n")?;
        let mut reservation = Self {
            path,
            bound: 0,
            step,
            end_file: open_end(dir)?,
            end: None,
        };
        reservation.ended_at(0)?;
        Ok(reservation)
    }

    /// Reads what stands in a partition's folder.
    pub(crate) fn open(dir: &Path, step: i64) -> Result<Self, BrokerError> {
        let path = dir.join(BOUND);
        // Beginning anew would give offsets again, so only somebody who knows may decide.
        let missing = || {
            BrokerError::damaged(
                &path,
                "it is missing, and without it offsets would be given twice: bring it back from a \
                 copy, or move the topic's folders away and make the topic anew",
            )
        };
        let bytes = files::read_state(&path)?.ok_or_else(missing)?;
        let bound = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_suffix('\n')?.parse().ok())
            .filter(|bound| *bound >= 0)
            .ok_or_else(|| BrokerError::damaged(&path, "not an offset"))?;
        let end_file = open_end(dir).map_err(BrokerError::file("open", dir.join(END)))?;
        let end = read_end(&end_file).map_err(BrokerError::file("read", dir.join(END)))?;
        Ok(Self {
            path,
            bound,
            step,
            end_file,
            end,
        })
    }

    pub(crate) fn bound(&self) -> i64 {
        self.bound
    }

    /// Where the log ended when it was last written to, if that is known.
    pub(crate) fn end(&self) -> Option<i64> {
        self.end
    }

    /// Returns once all offsets below `end` are covered, whatever happens.
    pub(crate) fn cover(&mut self, end: i64) -> io::Result<()> {
        if end <= self.bound {
            return Ok(());
        }
        let bound = end.saturating_add(self.step);
        files::replace_state(&self.path, format!("{bound}\n").as_bytes())?;
        self.bound = bound;
        Ok(())
    }

    /// Takes note that the log ends at `end`; to be called before anybody hears of it.
    pub(crate) fn ended_at(&mut self, end: i64) -> io::Result<()> {
        if self.end == Some(end) {
            return Ok(());
        }
        let digits = format!("{end:020}");
        let line = format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()));
        // One write inside one page: a kill leaves the old line or the new one.
        self.end_file.write_all_at(line.as_bytes(), 0)?;
        self.end = Some(end);
        Ok(())
    }
}

fn open_end(dir: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(END))
}

fn read_end(file: &File) -> io::Result<Option<i64>> {
    let mut line = [0; END_BYTES];
    match file.read_exact_at(&mut line, 0) {
        Ok(()) => Ok(parse_end(&line)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_end(line: &[u8]) -> Option<i64> {
    let (digits, checksum) = line.split_at_checked(20)?;
    let expected = format!(" {:08x}\n", crc32c::crc32c(digits));
    let sound = checksum == expected.as_bytes();
    let digits = std::str::from_utf8(digits).ok().filter(|_| sound)?;
    digits.parse().ok().filter(|end| *end >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn bound_and_end_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut reservation = Reservation::create(dir.path(), 1_000).unwrap();
        assert_eq!((reservation.bound(), reservation.end()), (0, Some(0)));
        reservation.cover(7).unwrap();
        reservation.ended_at(7).unwrap();
        reservation.cover(1_007).unwrap();
        let opened = Reservation::open(dir.path(), 1_000).unwrap();
        assert_eq!((opened.bound(), opened.end()), (1_007, Some(7)));
        reservation.cover(1_008).unwrap();
        assert_eq!(Reservation::open(dir.path(), 1_000).unwrap().bound(), 2_008);
    }

    #[test]
    fn no_flipped_or_missing_byte_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut reservation = Reservation::create(dir.path(), 1_000).unwrap();
        reservation.cover(7).unwrap();
        reservation.ended_at(7).unwrap();
        let (bound, end) = (dir.path().join(BOUND), dir.path().join(END));
        let (sound_bound, sound_end) = (fs::read(&bound).unwrap(), fs::read(&end).unwrap());
        for bytes in broken(&sound_bound) {
            fs::write(&bound, bytes).unwrap();
            let error = Reservation::open(dir.path(), 1_000).unwrap_err();
            assert!(matches!(error, BrokerError::Damaged { .. }), "{error}");
        }
        fs::remove_file(&bound).unwrap();
        let error = Reservation::open(dir.path(), 1_000).unwrap_err();
        assert!(error.to_string().contains("it is missing"), "{error}");
        fs::write(&bound, sound_bound).unwrap();
        for bytes in broken(&sound_end) {
            fs::write(&end, bytes).unwrap();
            let opened = Reservation::open(dir.path(), 1_000).unwrap();
            assert_eq!(opened.end(), None);
        }
    }

    /// Every cut of `sound`, and every flip of one bit.
    fn broken(sound: &[u8]) -> Vec<Vec<u8>> {
        let cuts = (0..sound.len()).map(|length| sound[..length].to_vec());
        let flips = (0..sound.len() * 8).map(|bit| {
            let mut bytes = sound.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        cuts.chain(flips).collect()
    }
}
