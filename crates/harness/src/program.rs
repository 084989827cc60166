//! Runs the real binary: starts it, waits until it is ready, ends it gently or not.
//!
//! Everything that it writes to stderr lies in a file beside its data and is shown when a test
//! fails.

use crate::metrics::Numbers;
use crate::ports;
use anyhow::{Context, bail};
use rustix::process::Signal;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

/// Where the program of this build lies: `TEST_PROGRAM`, or beside the running test.
///
/// # Errors
/// When it has not been built.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("TEST_PROGRAM") {
        return Ok(PathBuf::from(path));
    }
    let test = std::env::current_exe()?;
    let profile = test
        .parent()
        .and_then(Path::parent)
        .context("no target directory")?;
    let path = profile.join("cloudsync");
    if !path.is_file() {
        bail!("{} is missing: run `cargo build` first", path.display());
    }
    Ok(path)
}

/// Sends `signal` to `child`, if it runs.
pub(crate) fn send(child: Option<&Child>, signal: Signal) -> anyhow::Result<()> {
    let pid = rustix::process::Pid::from_child(child.context("not running")?);
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// One role of the program, started again and again on the same directory and ports.
#[derive(Debug)]
pub struct Program {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    admin: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
    starts: u32,
}

/// `cloudsync up`, everything in one process.
#[derive(Debug)]
pub struct Up {
    /// The process.
    pub program: Program,
    /// Its data directory; the destinations are `aws` and `azure` below it.
    pub data: PathBuf,
    /// Where its gateway listens.
    pub gateway: SocketAddr,
    /// Where its log listens.
    pub log: SocketAddr,
}

// === impl Up ===

impl Up {
    /// `cloudsync up` on `data`, not started yet.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(data: &Path) -> anyhow::Result<Self> {
        let (gateway, log, admin) = (ports::free()?, ports::free()?, ports::free()?);
        let arguments = [
            "up".to_owned(),
            format!("--data-dir={}", data.display()),
            format!("--listen={gateway}"),
            format!("--log-listen={log}"),
            format!("--admin-listen={admin}"),
        ];
        let program = Program::new(arguments.to_vec(), admin, data);
        Ok(Self {
            program,
            data: data.to_owned(),
            gateway,
            log,
        })
    }

    /// The gateway's address as a client wants it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.gateway)
    }
}

// === impl Program ===

impl Program {
    /// The program with `arguments`, whose admin listener is `admin`, logging below `directory`.
    #[must_use]
    pub fn new(arguments: Vec<String>, admin: SocketAddr, directory: &Path) -> Self {
        let role = arguments.first().cloned().unwrap_or_default();
        let log = directory.join(format!("{role}-{}.stderr", admin.port()));
        Self {
            arguments,
            environment: Vec::new(),
            admin,
            log,
            child: None,
            starts: 0,
        }
    }

    /// Sets a variable for every start from now on; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.environment.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if let Some(directory) = self.log.parent() {
            fs::create_dir_all(directory)?;
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(binary()?);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.spawn().context("cannot start the program")?);
        self.starts += 1;
        Ok(())
    }

    /// How often it was started.
    #[must_use]
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// Whether it runs; the exit status otherwise.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = self.child.as_mut() else {
            return Ok(None);
        };
        Ok(child.try_wait()?)
    }

    /// Waits until `/readyz` answers 200. A process that ends meanwhile is an error.
    ///
    /// # Errors
    /// When it ends or is not ready within `patience`.
    pub async fn ready(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.exited()? {
                bail!(
                    "the program ended with {status} before it was ready\n{}",
                    self.tail()
                );
            }
            if let Ok(Ok((200, _))) = timeout(Duration::from_secs(2), self.readyz()).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not ready after {patience:?}\n{}", self.tail());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Status and body of `/readyz`.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn readyz(&self) -> anyhow::Result<(u16, String)> {
        http_get(self.admin, "/readyz").await
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it still runs after `patience`.
    pub async fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.exited()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("still running after {patience:?}\n{}", self.tail());
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the process with SIGKILL, whatever it is doing.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the process to end, as an orchestrator does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops the process where it stands, until [`Program::go_on`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn stand_still(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a process go on that stands still.
    ///
    /// # Errors
    /// When it does not run.
    pub fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        send(self.child.as_ref(), signal)
    }

    /// Whether it was started and has not been waited for or killed since.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// What it tells at `/metrics`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn numbers(&self) -> anyhow::Result<Numbers> {
        Numbers::of(self.admin).await
    }

    /// Everything that it wrote, over all starts.
    #[must_use]
    pub fn written(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = self.written();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// How often `text` stands in what it wrote.
    #[must_use]
    pub fn wrote(&self, text: &str) -> usize {
        self.written().matches(text).count()
    }

    /// Waits until `text` stands in what it wrote `times` times.
    ///
    /// # Errors
    /// When the process ends first, or `patience` does.
    pub async fn wait_until_wrote(
        &mut self,
        text: &str,
        times: usize,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while self.wrote(text) < times {
            if let Some(status) = self.exited()? {
                bail!(
                    "the program ended with {status} before {text:?}\n{}",
                    self.tail()
                );
            }
            if Instant::now() > deadline {
                bail!("no {text:?} after {patience:?}\n{}", self.tail());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            note_on_stderr(&error);
        }
    }
}

/// Whether a process was ended by SIGKILL.
#[must_use]
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// Whether anything listens on `address`.
#[must_use]
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// A plain HTTP/1.1 GET: status and body.
///
/// # Errors
/// When nothing answers, or not in HTTP.
pub async fn http_get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    http_exchange(address, &request).await
}

/// A request as it goes over the wire, which has to ask for the connection's end: status and body.
///
/// # Errors
/// As [`http_get`].
pub async fn http_exchange(address: SocketAddr, request: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.context("no HTTP status")?, body.to_owned()))
}

#[expect(
    clippy::print_stderr,
    reason = "a test helper's last word; there is nobody to return to"
)]
fn note_on_stderr(error: &anyhow::Error) {
    eprintln!("could not end a program: {error:#}");
}
