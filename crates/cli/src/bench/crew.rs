//! The processes of a bench, seen from outside.
//!
//! In: jobs. Out: a [`Role`] for each, which answers questions. Promises: no process outlives the
//! bench. Each ends when its stdin does, so also when the bench is killed; [`Crew::end`] waits for
//! that, and kills what does not end in time.

use super::messages::{Answer, Called, ConsumerState, Done, Job, LoadReport, Question, Run};
use super::usage::{self, Usage};
use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a process may take to come up.
const READY: Duration = Duration::from_secs(90);
/// How long a question that needs no work may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a process may take to end.
const END: Duration = Duration::from_secs(5);

/// Every process that was started.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    children: Vec<Child>,
    /// `--log`, for all of them.
    log: Option<String>,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Role {
    name: String,
    pid: u32,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    address: Option<SocketAddr>,
}

// === impl Crew ===

impl Crew {
    /// Nobody yet; all will log as `log` says.
    pub(crate) fn new(log: Option<String>) -> Self {
        Self {
            children: Vec::new(),
            log,
        }
    }

    /// Starts this program again, as `name`, and waits until it is ready for questions.
    ///
    /// # Errors
    /// When it does not come up, with its reason.
    pub(crate) async fn start(&mut self, name: &str, job: &Job) -> anyhow::Result<Role> {
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        let mut command = Command::new(program);
        command.args(["bench-role", name]);
        if let Some(log) = &self.log {
            command.args(["--log", log]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn();
        let mut child = child.with_context(|| format!("cannot start the process {name}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.context("a process without pipes")?;
        let pid = child.id().context("a process without a number")?;
        self.children.push(child);
        let mut role = Role {
            name: name.to_owned(),
            pid,
            stdin,
            answers: BufReader::new(stdout).lines(),
            address: None,
        };
        role.tell(job).await?;
        let (address, worker) = role.up(READY).await?;
        role.address = address;
        role.pid = worker.unwrap_or(role.pid);
        Ok(role)
    }

    /// Waits until every process has ended, whose roles must have been dropped; kills those that
    /// do not end in time.
    pub(crate) async fn end(self) {
        for mut child in self.children {
            if timeout(END, child.wait()).await.is_err() {
                // Waits for it as well; one that has ended meanwhile is no failure.
                let _killed = child.kill().await.is_ok();
            }
        }
    }
}

// === impl Role ===

impl Role {
    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let name = &self.name;
        self.address
            .with_context(|| format!("{name} does not listen"))
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage::of(self.pid).with_context(|| format!("what has {} used?", self.name))
    }

    /// Of a consumer: begin.
    ///
    /// # Errors
    /// As all questions: what the process says, or that it has ended, or does not answer.
    pub(crate) async fn begin(&mut self) -> anyhow::Result<()> {
        self.tell(&Question::Start).await?;
        self.up(READY).await.map(drop)
    }

    /// Of a consumer: where it is.
    ///
    /// # Errors
    /// As [`Role::begin`].
    pub(crate) async fn state(&mut self) -> anyhow::Result<ConsumerState> {
        self.tell(&Question::State).await?;
        self.consumer_state().await
    }

    /// Of a consumer: finish, and where it has come.
    ///
    /// # Errors
    /// As [`Role::begin`].
    pub(crate) async fn drain(&mut self) -> anyhow::Result<ConsumerState> {
        self.tell(&Question::Drain).await?;
        self.consumer_state().await
    }

    async fn consumer_state(&mut self) -> anyhow::Result<ConsumerState> {
        match self.answer(ANSWER).await? {
            Answer::State(state) => Ok(state),
            other => Err(self.strange(&other)),
        }
    }

    /// Of the clients: one run.
    ///
    /// # Errors
    /// As [`Role::begin`].
    pub(crate) async fn run(&mut self, run: Run, limit: Duration) -> anyhow::Result<LoadReport> {
        self.tell(&Question::Run(run)).await?;
        match self.answer(limit).await? {
            Answer::Load(report) => Ok(*report),
            other => Err(self.strange(&other)),
        }
    }

    /// Of the floor: produce or fetch.
    ///
    /// # Errors
    /// As [`Role::begin`].
    pub(crate) async fn floor(
        &mut self,
        question: &Question,
        limit: Duration,
    ) -> anyhow::Result<Done> {
        self.tell(question).await?;
        match self.answer(limit).await? {
            Answer::Done(done) => Ok(done),
            other => Err(self.strange(&other)),
        }
    }

    /// Of the calls to a store: a turn, a fill, or opening.
    ///
    /// # Errors
    /// As [`Role::begin`].
    pub(crate) async fn call(
        &mut self,
        question: &Question,
        limit: Duration,
    ) -> anyhow::Result<Called> {
        self.tell(question).await?;
        match self.answer(limit).await? {
            Answer::Called(called) => Ok(called),
            other => Err(self.strange(&other)),
        }
    }

    async fn up(&mut self, limit: Duration) -> anyhow::Result<(Option<SocketAddr>, Option<u32>)> {
        match self.answer(limit).await? {
            Answer::Up { address, pid } => Ok((address, pid)),
            other => Err(self.strange(&other)),
        }
    }

    async fn tell(&mut self, what: &(impl Serialize + Sync)) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(what).context("cannot write JSON")?;
        line.push(b'\n');
        let written = self.stdin.write_all(&line).await;
        written.with_context(|| format!("the process {} has ended", self.name))
    }

    async fn answer(&mut self, limit: Duration) -> anyhow::Result<Answer> {
        let name = &self.name;
        let line = timeout(limit, self.answers.next_line()).await;
        let line = line.map_err(|_| anyhow!("{name} has not answered within {limit:?}"))?;
        let line = line.with_context(|| format!("cannot read from {name}"))?;
        let line = line.with_context(|| format!("the process {name} has ended by itself"))?;
        match serde_json::from_str(&line) {
            Ok(Answer::Failed(why)) => bail!("{name}: {why}"),
            Ok(answer) => Ok(answer),
            Err(error) => Err(error).with_context(|| format!("{name} said {line}")),
        }
    }

    fn strange(&self, answer: &Answer) -> anyhow::Error {
        anyhow!("{} answered something else: {answer:?}", self.name)
    }
}
