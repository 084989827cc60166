//! The records inside a batch: when they are from, and nothing else of them.
//!
//! In: a batch, compressed or not. Out: offset and timestamp of the first record that is wanted.
//! Records are decompressed as they are walked and thrown away, so that what a batch claims to
//! unfold to takes time (up to a limit) and never memory.
//! Layout: <https://kafka.apache.org/documentation/#record>; codecs:
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-390%3A+Support+Compression+Level>.

use std::io::{self, BufReader, Read};

use super::batch::{BatchHeader, Codec, HEADER_BYTES};

/// Decompressed bytes of one snappy block, which is decoded at once.
const MAX_BLOCK_BYTES: usize = 32 << 20;
/// Largest window a zstd frame may ask for, as a power of two.
const ZSTD_WINDOW_LOG: u32 = 23;
/// In front of blocks of snappy as Java writes them
/// (<https://github.com/xerial/snappy-java#compatibility-notes>).
const XERIAL: &[u8] = b"\x82SNAPPY\x00";
const XERIAL_HEADER_BYTES: usize = 16;

/// The first record that is `wanted` by its offset and timestamp, among the first `left`
/// decompressed bytes, from which those that were read are taken.
pub(super) fn find(
    header: &BatchHeader,
    batch: &[u8],
    left: &mut u64,
    wanted: impl Fn(i64, i64) -> bool,
) -> io::Result<Option<(i64, i64)>> {
    let body = batch
        .get(HEADER_BYTES..header.size)
        .ok_or_else(|| unsound("batch is cut short"))?;
    let plain: Box<dyn Read + '_> = match header.codec() {
        Codec::None => Box::new(Counted { from: body, left }),
        Codec::Gzip => Box::new(Counted {
            from: flate2::read::MultiGzDecoder::new(body),
            left,
        }),
        Codec::Snappy => Box::new(Snappy::new(body, left)),
        Codec::Lz4 => Box::new(Counted {
            from: lz4_flex::frame::FrameDecoder::new(body),
            left,
        }),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(Counted {
                from: decoder,
                left,
            })
        }
    };
    let mut plain = BufReader::new(plain);
    for _ in 0..header.record_count {
        let length = u64::try_from(varint(&mut plain)?).map_err(io::Error::other)?;
        let mut record = (&mut plain).take(length);
        let mut attributes = [0];
        record.read_exact(&mut attributes)?;
        let time = header.base_timestamp.saturating_add(varint(&mut record)?);
        let offset = header.base_offset.saturating_add(varint(&mut record)?);
        if wanted(offset, time) {
            return Ok(Some((offset, time)));
        }
        let left = record.limit();
        if io::copy(&mut record, &mut io::sink())? < left {
            return Err(unsound("records end early"));
        }
    }
    Ok(None)
}

/// A zigzag number of up to 64 bits.
fn varint(from: &mut impl Read) -> io::Result<i64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(unsound("number is too long"))
}

fn unsound(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Ends where nothing is left to be read.
struct Counted<'a, R> {
    from: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.from).take(*self.left).read(buffer)?;
        *self.left -= read as u64;
        Ok(read)
    }
}

/// Snappy, in Java's blocks or as one. A block counts as soon as it is decoded, however much of it
/// is read.
struct Snappy<'a> {
    rest: &'a [u8],
    left: &'a mut u64,
    in_blocks: bool,
    block: io::Cursor<Vec<u8>>,
}

