//! What a broker is started with: where it listens, where it stores, how much it takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one broker. `Default` is a memory broker on a free loopback port.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where to listen; loopback only, port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Where records live. Default [`Storage::Memory`].
    pub storage: Storage,
    /// When records reach the disk. Default every second.
    pub fsync: Fsync,
    /// Size in bytes at which a segment file is closed and the next begun. Default 64 MiB.
    pub segment_bytes: u64,
    /// Largest record batch in bytes, for topics without `max.message.bytes`. Default 1,048,588
    /// (Kafka's).
    pub max_message_bytes: usize,
    /// Largest request frame in bytes. Default 100 MiB (Kafka's).
    pub max_frame_bytes: usize,
    /// Bytes of requests and answers held in memory at once, over all connections, beside those
    /// of at most 64 KiB. One largest frame and eight ordinary requests and answers (of one batch)
    /// always fit. Default 256 MiB.
    pub max_buffered_bytes: usize,
    /// A client that neither sends more of a frame it began nor takes more of its answer is cut
    /// off after this time; after 5 s at most while others wait for the memory it holds. Default
    /// 60 s.
    pub stall_timeout: Duration,
    /// Open connections; one more is closed at once. Fewer where the limit of open files is low:
    /// they get three eighths of it at most. Default 1,024.
    pub max_connections: usize,
    /// Bytes of records that [`Storage::Memory`] holds; then producers get a storage error.
    /// Default 2 GiB.
    pub memory_limit: u64,
    /// Groups without whose commit no record is dropped, whatever its topic's retention says: a
    /// group that has committed nothing holds everything back. Their commits never expire. Default
    /// none.
    pub retain_for: Vec<String>,
    /// How often records that are not to be kept are looked for. Default 5 minutes (Kafka's).
    pub retention_check: Duration,
    /// How long commits are kept after the last member of their group left, or where it never had
    /// any, after each was made; looked at with `retention_check`. Default 7 days (Kafka's
    /// `offsets.retention.minutes`).
    pub offsets_retention: Duration,
    /// How long an empty group waits for more members after the first. Default 100 ms.
    pub first_join_delay: Duration,
    /// How far the synced reservation runs ahead of a partition's end, in offsets. Default
    /// 1,000,000.
    pub reservation_step: i64,
    /// File whose content names the current boot of the machine; unreadable counts as another
    /// boot. Default `/proc/sys/kernel/random/boot_id`.
    pub boot_id_file: PathBuf,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            storage: Storage::Memory,
            fsync: Fsync::Every(Duration::from_secs(1)),
            segment_bytes: 64 << 20,
            max_message_bytes: 1_048_588,
            max_frame_bytes: 100 << 20,
            max_buffered_bytes: 256 << 20,
            stall_timeout: Duration::from_secs(60),
            max_connections: 1_024,
            memory_limit: 2 << 30,
            retain_for: Vec::new(),
            retention_check: Duration::from_secs(300),
            offsets_retention: Duration::from_secs(7 * 86_400),
            first_join_delay: Duration::from_millis(100),
            reservation_step: 1_000_000,
            boot_id_file: PathBuf::from("/proc/sys/kernel/random/boot_id"),
        }
    }
}

/// Where records live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In memory, gone with the broker.
    Memory,
    /// In this directory, created if absent and locked while the broker runs.
    Dir(PathBuf),
    /// In this directory, which is read as it lies there: nothing in it is made, mended or
    /// changed, and no other broker may write it meanwhile. What is damaged is passed over and
    /// told by [`crate::Broker::damage`]; records are refused, and what groups commit is forgotten.
    ReadOnly(PathBuf),
}

/// When records reach the disk. Either way they outlive the process once acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before they are acknowledged and before anyone reads them.
    Always,
    /// In the background, this often; a power cut may cost the records of one interval.
    Every(Duration),
}
