//! One process of a bench, seen from inside.
//!
//! In: a [`Job`] and questions, a line each, on stdin. Out: an answer to each on stdout. Promises:
//! when stdin ends, because the bench has ended in whatever way, so does the process.

mod floor;
mod parts;
mod redis;
pub(super) mod store;

use super::load;
use super::messages::{Answer, Job, LoadJob, Question};
use super::records::{Shape, Stock};
use crate::failure::Failure;
use crate::say;
use anyhow::{Context, bail};
use cloudsync_gateway::floor::FloorServer;
use cloudsync_kafka::{KafkaSettings, Producer};
use cloudsync_runtime::Shutdown;
use cloudsync_runtime::signals::Signals;
use serde::de::DeserializeOwned;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::sync::mpsc;

/// The lines of stdin.
struct Inbox {
    lines: mpsc::Receiver<String>,
    /// Stops when stdin has ended.
    over: Shutdown,
}

/// Does what the bench asks for, until it asks no more.
///
/// # Errors
/// [`Failure::Told`], after the bench has been told why.
pub(crate) async fn run() -> Result<(), Failure> {
    let mut signals = Signals::take().context("cannot listen for signals")?;
    let inbox = Inbox::on_stdin();
    let over = inbox.over.clone();
    let terminated = async {
        // Ctrl-C comes to every process of a terminal; the bench decides what it means.
        while signals.next().await != "SIGTERM" {}
    };
    let result = tokio::select! {
        result = Box::pin(work(inbox)) => result,
        () = over.stopping() => Ok(()),
        () = terminated => Ok(()),
    };
    result.map_err(|error| {
        answer(&Answer::Failed(format!("{error:#}")));
        Failure::Told
    })
}

async fn work(mut inbox: Inbox) -> anyhow::Result<()> {
    match inbox.next::<Job>().await? {
        Job::Log {
            settings,
            directory,
        } => parts::log(&settings, directory, inbox).await,
        Job::Gateway { settings } => parts::gateway(&settings, inbox).await,
        Job::Consumer {
            settings,
            destination,
            dedupe,
        } => parts::consumer(&settings, destination, dedupe, inbox).await,
        Job::Redis { directory } => redis::serve(&directory, inbox).await,
        Job::Store { dedupe } => store::calls(*dedupe, inbox).await,
        Job::Load(job) => clients(&job, inbox).await,
        Job::Produce {
            kafka,
            payload_bytes,
        } => floor::produce(&kafka, payload_bytes, inbox).await,
        Job::Fetch { kafka } => floor::fetch(&kafka, inbox).await,
        Job::Server { log } => server(log.as_deref(), inbox).await,
    }
}

async fn clients(job: &LoadJob, mut inbox: Inbox) -> anyhow::Result<()> {
    let stock = Stock::new(Shape {
        payload_bytes: job.payload_bytes,
        // The gateway finds the partition.
        partitions: 1,
        stamped: false,
    });
    up(None);
    loop {
        match inbox.next().await? {
            Question::Run(run) => {
                let report = Box::pin(load::run(job, &stock, &run)).await?;
                answer(&Answer::Load(Box::new(report)));
            }
            other => return Err(not_for_me(&other)),
        }
    }
}

async fn server(log: Option<&KafkaSettings>, mut inbox: Inbox) -> anyhow::Result<()> {
    let mut server = FloorServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    if let Some(kafka) = log {
        let producer = Producer::new(kafka)?;
        producer.warm_up().await?;
        server = server.producing(producer, &kafka.topic, kafka.partitions);
    }
    up(Some(server.address()));
    tokio::select! {
        ended = server.serve() => ended.context("the server ended"),
        question = inbox.next::<Question>() => Err(not_for_me(&question?)),
    }
}

// === impl Inbox ===

impl Inbox {
    fn on_stdin() -> Self {
        let (sender, lines) = mpsc::channel(4);
        let over = Shutdown::new();
        let ended = over.clone();
        // Reading blocks; the program does not wait for it when it ends.
        drop(tokio::task::spawn_blocking(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
            ended.stop();
        }));
        Self { lines, over }
    }

    /// The next thing that is asked. Cancel-safe.
    async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let Some(line) = self.lines.recv().await else {
            bail!("nothing more is asked");
        };
        serde_json::from_str(&line).context("the question cannot be read")
    }
}

fn up(address: Option<SocketAddr>) {
    answer(&Answer::Up { address, pid: None });
}

/// A bench that has gone away reads nothing more, and has closed stdin as well.
fn answer(answer: &Answer) {
    match serde_json::to_string(answer) {
        Ok(line) => {
            say::data(format_args!("{line}\n"));
        }
        Err(error) => tracing::error!(%error, "an answer cannot be written"),
    }
}

fn not_for_me(question: &Question) -> anyhow::Error {
    anyhow::anyhow!("this process cannot answer {question:?}")
}
