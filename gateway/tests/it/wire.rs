//! HTTP/1.1 as it goes over the wire, held to the document that describes it.

use crate::world::World;
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const POST: &str = "POST /api/datasync";
pub(crate) const NDJSON: &str = "Content-Type: application/x-ndjson";

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// A request whose body comes in parts.
pub(crate) struct Sending {
    stream: TcpStream,
    request: String,
}

/// One exchange.
pub(crate) async fn exchange(
    world: &World,
    request: &str,
    headers: &[&str],
    body: impl AsRef<[u8]>,
) -> Answer {
    exchange_at(world.address, request, headers, body).await
}

pub(crate) async fn exchange_at(
    address: SocketAddr,
    request: &str,
    headers: &[&str],
    body: impl AsRef<[u8]>,
) -> Answer {
    let body = body.as_ref();
    let length = format!("Content-Length: {}", body.len());
    let headers: Vec<_> = headers.iter().copied().chain([length.as_str()]).collect();
    let mut sending = Sending::begin(address, request, &headers).await;
    sending.stream.write_all(body).await.unwrap();
    sending.answer().await
}

/// `POST /api/datasync`.
pub(crate) async fn post(world: &World, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
    exchange(world, POST, headers, body).await
}

// === impl Sending ===

impl Sending {
    /// `POST /api/datasync` with a body of unknown length.
    pub(crate) async fn post(world: &World, headers: &[&str]) -> Self {
        let chunked = "Transfer-Encoding: chunked";
        let headers: Vec<_> = headers.iter().copied().chain([chunked]).collect();
        Self::begin(world.address, POST, &headers).await
    }

    pub(crate) async fn begin(address: SocketAddr, request: &str, headers: &[&str]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut text = format!("{request} HTTP/1.1\r\nHost: cloudsync\r\nConnection: close\r\n");
        for header in headers {
            text += &format!("{header}\r\n");
        }
        text += "\r\n";
        stream.write_all(text.as_bytes()).await.unwrap();
        Self {
            stream,
            request: request.to_owned(),
        }
    }

    /// Sends a part of the body.
    pub(crate) async fn send(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        let head = format!("{:x}\r\n", part.len());
        let chunk = [head.as_bytes(), part, b"\r\n"].concat();
        self.stream.write_all(&chunk).await.unwrap();
    }

    /// Says that the body has ended.
    pub(crate) async fn end(&mut self) {
        self.stream.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Reads until `wanted` has come.
    pub(crate) async fn read_until(&mut self, wanted: &str) -> String {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read);
            if text.contains(wanted) {
                return text.into_owned();
            }
            let mut part = [0; 4096];
            let count = self.stream.read(&mut part).await.unwrap();
            assert!(count > 0, "no {wanted:?} in {text:?}");
            read.extend_from_slice(&part[..count]);
        }
    }

    /// The rest of what is answered, as it comes.
    pub(crate) async fn rest(mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await.unwrap();
        text
    }

    pub(crate) async fn answer(self) -> Answer {
        let request = self.request.clone();
        let answer = Answer::of(&self.rest().await);
        answer.assert_documented(&request);
        answer
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn of(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers: HashMap<_, _> = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        let chunked = headers
            .get("transfer-encoding")
            .is_some_and(|it| it == "chunked");
        Self {
            status: status.parse().unwrap(),
            headers,
            body: if chunked {
                unchunked(body)
            } else {
                body.to_owned()
            },
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    /// The body as a problem with this status and reason.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["reason"], reason, "{problem}");
        let kind = reason.to_ascii_lowercase().replace('_', "-");
        assert_eq!(problem["type"], format!("urn:cloudsync:error:{kind}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        let later = matches!(reason, "OVERLOADED" | "DRAINING" | "LOG_UNAVAILABLE");
        assert_eq!(self.headers.contains_key("retry-after"), later);
        problem
    }

    /// Such an answer to such a request stands in the document.
    #[track_caller]
    fn assert_documented(&self, request: &str) {
        let document: Value =
            serde_json::from_str(include_str!("../../src/http/openapi.json")).unwrap();
        let (method, path) = request.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap();
        let path = match path.strip_prefix("/api/receipts/") {
            Some(_) => "/api/receipts/{id}",
            None => path,
        };
        let method = method.to_ascii_lowercase();
        let Some(operation) = document["paths"]
            .get(path)
            .and_then(|path| path.get(method))
        else {
            assert!(
                matches!(self.status, 404 | 405),
                "{request}: {}",
                self.status
            );
            return;
        };
        let answer = &operation["responses"][self.status.to_string()];
        assert!(
            answer.is_object(),
            "{request}: {} stands nowhere",
            self.status
        );
        let kind = self.headers["content-type"].split(';').next().unwrap();
        let known = answer["content"].get(kind).is_some();
        assert!(
            known,
            "{request}: {} with {kind} stands nowhere",
            self.status
        );
    }
}

fn unchunked(mut text: &str) -> String {
    let mut body = String::new();
    loop {
        let (length, rest) = text.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        let (chunk, rest) = rest.split_at(length);
        body += chunk;
        text = rest.strip_prefix("\r\n").unwrap();
    }
}
