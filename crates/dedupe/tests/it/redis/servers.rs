//! Real Redis servers on free loopback ports, started for the tests that use them.
//!
//! Each server has a keeper, a shell that ends it as soon as this process is gone, however that
//! comes. Without a `redis-server` on PATH a test is skipped visibly, and fails where CI=true.

use redis::{Client, Connection};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::park_timeout;
use std::time::{Duration, SystemTime};

/// Longest wait for a server, a fail-over or a Cluster to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const KEEPER: &str = r#"
dir=$1; shift
"$@" </dev/null >>"$dir/log" 2>&1 &
echo $!
keep=$(cat)
kill -9 $!
wait $!
[ -n "$keep" ] || rm -rf "$dir"
"#;

/// Waits until `holds`; panics with `what` when it does not come about.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = SystemTime::now();
    while !holds() {
        let waited = began.elapsed().unwrap_or_default();
        assert!(waited < PATIENCE, "{what}: not within {PATIENCE:?}");
        park_timeout(Duration::from_millis(20));
    }
}

/// Whether servers can be started here; says so once where not.
pub(crate) fn at_hand() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let found = Command::new("redis-server")
            .arg("--version")
            .output()
            .is_ok();
        if !found {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "redis-server is missing: apt-get install redis-server");
            eprintln!("SKIPPED: redis-server is missing: apt-get install redis-server");
        }
        found
    })
}

/// One server, or a Sentinel.
pub(crate) struct Server {
    pub(crate) port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    keeper: Option<Child>,
    pid: u32,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("cloudsync-redis-{}-{n}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(&dir).unwrap();
    dir
}

// === impl Server ===

impl Server {
    /// A server with the lines `config` in its configuration.
    pub(crate) fn start(config: &str) -> Self {
        Self::on(free_port(), "port", config, &[])
    }

    /// A server that speaks TLS only.
    pub(crate) fn start_tls(config: &str) -> Self {
        Self::on(free_port(), "port 0\ntls-port", config, &[])
    }

    fn on(port: u16, key: &str, config: &str, arguments: &[&str]) -> Self {
        let dir = fresh_dir();
        let path = dir.join("redis.conf");
        let text = format!(
            "{key} {port}\nbind 127.0.0.1\ndir {}\n{config}\n",
            dir.display()
        );
        fs::write(&path, text).unwrap();
        let mut words = vec![path.display().to_string()];
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        let mut server = Self {
            port,
            dir,
            arguments: words,
            keeper: None,
            pid: 0,
        };
        server.begin();
        server
    }

    /// Starts it again after [`Server::kill`], with what it kept on disk.
    pub(crate) fn begin(&mut self) {
        let dir = self.dir.display().to_string();
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", &dir, "redis-server"])
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = keeper.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        self.pid = line.trim().parse().unwrap();
        self.keeper = Some(keeper);
        let port = self.port;
        let log = self.dir.join("log");
        until(&format!("a server on {port} ({})", log.display()), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.end();
    }

    /// Sends a signal, such as STOP or CONT.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid.to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success(), "kill -s {name} {pid}");
    }

    fn end(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            // Whoever ends a server has done with its data or starts it again; where this process
            // ends first, the keeper clears up.
            if let Some(mut stdin) = keeper.stdin.take() {
                stdin.write_all(b"keep").unwrap();
            }
            drop(keeper.wait());
        }
    }

    /// A connection of the test's own.
    pub(crate) fn connection(&self) -> Connection {
        self.connection_as("")
    }

    /// A connection with `credentials`, as in `user:password@`.
    pub(crate) fn connection_as(&self, credentials: &str) -> Connection {
        let url = format!("redis://{credentials}127.0.0.1:{}", self.port);
        let client = Client::open(url).unwrap();
        let mut found = None;
        until(&format!("an answer of {}", self.port), || {
            found = client.get_connection_with_timeout(PATIENCE).ok();
            found.is_some()
        });
        found.unwrap()
    }

