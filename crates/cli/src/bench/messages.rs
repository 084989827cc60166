//! What a bench and its processes say to each other: one JSON object a line.
//!
//! In, on a process's stdin: a [`Job`], then [`Question`]s. Out, on its stdout: one [`Answer`] to
//! each, the job included. The end of stdin is the end of the process.

use crate::settings::Settings;
use cloudsync::identity::Id16;
use cloudsync_consumers::IdTally;
use cloudsync_dedupe::DedupeSettings;
use cloudsync_dedupe::floor::Work;
use cloudsync_kafka::KafkaSettings;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a process is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    /// The embedded log, with its directory; makes the topics.
    Log {
        settings: Box<Settings>,
        directory: PathBuf,
    },
    /// The gateway.
    Gateway { settings: Box<Settings> },
    /// The consumer of one destination, from [`Question::Start`] on; maybe without dedupe.
    Consumer {
        settings: Box<Settings>,
        destination: String,
        dedupe: bool,
    },
    /// A Redis, with its directory.
    Redis { directory: PathBuf },
    /// The calls of a consumer to its dedupe store, or what that is held against.
    Store { dedupe: Box<DedupeSettings> },
    /// The clients.
    Load(LoadJob),
    /// Floor: records straight into the log, by the gateway's producer.
    Produce {
        kafka: Box<KafkaSettings>,
        payload_bytes: usize,
    },
    /// Floor: records out of the log, and dropped.
    Fetch { kafka: Box<KafkaSettings> },
    /// Floor: gRPC and HTTP with nothing behind them; or, with a log, each line of a body straight
    /// into its topic.
    Server { log: Option<Box<KafkaSettings>> },
}

/// The clients of a bench.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LoadJob {
    pub(crate) way: Way,
    pub(crate) connections: usize,
    /// Most records of a batch; of `http` those of each body.
    pub(crate) batch: usize,
    pub(crate) payload_bytes: usize,
}

/// How records reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Streams of batches.
    Stream,
    /// One gRPC call a record.
    Unary,
    /// HTTP POSTs, of one record or of many as lines.
    Http,
}

/// What a running process is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// Of a consumer: begin.
    Start,
    /// Of a consumer: what has become of the records.
    State,
    /// Of a consumer: finish, leave the group, then the same.
    Drain,
    /// Of the calls to a store: one turn.
    Turn(Turn),
    /// Of the calls to a store: so many new ids, for their memory.
    Fill { ids: u64 },
    /// Of the calls to a store: open what lies on the disk.
    Open,
    /// Of the clients: send.
    Run(Run),
    /// Of the floor: so many records into the topic.
    Produce {
        topic: String,
        records: u64,
        /// Records a second.
        rate: Option<f64>,
        /// Whether to sum up the ids, which costs time.
        ids: bool,
    },
    /// Of the floor: the first so many records of the topic.
    Fetch { topic: String, records: u64 },
}

/// Calls to a dedupe store for a while.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) work: Work,
    /// Ids of a call.
    pub(crate) batch: usize,
    pub(crate) seconds: f64,
    /// What the store is held against, in its place.
    pub(crate) floor: bool,
}

/// One run of the clients.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) gateway: SocketAddr,
    pub(crate) seconds: f64,
    /// Records a second, over all connections.
    pub(crate) rate: Option<f64>,
    /// Share of the records that is sent again.
    pub(crate) resend: f64,
    pub(crate) most_records: u64,
}

/// What a process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It runs, and listens there if it listens; with the number of the process that does the
    /// work, if that is another one.
    Up {
        address: Option<SocketAddr>,
        pid: Option<u32>,
    },
    /// What became of a run.
    Load(Box<LoadReport>),
    /// Where a consumer is.
    State(ConsumerState),
    /// What the floor has done.
    Done(Done),
    /// What calls to a store have come to.
    Called(Called),
    /// It did not work, in a sentence.
    Failed(String),
}

/// What became of a run of the clients.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    pub(crate) sent: Sent,
    /// From the beginning to the last acknowledgement.
    pub(crate) seconds: f64,
    /// Microseconds until the acknowledgement, and how often.
    pub(crate) latencies: Vec<(u64, u64)>,
    pub(crate) points: Vec<Point>,
}

/// Sends, and what the gateway said to them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Acknowledged, repetitions included.
    pub(crate) acked: u64,
    /// Of these, repetitions on purpose.
    pub(crate) resent: u64,
    /// Refused or failed for good.
    pub(crate) refused: u64,
    /// Due before the end, and never sent: the rate is more than was carried.
    pub(crate) unsent: u64,
    /// Sent once more by the client itself.
    pub(crate) retried: u64,
    /// Duplicates that the gateway recognised.
    pub(crate) duplicates: u64,
    /// Each id that was acknowledged, once.
    pub(crate) ids: Sum,
    /// One of them.
    pub(crate) last: Option<Sum>,
    /// The first refusal.
    pub(crate) complaint: Option<String>,
}

