//! The bytes of an input, unpacked.
//!
//! In: a file, standard input or memory; as it is, or packed with gzip or zstd, which its first
//! bytes tell. Out: chunks of at most `CHUNK` bytes. A thread of its own reads and unpacks them,
//! `AHEAD` chunks ahead of whoever takes them. Promises: constant memory (zstd's own window
//! included, 128 MiB at the most), and an end that is told apart from a file that was cut off.

use super::InputError;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Most bytes of a chunk.
const CHUNK: usize = 64 * 1024;
/// Chunks that are read before somebody wants them.
const AHEAD: usize = 4;
/// How many bytes tell what an input is packed with.
const MARK: usize = 4;

/// What an input is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Members of RFC 1952, one or several.
    Gzip,
    /// Frames of RFC 8878, one or several.
    Zstd,
}

/// How far the reading is: for whoever shows it.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    read: Arc<AtomicU64>,
    length: Option<u64>,
}

/// Chunk after chunk.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    chunks: mpsc::Receiver<Brought>,
    meter: Meter,
}

/// What the thread brings.
#[derive(Debug)]
enum Brought {
    Chunk(Bytes),
    /// Nothing comes any more.
    End,
    Failed(Fault),
}

/// Why the thread ended before the input did.
#[derive(Debug)]
enum Fault {
    /// It cannot be read.
    Read(io::Error),
    /// It can be read, but not unpacked.
    Unpack(Packing, io::Error),
    /// Its name says that it is packed, and it is not.
    Misnamed(Packing),
}

/// A reader that counts, and remembers whether it failed itself.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

// === impl Source ===

impl Source {
    /// Reads `file`, or standard input if it is `-`.
    pub(super) async fn open(file: &Path) -> Result<Self, InputError> {
        let name = file.display().to_string();
        let path = file.to_owned();
        // Opening a pipe waits for somebody who writes into it.
        let opened = tokio::task::spawn_blocking(move || opened(&path)).await;
        let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (reader, length) = opened.map_err(|source| InputError::Open {
            name: name.clone(),
            source,
        })?;
        Self::of(name, Box::new(reader), Packing::by_name(file), length)
    }

    /// Reads `reader`, called `name` in messages; `named` is what its name says that it is packed
    /// with.
    pub(super) fn of(
        name: String,
        reader: Box<dyn Read + Send>,
        named: Option<Packing>,
        length: Option<u64>,
    ) -> Result<Self, InputError> {
        let meter = Meter {
            read: Arc::default(),
            length,
        };
        let (to, chunks) = mpsc::channel(AHEAD);
        let counted = Counted {
            inner: reader,
            read: Arc::clone(&meter.read),
            failed: Arc::default(),
        };
        let thread = std::thread::Builder::new().name("input".to_owned());
        let spawned = thread.spawn(move || {
            let last = match pump(counted, named, &to) {
                Ok(()) => Brought::End,
                Err(fault) => Brought::Failed(fault),
            };
            // Nobody takes it where the taker has given up.
            let _taken = to.blocking_send(last).is_ok();
        });
        match spawned {
            Ok(_) => Ok(Self {
                name,
                chunks,
                meter,
            }),
            Err(source) => Err(InputError::Read { name, source }),
        }
    }

    /// The next chunk; `None` at the end. `after` says where in the input that is.
    pub(super) async fn next(
        &mut self,
        after: impl Fn() -> String + Send,
    ) -> Result<Option<Bytes>, InputError> {
        let name = self.name.clone();
        match self.chunks.recv().await {
            Some(Brought::Chunk(chunk)) => Ok(Some(chunk)),
            Some(Brought::End) => Ok(None),
            Some(Brought::Failed(Fault::Read(source))) => Err(InputError::Read { name, source }),
            Some(Brought::Failed(Fault::Unpack(packing, source))) => Err(InputError::Unpack {
                name,
                packing: packing.name(),
                after: after(),
                source,
            }),
            Some(Brought::Failed(Fault::Misnamed(packing))) => Err(InputError::Misnamed {
                name,
                packing: packing.name(),
            }),
            None => Err(InputError::Read {
                name,
                source: io::Error::other("the reading thread ended"),
            }),
        }
    }

    /// How far it is.
    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn opened(path: &Path) -> io::Result<(File, Option<u64>)> {
    let file = if path == Path::new("-") {
        File::from(io::stdin().as_fd().try_clone_to_owned()?)
    } else {
        File::open(path)?
    };
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory",
        ));
    }
    Ok((file, about.is_file().then_some(about.len())))
}

// === the thread ===