    /// The answer to a command, as text.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        let answer = command.query::<redis::Value>(&mut self.connection());
        match answer.unwrap() {
            redis::Value::BulkString(text) => String::from_utf8_lossy(&text).into_owned(),
            redis::Value::SimpleString(text) => text,
            redis::Value::Okay => "OK".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// What `INFO` says of `field`.
    pub(crate) fn info(&self, field: &str) -> String {
        let info = self.ask(&["INFO", "everything"]);
        let mut lines = info.lines();
        let line = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Servers behind one URL.
pub(crate) struct Deployment {
    /// Of Sentinel: the master, the replica, then three Sentinels.
    pub(crate) servers: Vec<Server>,
    pub(crate) url: String,
}

const PLAIN: &str = "save \"\"\nrepl-diskless-sync-delay 0\n";

// === impl Deployment ===

impl Deployment {
    pub(crate) fn standalone() -> Self {
        let server = Server::start(PLAIN);
        let url = format!("redis://127.0.0.1:{}/0", server.port);
        let servers = vec![server];
        Self { servers, url }
    }

    /// A master, a replica and three Sentinels that agree by two, and fail over once the master has
    /// not answered for `down_after`.
    pub(crate) fn sentinel(down_after: Duration) -> Self {
        let master = Server::start(PLAIN);
        let port = master.port;
        let replica = Server::start(&format!("{PLAIN}replicaof 127.0.0.1 {port}\n"));
        until("replication", || replica.info("master_link_status") == "up");
        let config = format!(
            "sentinel monitor mymaster 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds mymaster {}\n\
             sentinel failover-timeout mymaster 5000\n",
            down_after.as_millis()
        );
        let sentinel = || Server::on(free_port(), "port", &config, &["--sentinel"]);
        let sentinels = [sentinel(), sentinel(), sentinel()];
        let addresses = sentinels
            .each_ref()
            .map(|s| format!("127.0.0.1:{}", s.port));
        for sentinel in &sentinels {
            until("the Sentinels", || {
                let info = sentinel.ask(&["INFO", "sentinel"]);
                info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
            });
        }
        let url = format!("redis+sentinel://{}/mymaster", addresses.join(","));
        let servers = [master, replica].into_iter().chain(sentinels).collect();
        Self { servers, url }
    }

    /// Three masters.
    pub(crate) fn cluster() -> Self {
        let buses = [free_port(), free_port(), free_port()];
        let node = |bus| {
            Server::start(&format!(
                "{PLAIN}cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000\n"
            ))
        };
        let servers: Vec<Server> = buses.into_iter().map(node).collect();
        for (n, server) in servers.iter().enumerate() {
            let mut slots = vec!["CLUSTER".to_owned(), "ADDSLOTSRANGE".to_owned()];
            let bounds = [0, 5_461, 10_923, 16_384];
            slots.push(bounds[n].to_string());
            slots.push((bounds[n + 1] - 1).to_string());
            let words: Vec<&str> = slots.iter().map(String::as_str).collect();
            server.ask(&words);
            let epoch = (n + 1).to_string();
            server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
        let (port, bus) = (servers[0].port.to_string(), buses[0].to_string());
        for other in &servers[1..] {
            other.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        for server in &servers {
            until("the Cluster", || {
                let info = server.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
        let mut url = "redis+cluster://".to_owned();
        for (n, server) in servers.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(url, "{comma}127.0.0.1:{}", server.port).unwrap();
        }
        Self { servers, url }
    }

    /// The servers that hold data.
    pub(crate) fn data(&self) -> impl Iterator<Item = &Server> {
        let sentinels = self.url.contains("+sentinel");
        let data = if sentinels { 2 } else { self.servers.len() };
        self.servers.iter().take(data)
    }

    /// The servers of one kind that all tests share, each in a namespace of its own.
    pub(crate) fn shared(shape: Shape) -> &'static Self {
        static SHARED: [OnceLock<Deployment>; 3] = [const { OnceLock::new() }; 3];
        let (at, start): (usize, fn() -> Self) = match shape {
            Shape::Standalone => (0, Self::standalone),
            // Nobody kills it, and a machine that stands still is no reason to fail over.
            Shape::Sentinel => (1, || Self::sentinel(PATIENCE)),
            Shape::Cluster => (2, Self::cluster),
        };
        SHARED[at].get_or_init(start)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Standalone,
    Sentinel,
    Cluster,
}
