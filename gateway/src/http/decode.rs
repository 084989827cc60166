//! Step 1 of the walk, over HTTP: a packed body, unpacked.
//!
//! In: the bytes of a body, piece by piece. Out: what they unpack to, some [`STEP`] bytes at a
//! time (zstd never more, gzip up to four times as much). Promises: memory stays as it is,
//! whatever the body unpacks to; a window larger than 8 MiB (RFC 9659) is refused; a body that
//! ends in the middle is no body.

use super::media::Encoding;
use bytes::{Buf, Bytes};
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use flate2::write::MultiGzDecoder;
use std::io::{self, Write};
use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer};

/// How much is unpacked at once.
const STEP: usize = 32 * 1024;
/// The largest window of zstd, as a power of two.
const WINDOW_LOG: u32 = 23;
/// What a decoder of zstd may hold: its window, and what stands around it.
pub(super) const ZSTD_BYTES: usize = (1 << WINDOW_LOG) + (256 << 10);

/// Unpacks one body.
pub(super) enum Decoder {
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd(Zstd),
}

/// A body of zstd frames.
pub(super) struct Zstd {
    frames: raw::Decoder<'static>,
    /// A frame has ended, and nothing has come since.
    complete: bool,
    /// The last step was full: there may be more of what came.
    more: bool,
}

// === impl Decoder ===

impl Decoder {
    pub(super) fn of(encoding: Encoding) -> Result<Self, Refusal> {
        match encoding {
            Encoding::Plain => Ok(Self::Plain),
            // It writes out its buffer of 32 KiB whenever that is full, until it takes more input:
            // its window of 32 KiB is what it can have left.
            Encoding::Gzip => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))),
            Encoding::Zstd => Zstd::new().map(Self::Zstd).map_err(|error| {
                let text = format!("the gateway cannot unpack zstd: {error}");
                Refusal::permanent(ErrorReason::Internal, text)
            }),
        }
    }

    /// The next bytes that `packed` unpacks to, which is used up; `None`: more has to come.
    pub(super) fn step(&mut self, packed: &mut Bytes) -> Result<Option<Bytes>, Refusal> {
        match self {
            Self::Plain if packed.is_empty() => Ok(None),
            Self::Plain => Ok(Some(std::mem::take(packed))),
            Self::Gzip(gzip) => step_gzip(gzip, packed).map_err(|error| not("gzip", &error)),
            Self::Zstd(zstd) => zstd.step(packed).map_err(|error| not("zstd", &error)),
        }
    }

    /// What is left when nothing more comes.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, Refusal> {
        match self {
            Self::Plain => Ok(None),
            Self::Gzip(gzip) => {
                gzip.try_finish().map_err(|error| not("gzip", &error))?;
                Ok(taken(gzip))
            }
            Self::Zstd(zstd) if zstd.complete => Ok(None),
            Self::Zstd(_) => Err(not("zstd", &io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn step_gzip(gzip: &mut MultiGzDecoder<Vec<u8>>, packed: &mut Bytes) -> io::Result<Option<Bytes>> {
    while !packed.is_empty() {
        let used = gzip.write(packed)?;
        packed.advance(used);
        let out = taken(gzip);
        if out.is_some() {
            return Ok(out);
        }
        if used == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(None)
}

fn taken(gzip: &mut MultiGzDecoder<Vec<u8>>) -> Option<Bytes> {
    let out = std::mem::take(gzip.get_mut());
    (!out.is_empty()).then(|| out.into())
}

fn not(encoding: &str, error: &io::Error) -> Refusal {
    Refusal::of_field(
        ErrorReason::InvalidJson,
        "Content-Encoding",
        format!(
            "the body is not whole {encoding}: {error}; pack it again (zstd: with a window of at \
             most 8 MiB), or send it as it is"
        ),
    )
}

// === impl Zstd ===

impl Zstd {
    fn new() -> io::Result<Self> {
        let mut frames = raw::Decoder::new()?;
        frames.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self {
            frames,
            complete: false,
            more: false,
        })
    }

    fn step(&mut self, packed: &mut Bytes) -> io::Result<Option<Bytes>> {
        while self.more || !packed.is_empty() {
            let mut out = Vec::with_capacity(STEP);
            let mut input = InBuffer::around(packed);
            let mut output = OutBuffer::around(&mut out);
            let expected = self.frames.run(&mut input, &mut output)?;
            let used = input.pos();
            packed.advance(used);
            self.complete = expected == 0;
            self.more = expected > 0 && out.len() == out.capacity();
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(encoding: Encoding, packed: &[u8], piece: usize) -> Result<Vec<u8>, Refusal> {
        let mut decoder = Decoder::of(encoding)?;
        let mut plain = Vec::new();
        for piece in packed.chunks(piece) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(bytes) = decoder.step(&mut piece)? {
                assert!(bytes.len() <= 4 * STEP);
                plain.extend_from_slice(&bytes);
            }
            assert!(piece.is_empty());
        }
        plain.extend_from_slice(&decoder.finish()?.unwrap_or_default());
        Ok(plain)
    }

    #[test]
    fn a_body_that_ends_in_the_middle_or_is_none_is_refused() {
        let plain = b"{\"a\":1}\n".repeat(1_000);
        let packings = [
            (Encoding::Gzip, gzip(&plain)),
            (Encoding::Zstd, zstd::encode_all(&plain[..], 3).unwrap()),
        ];
        for (encoding, packed) in packings {
            assert_eq!(unpacked(encoding, &packed, 7).unwrap(), plain);
            // Packed in two parts, as `cat a.gz b.gz` makes it.
            let twice = unpacked(encoding, &packed.repeat(2), 11).unwrap();
            assert_eq!(twice, plain.repeat(2));
            for end in [0, 1, packed.len() / 2, packed.len() - 1] {
                let refusal = unpacked(encoding, &packed[..end], 64).unwrap_err();
                assert_eq!(refusal.reason, ErrorReason::InvalidJson, "{end}");
            }
            let mut behind = packed.clone();
            behind.extend_from_slice(b"no frame");
            assert!(unpacked(encoding, &behind, 1_000).is_err());
            assert!(unpacked(encoding, &plain, 1_000).is_err());
        }
    }

    #[test]
    fn a_window_that_takes_too_much_memory_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&[7; 20 << 20]).unwrap();
        let packed = encoder.finish().unwrap();
        let refusal = unpacked(Encoding::Zstd, &packed, 1_000).unwrap_err();
        assert!(refusal.message.contains("at most 8 MiB"), "{refusal}");
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks_and_nothing_panics(
            plain in proptest::collection::vec(any::<u8>(), 0..200),
            repeat in 1..2_000usize,
            piece in 1..5_000usize,
            flipped in any::<prop::sample::Index>(),
        ) {
            let plain = plain.repeat(repeat);
            let zstd = zstd::encode_all(&plain[..], 1).unwrap();
            for (encoding, mut packed) in [(Encoding::Gzip, gzip(&plain)), (Encoding::Zstd, zstd)] {
                prop_assert!(unpacked(encoding, &packed, piece).unwrap() == plain);
                let at = flipped.index(packed.len());
                packed[at] ^= 0x55;
                unpacked(encoding, &packed, piece).ok();
            }
        }
    }
}
