//! Distributed dedupe through the whole system: a gateway, a log, several replicas of each
//! destination as processes, and a real Redis that they share.
//!
//! Needs a `redis-server` on PATH (`scripts/services/redis fetch`). Where there is none the tests
//! are skipped visibly, and fail where CI=true.

mod failover;
mod faults;
mod locks;
mod outages;
mod shares;
mod six;

use crate::support::{CATCH_UP, repetitions, seed};
use cloudsync_harness::client::{Load, Sent, send_order, send_until};
use cloudsync_harness::deployment::Deployment;
use cloudsync_harness::fleet::{DESTINATIONS, Fleet, Kind, PLAIN, Side};
use cloudsync_harness::ledger::{Count, Told};
use cloudsync_harness::redis::{self, Aof, Redis};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Records that a replica has posted and not marked yet, at most: `destinations.*.concurrency`.
const IN_FLIGHT: u64 = 64;
/// How far the second client of a stream is behind the first.
const BEHIND: Duration = Duration::from_secs(2);

/// A fleet, its Redis, and what clients were told.
struct World {
    fleet: Fleet,
    redis: Deployment,
    told: Told,
    seed: u64,
    choices: StdRng,
    /// Clients beside the stream.
    others: Vec<JoinHandle<anyhow::Result<Sent>>>,
    // Gone last: everything runs on it.
    _data: TempDir,
}

/// Two clients that send the same ids, the second one a little later through the other gateway, so
/// that whatever a gateway remembers each id gets into the log twice.
struct Stream {
    enough: CancellationToken,
    clients: Vec<JoinHandle<anyhow::Result<Sent>>>,
}

/// Both modes and a plain endpoint, each in one layout; with all repetitions, in both.
fn kinds() -> Vec<Kind> {
    if repetitions() >= 10 {
        return all_kinds();
    }
    vec![
        Kind::new("batch", Some("buckets")),
        Kind::new("record", Some("keys")),
        Kind::new(PLAIN, Some("buckets")),
    ]
}

fn all_kinds() -> Vec<Kind> {
    let modes = ["batch", "record", PLAIN];
    let kind = |mode| ["buckets", "keys"].map(|layout| Kind::new(mode, Some(layout)));
    modes.into_iter().flat_map(kind).collect()
}

/// Whether there is a Redis; says so where not.
fn redis_at_hand() -> bool {
    let found = redis::at_hand();
    if !found {
        let how = "redis-server is missing: scripts/services/redis fetch, then its folder on PATH";
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "{how}");
        println!("SKIPPED: {how}");
    }
    found
}

// === impl World ===

impl World {
    /// A fleet of `kinds`; `None` where there is no Redis.
    async fn start(kinds: &[Kind], aof: Aof) -> Option<Self> {
        Self::start_for(kinds, &DESTINATIONS, aof).await
    }

