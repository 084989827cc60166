//! The promise that no offset is given twice, kept on disk ahead of need.
//!
//! In: the offset a batch will end at. Out: nothing, once a synced file says that all offsets below
//! a higher bound may have been given. After a power cut a partition continues at that bound.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::BrokerError;
use crate::files;

const FILE: &str = "reservation";

/// The reservation of one partition.
#[derive(Debug)]
pub(crate) struct Reservation {
    path: PathBuf,
    /// Offsets below may have been given.
    bound: i64,
    step: i64,
}

impl Reservation {
    /// Reads the reservation in a partition's folder; none was made where there is no file.
    pub(crate) fn open(dir: &Path, step: i64) -> Result<Self, BrokerError> {
        let path = dir.join(FILE);
        let found =
            files::read_if_there(&path).map_err(BrokerError::file("read", path.as_path()))?;
        let bound = match found {
            None => 0,
            Some(bytes) => {
                parse(&bytes).ok_or_else(|| BrokerError::damaged(&path, "not a reservation"))?
            }
        };
        Ok(Self { path, bound, step })
    }

    pub(crate) fn bound(&self) -> i64 {
        self.bound
    }

    /// Returns once all offsets below `end` are covered.
    pub(crate) fn cover(&mut self, end: i64) -> io::Result<()> {
        if end <= self.bound {
            return Ok(());
        }
        let bound = end.saturating_add(self.step);
        let digits = bound.to_string();
        let text = format!("{digits} {:08x}\n", crc32c::crc32c(digits.as_bytes()));
        files::replace(&self.path, text.as_bytes())?;
        self.bound = bound;
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (digits, checksum) = text.strip_suffix('\n')?.split_once(' ')?;
    let checksum = u32::from_str_radix(checksum, 16).ok()?;
    if crc32c::crc32c(digits.as_bytes()) != checksum {
        return None;
    }
    digits.parse().ok().filter(|bound| *bound >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_read_back_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut reservation = Reservation::open(dir.path(), 1_000).unwrap();
        assert_eq!(reservation.bound(), 0);
        reservation.cover(7).unwrap();
        reservation.cover(1_007).unwrap();
        assert_eq!(Reservation::open(dir.path(), 1_000).unwrap().bound(), 1_007);
        reservation.cover(1_008).unwrap();
        assert_eq!(Reservation::open(dir.path(), 1_000).unwrap().bound(), 2_008);
        std::fs::write(dir.path().join(FILE), "9 00000000\n").unwrap();
        let error = Reservation::open(dir.path(), 1_000).unwrap_err();
        assert!(matches!(error, BrokerError::Damaged { .. }), "{error}");
    }
}
