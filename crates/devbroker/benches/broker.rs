//! What the embedded log carries and costs, beside Apache Kafka in the same run.
//!
//! `cargo bench -p cloudsync-devbroker` runs all of it (some minutes); words behind `--` choose:
//! `memory`, `disk`, `kafka`, `reopen`, `idle`. Every broker is a process of its own, every client
//! librdkafka in this one. Prints a table, and ends with 1 where the embedded log misses a floor.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its table"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use cloudsync_devbroker::{Broker, BrokerConfig, Storage};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PARTITIONS: i32 = 12;
/// Bytes of a record, and how many of them are sent.
const LOADS: [(usize, u64); 2] = [(200, 1_000_000), (1_024, 300_000)];
/// Members of the group that reads.
const MEMBERS: usize = 2;
/// Per record, everything else small beside it.
const REOPEN_RECORDS: u64 = 1 << 20;
const IDLE: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("serve", storage)) = arguments
        .first()
        .zip(arguments.get(1))
        .map(|(a, b)| (a.as_str(), b))
    {
        return report(serve(storage).map(|()| true));
    }
    let chosen: Vec<&String> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|it| *it == part);
    report(run(&wanted))
}

fn report(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(wanted: &dyn Fn(&str) -> bool) -> Result<bool> {
    let mut floors = Floors::default();
    println!(
        "| broker | record | produced/s | consumed/s | CPU µs a record, in | out | memory | join |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, part) in [
        ("embedded, memory", "memory"),
        ("embedded, disk", "disk"),
        ("Apache Kafka", "kafka"),
    ] {
        if !wanted(part) {
            continue;
        }
        let Some(server) = Server::start(part)? else {
            println!("| {name} | | not run: no java or mvn | | | | | |");
            continue;
        };
        for (bytes, records) in LOADS {
            let figures = carry(&server, bytes, records)?;
            println!("| {name} | {bytes} B | {figures} |");
            if part != "kafka" {
                floors.carried(name, part, bytes, &figures);
            }
        }
    }
    if wanted("reopen") {
        let took = reopen()?;
        println!(
            "\nreopened 1 GiB in {:.2} s (warm page cache)",
            took.as_secs_f64()
        );
        floors.at_most("seconds to reopen 1 GiB", took.as_secs_f64(), 1.0);
    }
    if wanted("idle") {
        let share = idle()?;
        println!("\nidle, two groups of three members: {share:.2} % of a core over {IDLE:?}");
        floors.at_most("% of a core idle", share, 0.5);
    }
    floors
        .missed
        .iter()
        .for_each(|line| println!("MISSED: {line}"));
    Ok(floors.missed.is_empty())
}

// === floors ===

#[derive(Default)]
struct Floors {
    missed: Vec<String>,
}

impl Floors {
    fn carried(&mut self, name: &str, part: &str, bytes: usize, figures: &Figures) {
        self.at_most(
            &format!("{name}: seconds to join"),
            figures.join.as_secs_f64(),
            0.5,
        );
        if bytes != LOADS[0].0 {
            return;
        }
        self.at_least(&format!("{name}: produced/s"), figures.produced, 300_000.0);
        self.at_least(&format!("{name}: consumed/s"), figures.consumed, 300_000.0);
        self.at_most(&format!("{name}: CPU µs a record in"), figures.cpu_in, 0.2);
        self.at_most(
            &format!("{name}: CPU µs a record out"),
            figures.cpu_out,
            0.2,
        );
        // In memory it holds every record that it was given.
        if part == "disk" {
            self.at_most(&format!("{name}: MiB"), figures.memory_mib, 64.0);
        }
    }

    fn at_least(&mut self, what: &str, figure: f64, floor: f64) {
        if figure < floor {
            self.missed
                .push(format!("{what}: {figure:.0}, at least {floor:.0}"));
        }
    }

    fn at_most(&mut self, what: &str, figure: f64, ceiling: f64) {
        if figure > ceiling {
            self.missed
                .push(format!("{what}: {figure:.2}, at most {ceiling:.2}"));
        }
    }
}

// === brokers ===

/// A broker in a process of its own.
struct Server {
    bootstrap: String,
    process: u32,
    place: Place,
}

enum Place {
    Embedded {
        child: Child,
        _dir: Option<tempfile::TempDir>,
    },
    Kafka(tempfile::TempDir),
}

impl Server {
    /// `None`: it cannot be started here.
    fn start(part: &str) -> Result<Option<Self>> {
        match part {
            "kafka" => Self::kafka(),
            "memory" => Self::embedded(None).map(Some),
            _ => Self::embedded(Some(tempfile::tempdir()?)).map(Some),
        }
    }

    fn embedded(dir: Option<tempfile::TempDir>) -> Result<Self> {
        let storage = dir
            .as_ref()
            .map_or_else(|| Path::new("memory"), tempfile::TempDir::path);
        let (child, bootstrap) = spawn(storage)?;
        let process = child.id();
        let place = Place::Embedded { child, _dir: dir };
        Ok(Self {
            bootstrap,
            process,
            place,
        })
    }

    fn kafka() -> Result<Option<Self>> {
        if ["java", "mvn"]
            .iter()
            .any(|it| Command::new(it).arg("-version").output().is_err())
        {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let output = Command::new(script())
            .arg("start")
            .arg(dir.path())
            .arg("0")
            .output()?;
        let bootstrap = String::from_utf8(output.stdout)?.trim().to_owned();
        let pid = std::fs::read_to_string(dir.path().join("n1/pid"))?;
        let process = pid.trim().parse()?;
        let place = Place::Kafka(dir);
        Ok(Some(Self {
            bootstrap,
            process,
            place,
        }))
    }

    /// CPU time so far.
    fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .ok_or("stat")?
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// The most memory it ever had resident, in MiB.
    fn peak_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .ok_or("VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1_024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.place {
            Place::Embedded { child, .. } => {
                drop(child.stdin.take());
                let _ended = child.wait();
            }
            Place::Kafka(dir) => {
                let _killed = Command::new(script()).arg("kill").arg(dir.path()).status();
            }
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services/kafka")
}

/// This program again, as a broker that ends when its stdin does.
fn spawn(storage: &Path) -> Result<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(storage)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("stdout")?).read_line(&mut line)?;
    Ok((child, line.trim().to_owned()))
}

fn serve(storage: &str) -> Result<()> {
    let storage = match storage {
        "memory" => Storage::Memory,
        dir => Storage::Dir(dir.into()),
    };
    let broker = Broker::start(BrokerConfig {
        storage,
        ..BrokerConfig::default()
    })?;
    println!("{}", broker.address());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    broker.shutdown()?;
    Ok(())
}

// === loads ===

struct Figures {
    produced: f64,
    consumed: f64,
    cpu_in: f64,
    cpu_out: f64,
    memory_mib: f64,
    join: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} | {:.0} | {:.2} | {:.2} | {:.0} MiB | {:.2} s",
            self.produced,
            self.consumed,
            self.cpu_in,
            self.cpu_out,
            self.memory_mib,
            self.join.as_secs_f64()
        )
    }
}

