//! What an id costs in the Redis stores: CPU of Redis, CPU of this process, memory.
//!
//! In: `redis-server` on PATH. Out: a table on stdout, with a raw pipeline of the same commands,
//! made beforehand, beside each row. `cargo bench -p cloudsync-dedupe --bench redis [IDS]`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench says so by ending, and prints its table"
)]

use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::settings::Layout;
use cloudsync_dedupe::{DedupeSettings, DedupeStore, LogPosition, Subject, Token, open};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Connection, Pipeline, Script};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const BATCHES: [usize; 4] = [1, 16, 128, 512];
const CLAIM: &str = include_str!("../src/redis/buckets/claim.lua");
/// Calls under way at once, as several partitions make them.
const WORKERS: usize = 4;

struct Server(Child, u16);

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut server = Command::new("redis-server");
        let arguments = [
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ];
        let child = server
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self(child, port)
    }

    fn connection(&self) -> Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.1)).unwrap();
        client.get_connection().unwrap()
    }

    /// A number in `INFO`.
    fn info(&self, field: &str) -> f64 {
        let mut info = redis::cmd("INFO");
        let info: String = info.arg("all").query(&mut self.connection()).unwrap();
        let mut lines = info.lines();
        let line = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().parse().unwrap()
    }

    /// CPU that it has used, in seconds.
    fn cpu(&self) -> f64 {
        self.info("used_cpu_user") + self.info("used_cpu_sys")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// CPU that this thread, the only one that works, has used, in seconds.
fn own_cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: u64 = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos).as_secs_f64()
}

fn subjects(from: u64, count: u64) -> Vec<Subject> {
    let subject = |n: u64| Subject {
        id: Id16::of("default", "key", &n.to_string()),
        fingerprint: Fingerprint(n),
        shard: 3,
        position: LogPosition {
            partition: 3,
            offset: i64::try_from(n).unwrap() + 1_000_000_000,
        },
    };
    (from..from + count).map(subject).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    ClaimComplete,
    LookupComplete,
}

#[derive(Clone, Copy)]
struct Case {
    layout: Layout,
    what: What,
    batch: usize,
}

/// Runs `batches` through the store, several at once.
async fn through_store(store: &Arc<dyn DedupeStore>, what: What, batches: &[&[Subject]]) {
    let me = Token::random();
    let worker = |n: usize| async move {
        for batch in batches.iter().skip(n).step_by(WORKERS) {
            match what {
                What::ClaimComplete => drop(store.claim(me, batch).await.unwrap()),
                What::LookupComplete => drop(store.lookup(batch).await.unwrap()),
            }
            store.complete(batch).await.unwrap();
        }
    };
    futures::future::join_all((0..WORKERS).map(worker)).await;
}

async fn through_pipeline(connection: &MultiplexedConnection, batches: &[[Pipeline; 2]]) {
    let worker = |n: usize| {
        let mut connection = connection.clone();
        async move {
            for phases in batches.iter().skip(n).step_by(WORKERS) {
                for phase in phases {
                    let answers = connection.send_packed_commands(phase, 0, phase.len()).await;
                    answers.unwrap();
                }
            }
        }
    };
    futures::future::join_all((0..WORKERS).map(worker)).await;
}

/// The commands that the store would send, made beforehand.
fn raw(layout: Layout, what: What, batch: &[Subject], generation: u64) -> [Pipeline; 2] {
    let (mut ask, mut mark) = (Pipeline::new(), Pipeline::new());
    match layout {
        Layout::Buckets => batch.chunks(256).for_each(|part| {
            match what {
                What::ClaimComplete => {
                    ask.add_command(claim(part, generation));
                }
                What::LookupComplete => {
                    ask.add_command(redis::cmd("TIME"));
                    ask.add_command(get(part, "HMGET", Some(generation)));
                    ask.add_command(get(part, "HMGET", Some(generation - 1)));
                }
            }
            let mut set = redis::cmd("HSET");
            set.arg(bucket(generation));
            part.iter().for_each(|s| {
                let value = b"D12345678p1234".as_slice();
                set.arg(s.id.0.as_slice()).arg(value);
            });
            let mut expire = redis::cmd("PEXPIRE");
            expire.arg(bucket(generation)).arg(7_800_000).arg("NX");
            mark.add_command(set).add_command(expire);
            mark.add_command(redis::cmd("TIME"));
        }),
        Layout::Keys => {
            if what == What::LookupComplete {
                for part in batch.chunks(256) {
                    ask.add_command(get(part, "MGET", None));
                }
            }
            for subject in batch {
                if what == What::ClaimComplete {
                    let mut set = redis::cmd("SET");
                    set.arg(key(subject))
                        .arg("locked token=0011223344556677 fp=0011223344556677");
                    set.arg("NX").arg("GET").arg("PX").arg(30_000);
                    ask.add_command(set);
                }
                let mut set = redis::cmd("SET");
                set.arg(key(subject))
                    .arg("done fp=0011223344556677 at=3/1000000000");
                set.arg("PX").arg(3_600_000);
                mark.add_command(set);
            }
        }
    }
    [ask, mark]
}

