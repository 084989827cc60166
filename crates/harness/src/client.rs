//! Streams records through the public client and writes down what it was told.

use crate::journal::{Journal, Name};
use anyhow::Context;
use cloudsync::client::{ClientSettings, StreamStats, Verdict};
use cloudsync::{Client, DEFAULT_TENANT, SyncRecord};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// What a run sends.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where to.
    pub endpoint: String,
    /// Begins every request id; another one at each client of a run.
    pub prefix: String,
    /// Different records.
    pub records: u32,
    /// Different keys.
    pub keys: u32,
    /// Share of them that is sent a second time, under the same id.
    pub resend: f64,
    /// Records a second; `None`: as fast as it goes.
    pub rate: Option<u32>,
    /// Seed of the choices.
    pub seed: u64,
}

/// What became of a run.
#[derive(Debug)]
pub struct Sent {
    /// What the client sent and was told.
    pub journal: Journal,
    /// Its own counts.
    pub stats: StreamStats,
}

/// Sends everything, waiting for every verdict.
///
/// # Errors
/// When the stream gives up, or a record is refused for good.
pub async fn send(load: Load) -> anyhow::Result<Sent> {
    send_until(load, CancellationToken::new()).await
}

/// Sends everything, or as much as there is until `enough`, waiting for every verdict.
///
/// # Errors
/// As [`send`].
pub async fn send_until(load: Load, enough: CancellationToken) -> anyhow::Result<Sent> {
    let mut choices = StdRng::seed_from_u64(load.seed);
    let mut earlier: Vec<u32> = Vec::new();
    let resend = load.resend;
    let order = (0..load.records).flat_map(move |n| {
        let again = choices.random_bool(resend) && !earlier.is_empty();
        let other = again.then(|| earlier[choices.random_range(0..earlier.len())]);
        earlier.push(n);
        std::iter::once(n).chain(other)
    });
    send_while(load, order, enough).await
}

/// Sends the records of `load` that `order` names, in that order, however often it names them.
///
/// # Errors
/// As [`send`].
pub async fn send_order(load: Load, order: Vec<u32>) -> anyhow::Result<Sent> {
    send_while(load, order.into_iter(), CancellationToken::new()).await
}

async fn send_while(
    load: Load,
    order: impl Iterator<Item = u32> + Send,
    enough: CancellationToken,
) -> anyhow::Result<Sent> {
    let settings = ClientSettings {
        give_up_after: Duration::from_secs(120),
        backoff_limit: Duration::from_millis(500),
        window_records: 4_000,
        ..ClientSettings::to(load.endpoint.clone())
    };
    let (mut records, mut verdicts) = Client::new(settings)?.stream().split();
    let given = Arc::new(Mutex::new((Journal::new(), Vec::<Name>::new())));
    let book = Arc::clone(&given);
    let giving = async move {
        let start = Instant::now();
        for (count, n) in (0u32..).zip(order) {
            if enough.is_cancelled() {
                break;
            }
            if let Some(rate) = load.rate {
                sleep_until(start + Duration::from_secs(1) * count / rate).await;
            }
            let record = record(&load, n);
            note(&book, &record)?;
            records.send(record).await?;
        }
        records.finish();
        anyhow::Ok(())
    };
    let (gave, stats) = tokio::join!(giving, listen(&mut verdicts, &given));
    gave?;
    let stats = stats?;
    let (journal, _) = Arc::into_inner(given)
        .context("still sending")?
        .into_inner()
        .map_err(poisoned)?;
    Ok(Sent { journal, stats })
}

async fn listen(
    verdicts: &mut cloudsync::client::Verdicts,
    given: &Mutex<(Journal, Vec<Name>)>,
) -> anyhow::Result<StreamStats> {
    while let Some(verdict) = verdicts.next().await {
        match verdict? {
            Verdict::Acked(range) => {
                let mut given = given.lock().map_err(poisoned)?;
                for sequence in range {
                    let name = given.1[usize::try_from(sequence)?].clone();
                    given.0.acked(&name);
                }
            }
            Verdict::Rejected {
                sequence,
                rejection,
            } => {
                anyhow::bail!("record {sequence} refused: {}", rejection.message)
            }
        }
    }
    Ok(verdicts.stats())
}

/// Record `n` of a load: the same one at every call.
#[must_use]
pub fn record(load: &Load, n: u32) -> SyncRecord {
    let key = format!("key-{}", n % load.keys.max(1));
    let payload = format!(
        r#"{{"n":{n},"run":"{}","filler":"{:064x}","tail":[1,2.50,"\u00e9"]}}"#,
        load.prefix,
        u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
    );
    SyncRecord {
        request_id: format!("{}-{n:08}", load.prefix),
        key,
        payload: payload.into(),
        content_type: "application/json".into(),
        ..SyncRecord::default()
    }
}

fn note(book: &Mutex<(Journal, Vec<Name>)>, record: &SyncRecord) -> anyhow::Result<()> {
    let name = Name {
        tenant: DEFAULT_TENANT.to_owned(),
        key: record.key.clone(),
        id: record.request_id.clone(),
    };
    let mut book = book.lock().map_err(poisoned)?;
    book.0
        .given(name.clone(), &record.payload, &record.destinations);
    book.1.push(name);
    Ok(())
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> anyhow::Error {
    anyhow::anyhow!("the other half of the run panicked")
}
