//! Reading a segment from its front to its end, in large blocks, checking every batch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::batch::{BatchHeader, HEADER_BYTES};
use super::recovery::Tail;

/// Bytes read at a time; batches are mostly much smaller.
const BLOCK: u64 = 1 << 20;

/// A file, and the block of it that was read last.
pub(super) struct Blocks<'a> {
    file: &'a File,
    length: u64,
    block: Vec<u8>,
    /// Where the block begins.
    start: u64,
}

// === impl Blocks ===

impl<'a> Blocks<'a> {
    /// The first `length` bytes of `file`.
    pub(super) fn of(file: &'a File, length: u64) -> Self {
        Self {
            file,
            length,
            block: Vec::new(),
            start: 0,
        }
    }

    /// The batch at `position`, whose first offset must be `expected`.
    pub(super) fn next_batch(
        &mut self,
        position: u64,
        expected: i64,
    ) -> io::Result<Result<BatchHeader, Tail>> {
        let left = self.length - position;
        if left == 0 {
            return Ok(Err(Tail::Whole));
        }
        if left < HEADER_BYTES as u64 {
            return Ok(Err(Tail::Torn));
        }
        let Some(header) = BatchHeader::parse(self.bytes(position, HEADER_BYTES)?) else {
            return Ok(Err(Tail::Damaged("no batch begins there")));
        };
        let placed_here = header.base_offset == expected && header.leader_epoch == 0;
        if !placed_here || header.last_offset_delta < 0 {
            return Ok(Err(Tail::Damaged("the batch there has another offset")));
        }
        if header.size as u64 > left {
            return Ok(Err(Tail::Torn));
        }
        Ok(
            if header.checksum_holds(self.bytes(position, header.size)?) {
                Ok(header)
            } else {
                Err(Tail::Damaged("the batch there fails its checksum"))
            },
        )
    }

    /// `size` bytes at `position`, which lie inside the file.
    fn bytes(&mut self, position: u64, size: usize) -> io::Result<&[u8]> {
        let inside = position.checked_sub(self.start).and_then(|from| {
            let from = usize::try_from(from).ok()?;
            (from.checked_add(size)? <= self.block.len()).then_some(from)
        });
        let from = match inside {
            Some(from) => from,
            None => {
                let block = BLOCK.max(size as u64).min(self.length - position);
                let block = usize::try_from(block).map_err(io::Error::other)?;
                self.block.resize(block, 0);
                self.start = position;
                self.file.read_exact_at(&mut self.block, position)?;
                0
            }
        };
        Ok(&self.block[from..from + size])
    }
}
