//! Step 1 of the walk, over HTTP: many records in one request.
//!
//! In: the elements of a list, or an upload of lines. Out: admitted submissions of at most
//! [`CHUNK_RECORDS`] records, in the order of the request, and where each record stands there.
//! Promises: of an upload no more is held than one submission, one line and one piece; what is
//! ready together goes together, nothing waits for more; a bad line is a refused record and the
//! next one is read.

use super::body::{Upload, too_slow};
use super::json;
use super::lines::{Line, Lines};
use super::parameters::Parameters;
use crate::admit::{Submission, draining};
use crate::pipeline::Pipeline;
use crate::validate::too_large;
use bytes::Bytes;
use cloudsync::reason::Refusal;
use futures::FutureExt;
use futures::stream::{Stream, unfold};
use tokio::time::{Instant, timeout_at};

/// Most records of a submission, and the bytes at which it is closed.
const CHUNK_RECORDS: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

/// The records of one request, on their way.
pub(super) struct Feed {
    parameters: Parameters,
    source: Source,
    /// Records taken so far.
    taken: u64,
    /// Set when there are no more: the reason, if it came too early.
    end: Option<Option<Refusal>>,
}

enum Source {
    List(std::vec::IntoIter<Bytes>),
    Lines {
        upload: Box<Upload>,
        lines: Lines,
        limit: usize,
    },
}

/// Where the records of a submission stand in their request.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The first one among all records, from 0.
    pub(super) first: u64,
    /// The numbers of their lines, from 1; of a list none.
    pub(super) lines: Vec<u64>,
}

/// Records that are submitted together.
#[derive(Default)]
struct Chunk {
    places: Places,
    records: Vec<Bytes>,
    malformed: Vec<(u32, Refusal)>,
    bytes: usize,
}

/// The records of `feed`, admitted one submission after the other; or at last, why it broke off,
/// also because the gateway drains.
pub(super) fn submissions(
    feed: Feed,
    pipeline: &Pipeline,
) -> impl Stream<Item = Result<(Places, Submission), Refusal>> {
    unfold(feed, move |mut feed| async move {
        let chunk = tokio::select! {
            biased;
            () = pipeline.shutdown.draining() => {
                feed.end = Some(Some(draining()));
                Chunk::default()
            }
            chunk = feed.next_chunk() => chunk,
        };
        if chunk.records.is_empty() {
            let refusal = feed.end.replace(None)??;
            feed.discard(&refusal).await;
            return Some((Err(refusal), feed));
        }
        let Chunk {
            places,
            records,
            malformed,
            ..
        } = chunk;
        let admitted = pipeline.admission.records_in_turn(records, malformed).await;
        Some((admitted.map(|submission| (places, submission)), feed))
    })
}

// === impl Feed ===

impl Feed {
    /// The elements of a list.
    pub(super) fn list(parameters: Parameters, elements: Vec<Bytes>) -> Self {
        Self::of(parameters, Source::List(elements.into_iter()))
    }

    /// An upload of lines of at most `limit` bytes each.
    pub(super) fn lines(parameters: Parameters, upload: Upload, limit: usize) -> Self {
        let lines = Source::Lines {
            upload: Box::new(upload),
            lines: Lines::new(limit),
            limit,
        };
        Self::of(parameters, lines)
    }

    /// What an upload of lines of at most `limit` bytes each may hold that is not admitted yet: a
    /// submission, which its last line may pass, a line, and a piece.
    pub(super) fn line_bytes(limit: usize) -> usize {
        CHUNK_BYTES + 2 * limit + (64 << 10)
    }

    fn of(parameters: Parameters, source: Source) -> Self {
        Self {
            parameters,
            source,
            taken: 0,
            end: None,
        }
    }

    /// Waits for a record and takes what is ready behind it. Without records: there are no more.
    async fn next_chunk(&mut self) -> Chunk {
        let mut chunk = Chunk::default();
        chunk.places.first = self.taken;
        match &mut self.source {
            Source::List(elements) => {
                while let Some(element) = chunk.next_if_room(|| elements.next()) {
                    chunk.add(self.parameters.record(element, Some(self.taken)));
                    self.taken += 1;
                }
                if chunk.records.is_empty() {
                    self.end.get_or_insert(None);
                }
            }
            Source::Lines { upload, .. } => {
                let deadline = Instant::now() + upload.time();
                while self.take_lines(&mut chunk) && self.end.is_none() {
                    if self.read(&chunk, deadline).await.is_none() {
                        break;
                    }
                }
            }
        }
        chunk
    }

    /// Takes the whole lines that have come. Whether there is room for more.
    fn take_lines(&mut self, chunk: &mut Chunk) -> bool {
        let Source::Lines { lines, limit, .. } = &mut self.source else {
            return false;
        };
        let ended = matches!(self.end, Some(None));
        while let Some(Line { number, text }) = chunk.next_if_room(|| {
            let last = |lines: &mut Lines| if ended { lines.finish() } else { None };
            lines.next().or_else(|| last(lines))
        }) {
            let place = Some(self.taken);
            let value = match text {
                Ok(text) => json::line(&text, number),
                Err(bytes) => Err(line_too_large(number, bytes, *limit)),
            };
            let record = value.and_then(|value| {
                let record = self.parameters.record(value, place);
                record.map_err(|refusal| in_line(number, refusal))
            });
            chunk.add(record);
            chunk.places.lines.push(number);
            self.taken += 1;
        }
        !chunk.is_full()
    }

    /// Reads on: until `deadline` as long as `chunk` is empty, else what is there. `None`: nothing
    /// is.
    async fn read(&mut self, chunk: &Chunk, deadline: Instant) -> Option<()> {
        let Source::Lines { upload, lines, .. } = &mut self.source else {
            return None;
        };
        let piece = if chunk.records.is_empty() {
            let read = timeout_at(deadline, upload.next()).await;
            let line = lines.count() + 1;
            read.unwrap_or_else(|_| Err(too_slow(&format!("line {line}"), upload.time())))
        } else {
            upload.next().now_or_never()?
        };
        match piece {
            Ok(Some(piece)) => lines.push(&piece),
            Ok(None) => self.end = Some(None),
            Err(refusal) => self.end = Some(Some(refusal)),
        }
        Some(())
    }

    async fn discard(&mut self, refusal: &Refusal) {
        if let Source::Lines { upload, .. } = &mut self.source {
            upload.discard(refusal).await;
        }
    }
}

/// A refusal that says in which line.
fn in_line(number: u64, refusal: Refusal) -> Refusal {
    let message = format!("line {number}: {}", refusal.message);
    Refusal { message, ..refusal }
}

fn line_too_large(number: u64, bytes: u64, limit: usize) -> Refusal {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    in_line(number, too_large(bytes, limit))
}

// === impl Chunk ===

impl Chunk {
    fn is_full(&self) -> bool {
        self.records.len() >= CHUNK_RECORDS || self.bytes >= CHUNK_BYTES
    }

    fn next_if_room<T>(&self, next: impl FnOnce() -> Option<T>) -> Option<T> {
        if self.is_full() { None } else { next() }
    }

    fn add(&mut self, record: Result<Bytes, Refusal>) {
        let record = record.unwrap_or_else(|refusal| {
            // At most `CHUNK_RECORDS` places.
            let place = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
            self.malformed.push((place, refusal));
            Bytes::new()
        });
        self.bytes += record.len();
        self.records.push(record);
    }
}