    /// The same with `destinations` only.
    async fn start_for(kinds: &[Kind], destinations: &[&'static str], aof: Aof) -> Option<Self> {
        if !redis_at_hand() {
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let redis = Deployment::one(&data.path().join("redis"), aof).await;
        Some(Self::on(redis.unwrap(), data, kinds, destinations).await)
    }

    /// The same on `redis`, all below `data`.
    async fn on(
        redis: Deployment,
        data: TempDir,
        kinds: &[Kind],
        destinations: &[&'static str],
    ) -> Self {
        let seed = seed();
        let began = Instant::now();
        let fleet = Fleet::start(data.path(), kinds, destinations, Some(&redis.url));
        let fleet = fleet.await.unwrap();
        // One that is ready may still be without partitions, when others came first.
        let shared = |fleet: &Fleet| fleet.sides.iter().all(Side::is_shared);
        until("partitions are shared", CATCH_UP, &fleet, shared).await;
        println!("the fleet is complete after {:?}", began.elapsed());
        Self {
            fleet,
            redis,
            told: Told::default(),
            seed,
            choices: StdRng::seed_from_u64(seed),
            others: Vec::new(),
            _data: data,
        }
    }

    /// The server that everybody asks first.
    fn redis(&mut self) -> &mut Redis {
        self.redis.servers.first_mut().unwrap()
    }

    fn load(&self, prefix: &str, gateway: usize) -> Load {
        Load {
            endpoint: self.fleet.endpoint(gateway),
            prefix: prefix.to_owned(),
            records: 0,
            keys: 500,
            resend: 0.0,
            rate: None,
            seed: self.seed,
        }
    }

    /// Sends `order` of the records `prefix` through `gateway`.
    async fn send(&mut self, prefix: &str, gateway: usize, order: Vec<u32>) {
        let sent = send_order(self.load(prefix, gateway), order).await;
        self.told.add(sent.unwrap());
    }

    /// Everything that there is, once there is nothing left to do.
    async fn count(&self) -> Count {
        self.fleet.at_rest(CATCH_UP * 2).await.unwrap();
        Count::of(&self.fleet, &self.told).await.unwrap()
    }

    /// Begins to send `rate` ids a second, each twice and some more often.
    fn stream(&self, rate: u32) -> Stream {
        let enough = CancellationToken::new();
        let client = |gateway| {
            let load = Load {
                // Hours' worth: it ends when it is enough.
                records: rate * 10_000,
                resend: 0.1,
                rate: Some(rate),
                ..self.load("stream", gateway)
            };
            let enough = enough.clone();
            let later = if gateway == 0 { Duration::ZERO } else { BEHIND };
            let sending = async move {
                sleep(later).await;
                send_until(load, enough).await
            };
            #[expect(clippy::disallowed_methods, reason = "a test awaits its own task")]
            tokio::spawn(sending)
        };
        Stream {
            clients: vec![client(0), client(1)],
            enough,
        }
    }

    /// Ends `stream` and counts.
    async fn finish(&mut self, stream: Stream) -> Count {
        let early = stream.clients.iter().filter(|it| it.is_finished()).count();
        stream.enough.cancel();
        for client in stream.clients.into_iter().chain(self.others.drain(..)) {
            let sent = tokio::time::timeout(CATCH_UP, client).await.unwrap();
            self.told.add(sent.unwrap().unwrap());
        }
        assert_eq!(early, 0, "clients that had nothing more to send");
        let count = self.count().await;
        println!("  TEST_SEED={} {count}", self.seed);
        count
    }

    /// Nothing is lost; nothing is there twice in `record` mode, and in `batch` mode only what the
    /// store forgot (`wiped`, by side) or could not be asked for; at a plain endpoint also what was
    /// on its way in each of `faults` of a replica.
    fn holds(&self, count: &Count, wiped: Option<&[u64]>, faults: u32) {
        assert_eq!((count.lag, count.dead_letters), (0, 0), "{count}");
        let kept = count.records + count.gateway_duplicates;
        assert!(kept >= count.acked, "{count}");
        for (at, (row, side)) in count.sides.iter().zip(&self.fleet.sides).enumerate() {
            let verdict = &row.verdict;
            let said = || format!("{}: {}\n{}", row.side, verdict.summary(), side.tail());
            assert!(verdict.is_clean_but_for_resends(), "{}", said());
            let forgotten = wiped.map_or(0, |wiped| wiped[at]) + row.bypassed;
            let bound = match side.kind.mode {
                "record" => 0,
                PLAIN => forgotten + IN_FLIGHT * u64::from(faults),
                _ => forgotten,
            };
            assert!(verdict.doubled.len() as u64 <= bound, "{bound}: {}", said());
        }
    }
}

/// Waits until `holds` of the fleet, looking again and again.
async fn until(what: &str, patience: Duration, fleet: &Fleet, holds: impl Fn(&Fleet) -> bool) {
    let deadline = Instant::now() + patience;
    while !holds(fleet) {
        let tails = || {
            fleet
                .sides
                .iter()
                .map(|side| side.tail())
                .collect::<Vec<_>>()
        };
        assert!(
            Instant::now() < deadline,
            "{what}: not within {patience:?}\n{}",
            tails().join("\n")
        );
        sleep(Duration::from_millis(50)).await;
    }
}