impl<'a> Snappy<'a> {
    fn new(body: &'a [u8], left: &'a mut u64) -> Self {
        let blocks = body.get(XERIAL_HEADER_BYTES..);
        let blocks = blocks.filter(|_| body.starts_with(XERIAL));
        Self {
            rest: blocks.unwrap_or(body),
            left,
            in_blocks: blocks.is_some(),
            block: io::Cursor::default(),
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let compressed = if self.in_blocks {
            let (length, rest) = self
                .rest
                .split_first_chunk()
                .ok_or_else(|| unsound("snappy block has no length"))?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, rest) = rest
                .split_at_checked(length)
                .ok_or_else(|| unsound("snappy block is cut short"))?;
            self.rest = rest;
            block
        } else {
            std::mem::take(&mut self.rest)
        };
        let size = snap::raw::decompress_len(compressed).map_err(io::Error::other)?;
        if size > MAX_BLOCK_BYTES {
            return Err(unsound("snappy block is too large"));
        }
        *self.left = self
            .left
            .checked_sub(size as u64)
            .ok_or_else(|| unsound("snappy block is larger than what may still be read"))?;
        let plain = snap::raw::Decoder::new().decompress_vec(compressed);
        self.block = io::Cursor::new(plain.map_err(io::Error::other)?);
        Ok(())
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.rest.is_empty() {
                return Ok(read);
            }
            self.next_block()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::budget::DECODED;
    use crate::log::batch::tests::batch;

    fn look(
        header: &BatchHeader,
        bytes: &[u8],
        wanted: impl Fn(i64, i64) -> bool,
    ) -> io::Result<Option<(i64, i64)>> {
        find(header, bytes, &mut DECODED.clone(), wanted)
    }

    /// Records without key, headers and value but for `padding` zeroes, from these times on.
    fn records(base: i64, times: &[i64], padding: usize) -> Vec<u8> {
        let zigzag = |value: i64, out: &mut Vec<u8>| {
            let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
            while left >= 0x80 {
                out.push((left & 0x7f) as u8 | 0x80);
                left >>= 7;
            }
            out.push(left as u8);
        };
        let mut out = Vec::new();
        for (delta, time) in (0..).zip(times) {
            let mut record = vec![0];
            zigzag(time - base, &mut record);
            zigzag(delta, &mut record);
            zigzag(-1, &mut record);
            zigzag(i64::try_from(padding).unwrap(), &mut record);
            record.extend(vec![0; padding]);
            zigzag(0, &mut record);
            zigzag(i64::try_from(record.len()).unwrap(), &mut out);
            out.extend(record);
        }
        out
    }

    fn compressed(codec: u8, body: &[u8]) -> Vec<u8> {
        match codec {
            1 => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            2 => snap::raw::Encoder::new().compress_vec(body).unwrap(),
            3 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            4 => zstd::encode_all(body, 3).unwrap(),
            _ => body.to_vec(),
        }
    }

    fn of(codec: u8, base: i64, body: &[u8], count: usize) -> (BatchHeader, Vec<u8>) {
        let count = i32::try_from(count).unwrap();
        let mut bytes = batch((-1, -1, -1), count, base, &compressed(codec, body));
        bytes[22] = codec;
        (BatchHeader::parse(&bytes).unwrap(), bytes)
    }

    const TIMES: [i64; 4] = [1_000, 1_005, 900, 1_010];

    #[test]
    fn the_first_record_at_a_time_is_found_in_every_codec() {
        for codec in 0..=4 {
            let body = records(TIMES[0], &TIMES, 40);
            let (header, bytes) = of(codec, TIMES[0], &body, TIMES.len());
            for (time, expected) in [
                (0, Some((0, 1_000))),
                (1_001, Some((1, 1_005))),
                (1_006, Some((3, 1_010))),
                (1_011, None),
            ] {
                let found = look(&header, &bytes, |_, at| at >= time).unwrap();
                assert_eq!(found, expected, "codec {codec}, time {time}");
            }
            let later = look(&header, &bytes, |offset, _| offset >= 2).unwrap();
            assert_eq!(later, Some((2, 900)));
        }
    }

    #[test]
    fn blocks_of_snappy_as_java_writes_them_are_read() {
        let body = records(TIMES[0], &TIMES, 40);
        let mut framed = XERIAL.to_vec();
        framed.extend([0, 0, 0, 0, 1, 0, 0, 0, 1]);
        framed.truncate(XERIAL_HEADER_BYTES);
        for part in body.chunks(30) {
            let block = compressed(2, part);
            framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            framed.extend(block);
        }
        let mut bytes = batch((-1, -1, -1), 4, TIMES[0], &framed);
        bytes[22] = 2;
        let header = BatchHeader::parse(&bytes).unwrap();
        let found = look(&header, &bytes, |_, at| at >= 1_006).unwrap();
        assert_eq!(found, Some((3, 1_010)));
    }

    #[test]
    fn what_unfolds_to_too_much_or_to_nothing_is_an_error() {
        let large = usize::try_from(DECODED).unwrap();
        for codec in 1..=4 {
            let body = records(0, &[0, 5], large);
            let (header, bytes) = of(codec, 0, &body, 2);
            assert!(
                look(&header, &bytes, |_, at| at >= 5).is_err(),
                "codec {codec}"
            );
            let (header, mut bytes) = of(codec, 0, &records(0, &[0, 5], 9), 2);
            for byte in bytes.iter_mut().skip(HEADER_BYTES) {
                *byte ^= 0x55;
            }
            assert!(
                look(&header, &bytes, |_, at| at >= 5).is_err(),
                "codec {codec}"
            );
        }
    }
}
