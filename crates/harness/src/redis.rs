//! A Redis server of our own: started on a free port in a directory of its own, killed, started
//! again on what it kept, asked and wiped.
//!
//! The few lines of its protocol are ours, so that what a test reads there is not read by the
//! client that the program under test uses.

use crate::ports;
use crate::program::send;
use anyhow::{Context, bail};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for a start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Counts what lies below each prefix and wipes everything, with nothing in between: a string is
/// one id, and so is each field of a hash. Markers are none.
const COUNT_AND_WIPE: &str = r"
local counts = {}
for at, prefix in ipairs(ARGV) do
  local count = 0
  for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do
    if redis.call('TYPE', key).ok == 'hash' then
      count = count + redis.call('HLEN', key)
    elseif not string.find(key, ':marker$') then
      count = count + 1
    end
  end
  counts[at] = count
end
redis.call('FLUSHALL')
return counts";

/// Tells what lies below each prefix: a digest of each id with what is known of it, mark or lease.
const MARKS: &str = r"
local found = {}
for at, prefix in ipairs(ARGV) do
  local marks = {}
  for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do
    if redis.call('TYPE', key).ok == 'hash' then
      local fields = redis.call('HGETALL', key)
      for n = 1, #fields, 2 do
        table.insert(marks, redis.sha1hex(key .. fields[n] .. fields[n + 1]))
      end
    elseif not string.find(key, ':marker$') then
      table.insert(marks, redis.sha1hex(key .. redis.call('GET', key)))
    end
  end
  found[at] = marks
end
return found";

/// What a server keeps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aof {
    /// Nothing.
    No,
    /// Every write, synced once a second.
    Everysec,
    /// Every write, synced before it is answered.
    Always,
}

/// An answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing is there.
    Nil,
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Several.
    List(Vec<Self>),
}

/// A server.
#[derive(Debug)]
pub struct Redis {
    directory: PathBuf,
    /// Of the command line, behind its configuration.
    arguments: &'static [&'static str],
    address: SocketAddr,
    child: Option<Child>,
}

/// Whether there is a `redis-server` on PATH.
#[must_use]
pub fn at_hand() -> bool {
    let asked = Command::new("redis-server").arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

// === impl Redis ===

impl Redis {
    /// Starts a server on `directory`, which it makes, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(directory: &Path, aof: Aof) -> anyhow::Result<Self> {
        let aof = match aof {
            Aof::No => "appendonly no",
            Aof::Everysec => "appendonly yes\nappendfsync everysec",
            Aof::Always => "appendonly yes\nappendfsync always",
        };
        let config = format!("save \"\"\nmaxmemory-policy noeviction\n{aof}\n");
        Self::with(directory, &config, &[]).await
    }

    /// The same with other lines of configuration, and arguments behind it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn with(
        directory: &Path,
        config: &str,
        arguments: &'static [&'static str],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let address = ports::free()?;
        let text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\n{config}\n",
            address.port(),
            directory.display()
        );
        fs::write(directory.join("redis.conf"), text)?;
        let mut redis = Self {
            directory: directory.to_owned(),
            arguments,
            address,
            child: None,
        };
        redis.begin().await?;
        Ok(redis)
    }

    /// Starts it again after [`Redis::kill`], on what it kept, and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn begin(&mut self) -> anyhow::Result<()> {
        let log = self.directory.join("log");
        let log = File::options().create(true).append(true).open(log)?;
        let child = Command::new("redis-server")
            .arg(self.directory.join("redis.conf"))
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.context("cannot start redis-server")?);
        let deadline = Instant::now() + PATIENCE;
        // While it still reads what it kept, it answers with an error.
        while self.ask(&["PING"]).await.is_err() {
            if Instant::now() > deadline {
                let log = self.directory.join("log");
                bail!("no answer of Redis, see {}", log.display());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// `kill -9`.
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

    /// Stops it where it stands, until [`Redis::go_on`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn stand_still(&self) -> anyhow::Result<()> {
        send(self.child.as_ref(), Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn go_on(&self) -> anyhow::Result<()> {
        send(self.child.as_ref(), Signal::CONT)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, as `dedupe.url` wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// The answer to one command, on a connection of its own.
    ///
    /// # Errors
    /// When nothing answers, or an error does.
    pub async fn ask(&self, words: &[&str]) -> anyhow::Result<Reply> {
        timeout(ANSWER, self.exchange(words)).await?
    }

    async fn exchange(&self, words: &[&str]) -> anyhow::Result<Reply> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request(words).as_bytes()).await?;
        read(&mut BufReader::new(stream)).await
    }

    /// What is known below each of `prefixes`: a digest of each id with what is known of it.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub async fn marks(&self, prefixes: &[&str]) -> anyhow::Result<Vec<BTreeSet<String>>> {
        marks(self.ask(&marks_of(prefixes)).await?)
    }

    /// Kills it; nobody has changed anything since it told what was known below each of `prefixes`.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub async fn kill_and_tell(
        &mut self,
        prefixes: &[&str],
    ) -> anyhow::Result<Vec<BTreeSet<String>>> {
        let stopped = ["CLIENT", "PAUSE", "60000", "ALL"];
        let words = request(&["MULTI"])
            + &request(&stopped)
            + &request(&marks_of(prefixes))
            + &request(&["EXEC"]);
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(words.as_bytes()).await?;
        let mut answers = BufReader::new(stream);
        for _queued in 0..3 {
            timeout(ANSWER, read(&mut answers)).await??;
        }
        let done = timeout(ANSWER, read(&mut answers)).await??;
        self.kill()?;
        match done {
            Reply::List(mut replies) if replies.len() == 2 => {
                marks(replies.pop().unwrap_or(Reply::Nil))
            }
            other => bail!("no answer to a transaction: {other:?}"),
        }
    }

    /// Every key that begins with `prefix`, in order.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub async fn keys(&self, prefix: &str) -> anyhow::Result<Vec<String>> {
        let found = self.ask(&["KEYS", &format!("{prefix}*")]).await?;
        let mut keys = found.into_texts()?;
        keys.sort();
        Ok(keys)
    }

    /// Forgets everything. Out: how many ids lay below each of `prefixes` at that very moment.
    ///
    /// # Errors
    /// As [`Redis::ask`].
    pub async fn wipe(&self, prefixes: &[&str]) -> anyhow::Result<Vec<u64>> {
        let words = ["EVAL", COUNT_AND_WIPE, "0"];
        let words: Vec<&str> = words.into_iter().chain(prefixes.iter().copied()).collect();
        let Reply::List(counts) = self.ask(&words).await? else {
            bail!("no counts");
        };
        let count = |reply: &Reply| match reply {
            Reply::Number(count) => Ok(u64::try_from(*count)?),
            other => bail!("no count: {other:?}"),
        };
        counts.iter().map(count).collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Its directory is the test's, and goes with it.
        drop(self.kill());
    }
}