fn bucket(generation: u64) -> String {
    format!("cs1:{{raw.aws.3}}:{generation}")
}

fn key(subject: &Subject) -> String {
    let id = u128::from_be_bytes(subject.id.0);
    format!("cs1:{{raw.aws.3}}:{id:032x}")
}

fn claim(part: &[Subject], generation: u64) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(Script::new(CLAIM).get_hash()).arg(4);
    (generation - 2..generation + 2).for_each(|g| {
        call.arg(bucket(g));
    });
    call.arg(generation).arg(3_600_000);
    call.arg(b"12345678".as_slice()).arg(30_000);
    call.arg(part.iter().flat_map(|s| s.id.0).collect::<Vec<u8>>());
    let prints = part.iter().flat_map(|s| s.fingerprint.0.to_be_bytes());
    call.arg(prints.collect::<Vec<u8>>()).arg(part.len());
    call
}

/// Of the hash of a generation, or of keys.
fn get(part: &[Subject], name: &str, generation: Option<u64>) -> Cmd {
    let mut get = redis::cmd(name);
    match generation {
        Some(generation) => {
            get.arg(bucket(generation));
            part.iter().for_each(|s| {
                get.arg(s.id.0.as_slice());
            });
        }
        None => part.iter().for_each(|s| {
            get.arg(key(s));
        }),
    }
    get
}

/// Prints what the work cost for each of `ids`.
async fn measure(server: &Server, name: &str, ids: usize, work: impl Future<Output = ()>) {
    let (redis, own, began) = (server.cpu(), own_cpu(), Instant::now());
    work.await;
    let wall = began.elapsed().as_secs_f64();
    let (redis, own) = (server.cpu() - redis, own_cpu() - own);
    let each = |seconds: f64| seconds * 1e6 / ids as f64;
    println!(
        "{name:<44} {:>8.2} {:>8.2} {:>10.0}",
        each(redis),
        each(own),
        ids as f64 / wall
    );
}

/// One row of the table and the raw one below it.
async fn row(server: &Server, raw_link: &MultiplexedConnection, case: Case, most: u64) {
    let Case {
        layout,
        what,
        batch,
    } = case;
    let ids = if batch == 1 { most / 8 } else { most };
    let all = subjects(0, ids);
    let batches: Vec<&[Subject]> = all.chunks(batch).collect();
    let settings = DedupeSettings {
        url: format!("redis://127.0.0.1:{}", server.1),
        layout,
        namespace: "bench".to_owned(),
        redis_response_timeout: Duration::from_secs(60),
        ..DedupeSettings::default()
    };
    let store = open(&settings, "aws").unwrap();
    store.ready().await.unwrap();
    let kind = match (layout, what) {
        (Layout::Buckets, What::ClaimComplete) => "buckets claim+complete",
        (Layout::Buckets, What::LookupComplete) => "buckets lookup+complete",
        (Layout::Keys, What::ClaimComplete) => "keys claim+complete",
        (Layout::Keys, What::LookupComplete) => "keys lookup+complete",
    };
    let memory = server.info("used_memory");
    let work = through_store(&store, what, &batches);
    measure(server, &format!("{kind}, {batch} a call"), all.len(), work).await;
    let each = (server.info("used_memory") - memory) / all.len() as f64;
    if batch == 512 {
        println!("{:<44} {each:>8.0} B", format!("{kind}, memory per id"));
    }
    let flush = || {
        redis::cmd("FLUSHALL")
            .exec(&mut server.connection())
            .unwrap()
    };
    flush();
    let time: (u64, u64) = redis::cmd("TIME").query(&mut server.connection()).unwrap();
    let generation = time.0 / 3_600;
    let raw = batches
        .iter()
        .map(|batch| raw(layout, what, batch, generation));
    let raw: Vec<[Pipeline; 2]> = raw.collect();
    let work = through_pipeline(raw_link, &raw);
    measure(server, "  the same commands, raw", all.len(), work).await;
    flush();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let most = std::env::args().find_map(|word| word.parse().ok());
    let most = most.unwrap_or(128_000);
    let server = Server::start();
    let url = format!("redis://127.0.0.1:{}", server.1);
    let client = redis::Client::open(url).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let link = client.get_multiplexed_async_connection_with_config(&config);
    let link = link.await.unwrap();
    let mut load = redis::cmd("SCRIPT");
    load.arg("LOAD").arg(CLAIM);
    load.exec(&mut server.connection()).unwrap();
    println!(
        "{:<44} {:>8} {:>8} {:>10}",
        "CPU per id, µs", "Redis", "client", "ids/s"
    );
    for layout in [Layout::Buckets, Layout::Keys] {
        for what in [What::ClaimComplete, What::LookupComplete] {
            for batch in BATCHES {
                let case = Case {
                    layout,
                    what,
                    batch,
                };
                row(&server, &link, case, most).await;
            }
        }
    }
}