/// Produces `records` of `bytes` each, then has one group read them.
fn carry(server: &Server, bytes: usize, records: u64) -> Result<Figures> {
    let topic = format!("load-{bytes}");
    create(&server.bootstrap, &topic)?;
    // The first send of an idempotent producer waits half a second for its id.
    let producer = producer(&server.bootstrap, "lz4")?;
    produce(
        &producer,
        &topic,
        bytes,
        0..u64::from(PARTITIONS.unsigned_abs()),
    )?;
    let (cpu, began) = (server.cpu()?, Instant::now());
    produce(&producer, &topic, bytes, 0..records)?;
    let produced = records as f64 / began.elapsed().as_secs_f64();
    let cpu_in = micros(server.cpu()? - cpu) / records as f64;

    let (cpu, began) = (server.cpu()?, Instant::now());
    let expected = records + u64::from(PARTITIONS.unsigned_abs());
    let (join, took) = consume(&server.bootstrap, &topic, expected)?;
    let consumed = expected as f64 / took.as_secs_f64();
    let cpu_out = micros(server.cpu()? - cpu) / expected as f64;
    debug_assert!(took <= began.elapsed());
    Ok(Figures {
        produced,
        consumed,
        cpu_in,
        cpu_out,
        memory_mib: server.peak_mib()?,
        join,
    })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn create(bootstrap: &str, topic: &str) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = AdminClient::from_config(&config)?;
    let wanted = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let results = runtime.block_on(admin.create_topics([&wanted], &AdminOptions::new()))?;
    for result in results {
        result.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    Ok(())
}

fn producer(bootstrap: &str, codec: &str) -> Result<ThreadedProducer<DefaultProducerContext>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", codec)
        .set("linger.ms", "5")
        .set("batch.size", "262144")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "262144");
    Ok(config.create()?)
}

