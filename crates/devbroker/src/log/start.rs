//! Where a partition's log begins, once records were dropped from its front.
//!
//! In: an offset. Out: a small synced file. It is written before the first segment file goes, so
//! that a kill between leaves segments nobody reads, and never a hole nobody knows of.

use std::io;
use std::path::Path;

use crate::error::BrokerError;
use crate::files;

const FILE: &str = "start";

/// The offset that was written last; 0 where nothing was ever dropped.
pub(super) fn read(dir: &Path) -> Result<i64, BrokerError> {
    let path = dir.join(FILE);
    let Some(bytes) = files::read_state(&path)? else {
        return Ok(0);
    };
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.strip_suffix('\n')?.parse().ok())
        .filter(|start| *start >= 0)
        .ok_or_else(|| BrokerError::damaged(&path, "not an offset"))
}

/// Returns once it is certain that the log begins at `start`, whatever happens.
pub(super) fn write(dir: &Path, start: i64) -> io::Result<()> {
    files::replace_state(&dir.join(FILE), format!("{start}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_flipped_or_missing_byte_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), 0, "nothing was ever dropped");
        write(dir.path(), 1_234).unwrap();
        assert_eq!(read(dir.path()).unwrap(), 1_234);
        let path = dir.path().join(FILE);
        let sound = fs::read(&path).unwrap();
        let cuts = (0..sound.len()).map(|length| sound[..length].to_vec());
        let flips = (0..sound.len() * 8).map(|bit| {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in cuts.chain(flips) {
            fs::write(&path, bytes).unwrap();
            let error = read(dir.path()).unwrap_err();
            assert!(matches!(error, BrokerError::Damaged { .. }), "{error}");
        }
    }
}
