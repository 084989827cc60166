//! The lines of an open segment, packed as they come, so that it takes a fraction of their room.
//!
//! In: lines, appended to a small buffer. Out: one zstd frame of all of them. Promises: equal lines
//! make equal bytes; a fault of the encoder is told with the frame, where it can be handled.

use std::fmt;
use std::io::{self, Write};
use zstd::stream::write::Encoder;

/// Fast, and already most of what zstd can make of such lines.
const LEVEL: i32 = 1;
/// How far back zstd looks, as a power of two: 256 KiB. More makes such lines hardly smaller, and
/// takes more memory in each partition.
const WINDOW: u32 = 18;
/// The buffer is packed at so many bytes: about 0.1 ms of work, little enough for a thread that
/// serves others.
const PIECE: usize = 64 * 1024;

/// Lines, most of them packed.
#[derive(Default)]
pub struct Lines {
    piece: Vec<u8>,
    /// Made with the first full piece: an idle partition has none.
    encoder: Option<Encoder<'static, Vec<u8>>>,
    failed: Option<io::Error>,
}

// === impl Lines ===

impl Lines {
    /// Lets `write` append a line; out: its length in bytes.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.piece.len();
        write(&mut self.piece);
        let length = self.piece.len() - before;
        if self.piece.len() >= PIECE
            && self.failed.is_none()
            && let Err(error) = self.pack()
        {
            self.failed = Some(error);
        }
        length
    }

    /// The zstd frame of all lines.
    ///
    /// # Errors
    /// What zstd says; it has no reason to but a lack of memory.
    pub fn frame(mut self) -> io::Result<Vec<u8>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.pack()?;
        self.encoder.map_or_else(|| Ok(Vec::new()), Encoder::finish)
    }

    /// The lines as they came.
    ///
    /// # Errors
    /// As for [`frame`](Self::frame).
    pub fn text(self) -> io::Result<Vec<u8>> {
        zstd::stream::decode_all(&self.frame()?[..])
    }

    fn pack(&mut self) -> io::Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(encoder()?),
        };
        encoder.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("unpacked", &self.piece.len())
            .finish_non_exhaustive()
    }
}

fn encoder() -> io::Result<Encoder<'static, Vec<u8>>> {
    let mut encoder = Encoder::new(Vec::new(), LEVEL)?;
    // An altered byte is an error on reading, not another record.
    encoder.include_checksum(true)?;
    encoder.window_log(WINDOW)?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_come_back_as_they_went_in(
            lines in proptest::collection::vec("[a-c]{0,40}", 0..40), times in 1usize..400
        ) {
            let mut packed = Lines::default();
            let mut text = Vec::new();
            for line in lines.iter().cycle().take(lines.len() * times) {
                let length = packed.append(|piece| piece.extend_from_slice(line.as_bytes()));
                prop_assert_eq!(length, line.len());
                text.extend_from_slice(line.as_bytes());
            }
            prop_assert_eq!(packed.text().unwrap(), text);
        }
    }
}