fn produce(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    bytes: usize,
    numbers: std::ops::Range<u64>,
) -> Result<()> {
    let mut payload = vec![0; bytes];
    for number in numbers {
        fill(&mut payload, number);
        let partition = i32::try_from(number % u64::from(PARTITIONS.unsigned_abs()))?;
        let key = number.to_be_bytes();
        let mut record = BaseRecord::to(topic)
            .partition(partition)
            .key(&key)
            .payload(&payload);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            // The queue is full: until something of it is acknowledged.
            producer.poll(Duration::from_millis(1));
        }
    }
    producer.flush(LIMIT)?;
    Ok(())
}

/// Half text that repeats, half hex digits that do not: as JSON bodies compress.
fn fill(payload: &mut [u8], number: u64) {
    const TEXT: &[u8] =
        br#"{"tenant":"acme","op":"upsert","target":"aws","path":"/data/object","sum":""#;
    let half = payload.len() / 2;
    for (at, byte) in payload[..half].iter_mut().enumerate() {
        *byte = TEXT[at % TEXT.len()];
    }
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for chunk in payload[half..].chunks_mut(16) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for (at, byte) in chunk.iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[(state >> (at * 4)) as usize & 15];
        }
    }
}

fn member(bootstrap: &str, group: &str, topic: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

/// Out: how long the group took to have its partitions, and to read everything from then on.
fn consume(bootstrap: &str, topic: &str, expected: u64) -> Result<(Duration, Duration)> {
    use std::sync::atomic::{AtomicU64, Ordering};
    let read = AtomicU64::new(0);
    let began = Instant::now();
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        members.push(member(bootstrap, "readers", topic)?);
    }
    let mut joined = vec![Duration::ZERO; MEMBERS];
    thread::scope(|scope| {
        for (consumer, joined) in members.iter().zip(&mut joined) {
            let read = &read;
            scope.spawn(move || {
                while read.load(Ordering::Relaxed) < expected && began.elapsed() < LIMIT {
                    if consumer
                        .poll(Duration::from_millis(10))
                        .is_some_and(|it| it.is_ok())
                    {
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                    let is_first = *joined == Duration::ZERO;
                    if is_first && consumer.assignment().is_ok_and(|it| it.count() > 0) {
                        *joined = began.elapsed();
                    }
                }
            });
        }
    });
    let read = read.into_inner();
    if read < expected {
        return Err(format!("{read} of {expected} records read within {LIMIT:?}").into());
    }
    let join = joined.into_iter().max().unwrap_or_default();
    Ok((join, began.elapsed() - join))
}

/// From the start of the process until it serves a log of 1 GiB that was closed.
fn reopen() -> Result<Duration> {
    let dir = tempfile::tempdir()?;
    let (mut child, bootstrap) = spawn(dir.path())?;
    create(&bootstrap, "large")?;
    produce(
        &producer(&bootstrap, "none")?,
        "large",
        1_024,
        0..REOPEN_RECORDS,
    )?;
    drop(child.stdin.take());
    child.wait()?;
    let began = Instant::now();
    let (mut child, _) = spawn(dir.path())?;
    let took = began.elapsed();
    drop(child.stdin.take());
    child.wait()?;
    Ok(took)
}

/// Share of a core in percent, while two groups of three members wait for records.
fn idle() -> Result<f64> {
    let server = Server::embedded(Some(tempfile::tempdir()?))?;
    create(&server.bootstrap, "quiet")?;
    let mut members = Vec::new();
    for group in ["one", "two"] {
        for _ in 0..3 {
            members.push(member(&server.bootstrap, group, "quiet")?);
        }
    }
    let began = Instant::now();
    let settled = |members: &[BaseConsumer]| {
        members
            .iter()
            .all(|member| member.assignment().is_ok_and(|it| it.count() == 4))
    };
    while !settled(&members) {
        if began.elapsed() > LIMIT {
            return Err("the groups did not settle".into());
        }
        members
            .iter()
            .for_each(|member| drop(member.poll(Duration::from_millis(10))));
    }
    let (cpu, began) = (server.cpu()?, Instant::now());
    while began.elapsed() < IDLE {
        members
            .iter()
            .for_each(|member| drop(member.poll(Duration::from_millis(50))));
    }
    Ok((server.cpu()? - cpu).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
}