// === impl Reply ===

impl Reply {
    /// The text that it is; nothing else than a text has one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nil | Self::Number(_) | Self::List(_) => None,
        }
    }

    /// The number that it is.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Nil | Self::Text(_) | Self::List(_) => None,
        }
    }

    fn into_texts(self) -> anyhow::Result<Vec<String>> {
        let Self::List(replies) = self else {
            bail!("no list: {self:?}");
        };
        let text = |reply| match reply {
            Self::Text(text) => Ok(text),
            other => bail!("no text: {other:?}"),
        };
        replies.into_iter().map(text).collect()
    }
}

fn request(words: &[&str]) -> String {
    let word = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    format!("*{}\r\n", words.len()) + &words.iter().map(word).collect::<String>()
}

fn marks_of<'a>(prefixes: &[&'a str]) -> Vec<&'a str> {
    let words = ["EVAL", MARKS, "0"].into_iter();
    words.chain(prefixes.iter().copied()).collect()
}

fn marks(told: Reply) -> anyhow::Result<Vec<BTreeSet<String>>> {
    let Reply::List(told) = told else {
        bail!("no marks: {told:?}");
    };
    let set = |marks: Reply| Ok(marks.into_texts()?.into_iter().collect());
    told.into_iter().map(set).collect()
}

type Reading<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Reply>> + Send + 'a>>;

fn read(from: &mut BufReader<TcpStream>) -> Reading<'_> {
    Box::pin(async move {
        let mut line = String::new();
        from.read_line(&mut line).await?;
        let rest = line.get(1..).unwrap_or_default().trim_end();
        let length = || {
            rest.parse::<i64>()
                .with_context(|| format!("no length: {line:?}"))
        };
        match line.as_bytes().first() {
            Some(b'+') => Ok(Reply::Text(rest.to_owned())),
            Some(b':') => Ok(Reply::Number(length()?)),
            Some(b'-') => bail!("Redis says {rest}"),
            Some(b'$') => {
                let Ok(length) = usize::try_from(length()?) else {
                    return Ok(Reply::Nil);
                };
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned()))
            }
            Some(b'*') => {
                let mut replies = Vec::new();
                for _ in 0..length()? {
                    replies.push(read(from).await?);
                }
                Ok(Reply::List(replies))
            }
            _ => bail!("no answer of Redis: {line:?}"),
        }
    })
}
