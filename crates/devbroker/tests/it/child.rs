//! A broker in a process of its own, to be killed: this test binary, started again.

use std::io::{BufRead, BufReader, Lines, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use cloudsync_devbroker::Broker;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::client::on_disk;

const DIR: &str = "DEVBROKER_TEST_DIR";
const LISTEN: &str = "DEVBROKER_TEST_LISTEN";
const FILES: &str = "DEVBROKER_TEST_FILES";
const MARK: &str = "broker at ";

/// A broker process; killed when dropped.
pub(crate) struct BrokerProcess {
    child: Child,
    /// Held open: after a minute the test framework has a word to say there.
    _said: Lines<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl BrokerProcess {
    pub(crate) fn start(dir: &Path, listen: &str) -> Self {
        Self::run(command(dir, listen))
    }

    /// With this many open files at most, and fewer until it asks for more.
    pub(crate) fn with_few_files(dir: &Path, files: u64) -> Self {
        let mut command = command(dir, "127.0.0.1:0");
        command.env(FILES, files.to_string());
        Self::run(command)
    }

    /// On a disk of its own, of so many MiB, mounted at `mount` where only that process sees it.
    /// `None`, which is said, where this machine does not allow that.
    #[expect(clippy::print_stderr, reason = "a skip is to be seen")]
    pub(crate) fn on_small_disk(mount: &Path, mebibytes: u32) -> Option<Self> {
        let unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c"];
        let mount_there = format!(
            "mount -t tmpfs -o size={mebibytes}m none '{}'",
            mount.display()
        );
        let allowed = Command::new(unshare[0])
            .args(&unshare[1..])
            .arg(&mount_there)
            .output();
        if !allowed.is_ok_and(|output| output.status.success()) {
            let ci = std::env::var("CI").as_deref() == Ok("true");
            assert!(!ci, "a disk cannot be mounted here, and CI=true");
            eprintln!("skipped: this user cannot mount a disk in a namespace of their own");
            return None;
        }
        let inner = command(&mount.join("log"), "127.0.0.1:0");
        let mut outer = Command::new(unshare[0]);
        outer
            .args(&unshare[1..])
            .arg(format!("{mount_there} && exec \"$0\" \"$@\""))
            .arg(inner.get_program())
            .args(inner.get_args());
        for (key, value) in inner.get_envs() {
            outer.env(key, value.unwrap_or_default());
        }
        Some(Self::run(outer))
    }

    fn run(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.split_once(MARK)
                .map(|(_, address)| address.parse::<SocketAddr>().unwrap())
        });
        let Some(address) = said else {
            panic!("broker process ended: {:?}", child.wait());
        };
        Self {
            child,
            _said: lines,
            address,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it ever had resident.
    pub(crate) fn peak_mebibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.unwrap().trim().trim_end_matches(" kB");
        kibibytes.parse::<u64>().unwrap() >> 10
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn command(dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child::serve", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(LISTEN, listen);
    command
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
#[ignore = "the broker process of other tests, not a test"]
fn serve() {
    let (Ok(dir), Ok(listen)) = (std::env::var(DIR), std::env::var(LISTEN)) else {
        return;
    };
    if let Ok(files) = std::env::var(FILES) {
        let maximum = files.parse().unwrap();
        let limit = Rlimit {
            current: Some(maximum / 4),
            maximum: Some(maximum),
        };
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    let mut config = on_disk(Path::new(&dir));
    config.listen = listen.parse().unwrap();
    config.retention_check = Duration::from_millis(500);
    let broker = Broker::start(config).unwrap();
    println!("{MARK}{}", broker.address());
    // Ends with the process that started it, if not before.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
