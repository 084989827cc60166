//! HTTP POSTs of one record each, or of many as lines, over a connection that stays open.
//!
//! In: a maker's records, when their bodies are due. Out: [`Sent`]. Many records are NDJSON with
//! one `Idempotency-Key`, so that their ids are `KEY/0` and so on, and their keys are pointed at.
//! HTTP/1.1 is written and read by hand, since any client library would cost more than the server
//! that is measured. A sender ends with its first failure.

use super::Shared;
use super::stream::SILENT;
use super::turn::Turn;
use crate::bench::messages::Sent;
use crate::bench::records::{KEY_POINTER, Made, Maker};
use anyhow::{Context, anyhow, ensure};
use cloudsync::DEFAULT_TENANT;
use cloudsync::identity::Id16;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Most bytes of an answer.
const LONGEST_ANSWER: usize = 64 * 1024;
const ACCEPTED: &[u8] = b"202";

/// A connection, with what has been read and not yet taken.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    read: Vec<u8>,
}

/// Sends `maker`'s records, `lines` in each body, one body after the other.
///
/// # Errors
/// When no connection can be opened. A failed POST is counted as refused, and is the last one.
pub(super) async fn send(
    gateway: SocketAddr,
    mut maker: Maker,
    turn: Turn,
    lines: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<Sent> {
    let mut connection = Connection::open(gateway).await?;
    let mut sent = Sent::default();
    let mut number = 0;
    while let Some(due) = turn.wait(number).await {
        number += 1;
        let ids = if lines == 1 {
            connection.write_one(&maker.next())?
        } else {
            connection.write_many(&mut maker, lines)?
        };
        let posted = timeout(SILENT, connection.post()).await;
        match posted.unwrap_or_else(|_| Err(anyhow!("no answer in {SILENT:?}"))) {
            Ok(()) => {
                ids.into_iter().for_each(|id| sent.acked(id, false));
                let now = Instant::now();
                let due = std::iter::repeat_n(due, lines);
                shared.measured.lock().acked(now, due);
            }
            Err(error) => {
                sent.refused(lines as u64, || format!("{error:#}"));
                break;
            }
        }
    }
    sent.unsent = turn.unsent(number) * lines as u64;
    Ok(sent)
}

// === impl Connection ===

impl Connection {
    async fn open(gateway: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway).await;
        let stream = stream.with_context(|| format!("cannot connect to {gateway}"))?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        Ok(Self {
            stream,
            request: Vec::new(),
            read: Vec::new(),
        })
    }

    /// Makes a request of one value; returns its id.
    fn write_one(&mut self, made: &Made) -> anyhow::Result<Vec<Id16>> {
        let payload = made.payload();
        self.request.clear();
        write!(
            self.request,
            "POST /api/datasync?key={} HTTP/1.1\r\nhost: gateway\r\ncontent-type: \
             application/json\r\nidempotency-key: {}\r\ncontent-length: {}\r\n\r\n",
            made.key(),
            made.request_id(),
            payload.len()
        )?;
        self.request.extend_from_slice(&payload);
        Ok(vec![made.identity()])
    }

    /// Makes a request of the next `lines` values of `maker`; returns their ids.
    fn write_many(&mut self, maker: &mut Maker, lines: usize) -> anyhow::Result<Vec<Id16>> {
        let made: Vec<_> = (0..lines).map(|_| maker.next()).collect();
        let key = made.first().map_or("", Made::request_id);
        let bytes: usize = made.iter().map(|made| made.payload().len() + 1).sum();
        self.request.clear();
        write!(
            self.request,
            "POST /api/datasync?key-pointer={KEY_POINTER} HTTP/1.1\r\nhost: gateway\r\ncontent-type: \
             application/x-ndjson\r\nidempotency-key: {key}\r\ncontent-length: {bytes}\r\n\r\n",
        )?;
        for made in &made {
            self.request.extend_from_slice(&made.payload());
            self.request.push(b'\n');
        }
        let ids = made.iter().enumerate();
        let ids =
            ids.map(|(line, made)| Id16::of(DEFAULT_TENANT, made.key(), &format!("{key}/{line}")));
        Ok(ids.collect())
    }

    /// Sends the request that was made last, and takes its answer.
    async fn post(&mut self) -> anyhow::Result<()> {
        self.stream
            .write_all(&self.request)
            .await
            .context("writing")?;
        self.answer().await
    }

    /// Takes one answer; anything but 202 is an error.
    async fn answer(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(answer) = Answer::parse(&self.read)? {
                let end = answer.end;
                let accepted = self.read.get(answer.status) == Some(ACCEPTED);
                ensure!(accepted, "{}", String::from_utf8_lossy(&self.read));
                self.read.drain(..end);
                return Ok(());
            }
            ensure!(self.read.len() < LONGEST_ANSWER, "the answer does not end");
            let read = self
                .stream
                .read_buf(&mut self.read)
                .await
                .context("reading")?;
            ensure!(read > 0, "the gateway closed the connection");
        }
    }
}

/// Where the parts of a whole answer lie.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: std::ops::Range<usize>,
    end: usize,
}

impl Answer {
    /// `None`: it has not come whole.
    fn parse(read: &[u8]) -> anyhow::Result<Option<Self>> {
        const HEAD_END: &[u8] = b"\r\n\r\n";
        let Some(head) = read.windows(HEAD_END.len()).position(|at| at == HEAD_END) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&read[..head]).context("the answer is not HTTP")?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>())
        });
        let length = length.context("the answer has no content-length")?;
        let end = head + HEAD_END.len() + length.context("content-length")?;
        // "HTTP/1.1 202 Accepted"
        let answer = Self { status: 9..12, end };
        Ok((read.len() >= end).then_some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_and_not_before() {
        let text = b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 202";
        for end in 0..46 {
            assert_eq!(Answer::parse(&text[..end]).unwrap(), None, "{end}");
        }
        let answer = Answer::parse(text).unwrap().unwrap();
        assert_eq!(&text[answer.status], ACCEPTED);
        assert!(text[answer.end..].starts_with(b"HTTP/1.1"));
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