fn pump(
    mut raw: Counted<Box<dyn Read + Send>>,
    named: Option<Packing>,
    to: &mpsc::Sender<Brought>,
) -> Result<(), Fault> {
    let failed = Arc::clone(&raw.failed);
    let mut mark = Vec::with_capacity(MARK);
    let seen = raw.by_ref().take(MARK as u64).read_to_end(&mut mark);
    seen.map_err(Fault::Read)?;
    let packing = Packing::by_mark(&mark);
    if let Some(named) = named
        && packing != Some(named)
    {
        return Err(Fault::Misnamed(named));
    }
    let fault = |error| match packing {
        Some(packing) if !failed.load(Ordering::Relaxed) => Fault::Unpack(packing, error),
        _ => Fault::Read(error),
    };
    let whole = Cursor::new(mark).chain(raw);
    let mut plain: Box<dyn Read> = match packing {
        None => Box::new(whole),
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(whole)),
        Some(Packing::Zstd) => {
            Box::new(zstd::stream::read::Decoder::new(whole).map_err(Fault::Read)?)
        }
    };
    let mut buffer = vec![0; CHUNK];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let chunk = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
                if to.blocking_send(Brought::Chunk(chunk)).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(fault(error)),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        match &result {
            Ok(length) => {
                self.read.fetch_add(*length as u64, Ordering::Relaxed);
            }
            Err(error) => {
                let ours = error.kind() != io::ErrorKind::Interrupted;
                self.failed.fetch_or(ours, Ordering::Relaxed);
            }
        }
        result
    }
}

// === impl Packing, Meter ===

impl Packing {
    /// What the suffix of `file` says.
    #[must_use]
    pub fn by_name(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// What the first bytes say; no text begins with any of these.
    fn by_mark(mark: &[u8]) -> Option<Self> {
        match mark {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            // A frame to be passed over, as in front of our own segments.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl Meter {
    /// Bytes read so far, as they lie in the file, packed or not.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The file's length in bytes; `None` for what has none, such as a pipe.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    async fn all(bytes: Vec<u8>, named: Option<Packing>) -> Result<Vec<u8>, String> {
        let reader = Box::new(Cursor::new(bytes));
        let mut source = Source::of("x".to_owned(), reader, named, None).unwrap();
        let mut plain = Vec::new();
        loop {
            match source.next(|| ", behind line 3".to_owned()).await {
                Ok(Some(chunk)) => plain.extend_from_slice(&chunk),
                Ok(None) => return Ok(plain),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn packed(packing: Packing, text: &[u8]) -> Vec<u8> {
        match packing {
            Packing::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
                // As the program zstd does: without it, damage may unpack to something else.
                encoder.include_checksum(true).unwrap();
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    /// Text that does not shrink to nothing.
    fn text() -> Vec<u8> {
        let line = |number: u64| format!("{}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..40_000).map(line).collect::<String>().into_bytes()
    }

    #[tokio::test]
    async fn what_was_packed_comes_out_in_several_parts_as_well() {
        let text = text();
        assert_eq!(all(text.clone(), None).await.unwrap(), text);
        assert_eq!(all(Vec::new(), None).await.unwrap(), b"");
        for packing in [Packing::Gzip, Packing::Zstd] {
            let mut two = packed(packing, &text);
            two.extend(packed(packing, b"more"));
            let whole = [&text[..], b"more"].concat();
            assert_eq!(all(two.clone(), None).await.unwrap(), whole);
            assert_eq!(all(two, Some(packing)).await.unwrap(), whole);
        }
    }

    #[tokio::test]
    async fn what_is_cut_off_or_damaged_is_an_error_and_never_an_early_end() {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let whole = packed(packing, &text());
            for length in [5, whole.len() / 2, whole.len() - 1] {
                let error = all(whole[..length].to_vec(), None).await.unwrap_err();
                let expected = format!(
                    "x is cut off or damaged: it cannot be unpacked as {}, behind line 3",
                    packing.name()
                );
                assert_eq!(error, expected, "{length} bytes");
            }
            let mut damaged = whole.clone();
            let middle = damaged.len() / 2;
            damaged[middle..middle + 64].fill(0xa5);
            assert!(all(damaged, None).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_name_that_lies_is_told() {
        let error = all(b"{}\n".to_vec(), Some(Packing::Gzip)).await;
        assert!(error.unwrap_err().contains("is no gzip"));
        let error = all(packed(Packing::Gzip, b"{}"), Some(Packing::Zstd)).await;
        assert!(error.unwrap_err().contains("is no zstd"));
        let by_name = |name| Packing::by_name(Path::new(name));
        assert_eq!(by_name("a.csv.GZ"), Some(Packing::Gzip));
        assert_eq!(by_name("a.ndjson.zst"), Some(Packing::Zstd));
        assert_eq!(by_name("a.ndjson"), None);
    }
}
