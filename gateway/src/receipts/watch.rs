//! Watching receipts until they are final.
//!
//! In: the names of records. Out: a stream of answers: all receipts, then those that changed.
//! Promises: looks every [`TICK`] and only at what is not final yet; asks nothing while its client
//! does not read; ends when everything is final, when something cannot be told, and with `DRAINING`
//! when the gateway stops.

use super::asked::{busy, check};
use super::commits::FRESH;
use super::{Receipts, Record, WATCHERS};
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use cloudsync::v1::{GetReceiptRequest, Receipt, WatchReceiptsResponse};
use cloudsync_runtime::Shutdown;
use futures::Stream;
use futures::stream::unfold;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// How often it looks.
const TICK: Duration = FRESH;
/// Most records of one call.
const MAX_WATCHED: usize = 1_000;
/// Most receipts of one answer.
const AT_ONCE: usize = 100;

/// One call.
struct Watch {
    receipts: Arc<Receipts>,
    shutdown: Shutdown,
    /// Those that are not final, with what was told of them last.
    open: Vec<(Record, Option<Receipt>)>,
    /// What is to be told before the next look.
    news: VecDeque<Receipt>,
    next: Instant,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// Begins to watch the records `names`.
pub(crate) async fn watch(
    receipts: Arc<Receipts>,
    shutdown: Shutdown,
    names: Vec<GetReceiptRequest>,
) -> Result<impl Stream<Item = Result<WatchReceiptsResponse, Status>> + Send, Refusal> {
    if !(1..=MAX_WATCHED).contains(&names.len()) {
        let count = names.len();
        let text = format!("records has {count} entries, it must have 1 to {MAX_WATCHED}");
        return Err(Refusal::of_field(ErrorReason::BatchSize, "records", text));
    }
    names.iter().try_for_each(check)?;
    let place = Arc::clone(&receipts.watchers).try_acquire_owned();
    let place = place.map_err(|_| busy("calls watch receipts", WATCHERS))?;
    let records = receipts.records(names).await?;
    let watch = Watch {
        receipts,
        shutdown,
        open: records.into_iter().map(|record| (record, None)).collect(),
        news: VecDeque::new(),
        next: Instant::now(),
        ended: false,
        _place: place,
    };
    Ok(unfold(watch, |mut watch| async {
        let answer = watch.answer().await?;
        watch.ended = answer.is_err();
        Some((answer.map_err(|refusal| refusal.to_status()), watch))
    }))
}

// === impl Watch ===

impl Watch {
    /// The next answer; `None` behind the last one.
    async fn answer(&mut self) -> Option<Result<WatchReceiptsResponse, Refusal>> {
        while self.news.is_empty() {
            if self.open.is_empty() || self.ended {
                return None;
            }
            if let Err(refusal) = self.look().await {
                return Some(Err(refusal));
            }
        }
        let count = self.news.len().min(AT_ONCE);
        let receipts = self.news.drain(..count).collect();
        Some(Ok(WatchReceiptsResponse { receipts }))
    }

    async fn look(&mut self) -> Result<(), Refusal> {
        tokio::select! {
            () = sleep_until(self.next) => {}
            () = self.shutdown.draining() => {
                let text = "the gateway is stopping; watch again at another one, or later";
                let delay = Duration::from_secs(1);
                return Err(Refusal::retryable(ErrorReason::Draining, delay, text));
            }
        }
        let records: Vec<&Record> = self.open.iter().map(|(record, _)| record).collect();
        let told = self.receipts.tell(&records).await?;
        self.next = Instant::now() + TICK;
        let mut told = told.into_iter();
        let news = &mut self.news;
        self.open.retain_mut(|(_, last)| {
            let Some((receipt, is_final)) = told.next() else {
                return true;
            };
            if last.as_ref() != Some(&receipt) {
                news.push_back(receipt.clone());
                *last = Some(receipt);
            }
            !is_final
        });
        Ok(())
    }
}
