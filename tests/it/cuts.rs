//! The connection is cut behind every byte of an exchange, in either direction.

use crate::server::{LONG, Scripted, record, settings};
use cloudsync::{Client, client};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const RECORDS: usize = 12;
/// Exchanges at once.
const AT_ONCE: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Direction {
    ToServer,
    ToClient,
}

/// Behind every byte: the first connection ends there, mid-frame as it comes; every record has its
/// verdict, once, and the server has it.
#[tokio::test]
async fn cut_behind_any_byte_nothing_is_lost() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        let whole = exchange(direction, u64::MAX).await;
        assert!(whole > 100, "{direction:?}: {whole} bytes");
        let mut running = JoinSet::new();
        for cut in 0..=whole {
            if running.len() == AT_ONCE {
                running.join_next().await.unwrap().unwrap();
            }
            running.spawn(exchange(direction, cut));
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
        println!("{direction:?}: cut behind each of {whole} bytes");
    }
}

/// One stream whose first connection is cut when `cut` bytes went in `direction`; returns how many
/// bytes went there on the first connection.
async fn exchange(direction: Direction, cut: u64) -> u64 {
    let server = Scripted::start([]).await;
    let (proxy, passed) = proxy(server.address, direction, cut).await;
    let client = Client::new(settings(proxy)).unwrap();
    let records = client::iter((0..RECORDS).map(record));
    let sending = timeout(LONG, client.send_all(records)).await;
    let summary = sending
        .unwrap_or_else(|_| panic!("{direction:?} {cut}: no end"))
        .unwrap_or_else(|error| panic!("{direction:?} {cut}: {error}"));
    assert_eq!(summary.acked, RECORDS as u64, "{direction:?} {cut}");
    server.seen(|seen| {
        assert_eq!(seen.taken.len(), RECORDS, "{direction:?} {cut}");
        let again: u32 = seen.taken.values().map(|times| times - 1).sum();
        assert!(u64::from(again) <= summary.resent, "{direction:?} {cut}");
    });
    passed.load(Relaxed)
}

/// Passes connections on to `server`; the first one ends when `cut` bytes went in `direction`.
async fn proxy(server: SocketAddr, direction: Direction, cut: u64) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&passed);
    let first = AtomicBool::new(true);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(server).await.unwrap();
            if first.swap(false, Relaxed) {
                tokio::spawn(cut_off(client, server, direction, cut, Arc::clone(&count)));
            } else {
                tokio::spawn(async move {
                    copy_bidirectional(&mut client, &mut server).await.ok();
                });
            }
        }
    });
    (address, passed)
}

async fn cut_off(
    client: TcpStream,
    server: TcpStream,
    direction: Direction,
    cut: u64,
    passed: Arc<AtomicU64>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let free = Arc::new(AtomicU64::new(0));
    let (there, back) = match direction {
        Direction::ToServer => ((cut, passed), (u64::MAX, free)),
        Direction::ToClient => ((u64::MAX, free), (cut, passed)),
    };
    tokio::select! {
        () = pass(&mut from_client, &mut to_server, there) => {}
        () = pass(&mut from_server, &mut to_client, back) => {}
    }
}

/// Passes bytes on, at most so many.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    (most, passed): (u64, Arc<AtomicU64>),
) {
    let mut bytes = [0; 4_096];
    loop {
        let left = most - passed.load(Relaxed);
        let room = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if room == 0 {
            return;
        }
        match from.read(&mut bytes[..room]).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if to.write_all(&bytes[..n]).await.is_err() {
                    return;
                }
                passed.fetch_add(n as u64, Relaxed);
            }
        }
    }
}