/// A stretch of a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Its end, from the beginning of the run.
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Where a consumer is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConsumerState {
    /// Ids in the objects that it created.
    pub(crate) ids: Sum,
    /// Ids that it asked its dedupe store for.
    pub(crate) looked_up: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicates: u64,
    /// Dead letters, and records for other destinations.
    pub(crate) set_aside: u64,
    pub(crate) redelivered: u64,
    /// Memory of the dedupe table.
    pub(crate) dedupe_bytes: u64,
    /// Ids that it forgot before their window ended.
    pub(crate) dedupe_evicted: u64,
    pub(crate) effective_window_seconds: Option<f64>,
}

/// What the floor has done.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    /// Ids that were produced.
    pub(crate) ids: Sum,
    pub(crate) last: Option<Sum>,
}

/// What calls to a store have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Called {
    /// Ids that were asked for and marked; of opening: that it knew.
    pub(crate) ids: u64,
    /// Of these, answered as new; all of them shall be.
    pub(crate) new: u64,
    pub(crate) seconds: f64,
    /// Processor time of the process that calls.
    pub(crate) client_seconds: f64,
    /// Processor time of the Redis meanwhile, where there is one.
    pub(crate) redis_seconds: Option<f64>,
    /// Memory that has come to it: of the Redis, else of the process.
    pub(crate) bytes: u64,
}

/// An [`IdTally`] that can be said, added and taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sum(#[serde(with = "TallyJson")] IdTally);

#[derive(Serialize, Deserialize)]
#[serde(remote = "IdTally")]
struct TallyJson {
    count: u64,
    sum: u128,
}

// === impl Sum, Sent, ConsumerState ===

impl From<IdTally> for Sum {
    fn from(tally: IdTally) -> Self {
        Self(tally)
    }
}

impl Sum {
    /// One id.
    pub(crate) fn one(id: Id16) -> Self {
        let mut tally = IdTally::default();
        tally.add(id);
        tally.into()
    }

    /// How many ids.
    pub(crate) fn count(self) -> u64 {
        self.0.count
    }

    /// Both together.
    #[must_use]
    pub(crate) fn with(self, more: Self) -> Self {
        Self(IdTally {
            count: self.0.count + more.0.count,
            sum: self.0.sum.wrapping_add(more.0.sum),
        })
    }

    /// Without those of `less`.
    #[must_use]
    pub(crate) fn without(self, less: Self) -> Self {
        Self(IdTally {
            count: self.0.count.wrapping_sub(less.0.count),
            sum: self.0.sum.wrapping_sub(less.0.sum),
        })
    }
}

impl Sent {
    /// Counts one acknowledged record; `again`: its id was counted before.
    pub(crate) fn acked(&mut self, id: Id16, again: bool) {
        self.acked += 1;
        if again {
            self.resent += 1;
            return;
        }
        let id = Sum::one(id);
        self.ids = self.ids.with(id);
        self.last = Some(id);
    }

    /// Counts `records` that were refused.
    pub(crate) fn refused(&mut self, records: u64, why: impl FnOnce() -> String) {
        self.refused += records;
        self.complaint.get_or_insert_with(why);
    }

    /// Adds what another connection, or another run, has sent.
    pub(crate) fn add(&mut self, more: Self) {
        self.acked += more.acked;
        self.resent += more.resent;
        self.refused += more.refused;
        self.unsent += more.unsent;
        self.retried += more.retried;
        self.duplicates += more.duplicates;
        self.ids = self.ids.with(more.ids);
        self.last = more.last.or(self.last);
        self.complaint = self.complaint.take().or(more.complaint);
    }
}

impl ConsumerState {
    /// Records that it is done with.
    pub(crate) fn settled(&self) -> u64 {
        self.delivered + self.duplicates + self.set_aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_survive_json_and_take_back_what_they_added() {
        let (one, two) = (Sum::one(Id16([0xff; 16])), Sum::one(Id16([7; 16])));
        let both = one.with(two);
        assert_eq!(both.count(), 2);
        assert_eq!(both.without(two), one);
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<Sum>(&text).unwrap(), both);
        let ids = one;
        let done = Answer::Done(Done {
            ids,
            ..Done::default()
        });
        let text = serde_json::to_string(&done).unwrap();
        assert!(
            matches!(serde_json::from_str(&text).unwrap(), Answer::Done(done) if done.ids == one)
        );
        let mut sent = Sent::default();
        sent.acked(Id16([7; 16]), false);
        sent.acked(Id16([7; 16]), true);
        assert_eq!((sent.acked, sent.resent, sent.ids), (2, 1, two));
    }
}
