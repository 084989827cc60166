//! Steps 3 to 6 of the walk as one call for a stream's submission, steps 2 to 6 for a single record.
//!
//! In: an admitted submission, or a record. Out: its ack, each record's verdict, or its place in
//! the log.
//! Promises: between the log's answer and the client's nothing is kept but the ack, so a death
//! there costs the client an answer and never a record; what the log has acknowledged is remembered
//! before the client hears of it, and nothing else ever is.

use crate::ack::{Accepted, Ack, Verdict, verdicts};
use crate::admit::{Admission, Submission};
use crate::batch::Batch;
use crate::counters::Counters;
use crate::produce::Log;
use crate::receipts::Receipts;
use crate::recent::RecentIds;
use crate::validate::Validator;
use bytes::Bytes;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use cloudsync::wire::Time;
use cloudsync_kafka::Produced;
use cloudsync_runtime::{Moment, Shutdown, Tasks, kill_point};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_util::task::TaskTracker;

/// What all entrances of a gateway share.
pub(crate) struct Pipeline {
    pub(crate) admission: Admission,
    pub(crate) validator: Validator,
    pub(crate) recent: Arc<RecentIds>,
    pub(crate) receipts: Arc<Receipts>,
    pub(crate) log: Log,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: Shutdown,
    pub(crate) tasks: Tasks,
    /// Calls that have been taken and not yet answered.
    pub(crate) calls: TaskTracker,
}

impl Pipeline {
    /// Validates, produces and acknowledges the records of a stream. They are on their way when
    /// this returns: the order of the calls is the order of the log.
    pub(crate) fn submit(
        self: &Arc<Self>,
        submission: Submission,
    ) -> impl Future<Output = Ack> + Send + use<> {
        self.counters.add_received(submission.records.len() as u64);
        let writing = self.write(submission);
        let counters = Arc::clone(&self.counters);
        async move {
            let (batch, results) = writing.await;
            let ack = Ack::of(&batch, &results);
            counters.add_acked(ack.accepted());
            counters.add_duplicates(ack.duplicates);
            counters.add_refused(ack.rejections.len() as u64);
            ack
        }
    }

    /// The same, with a verdict for each record, in the order in which they came.
    pub(crate) fn submit_each(
        self: &Arc<Self>,
        submission: Submission,
    ) -> impl Future<Output = Vec<Verdict>> + Send + use<> {
        self.counters.add_received(submission.records.len() as u64);
        let writing = self.write(submission);
        let counters = Arc::clone(&self.counters);
        let topic = Arc::clone(self.log.topic());
        async move {
            let (batch, results) = writing.await;
            let verdicts = verdicts(batch, results, &topic);
            let accepted = verdicts.iter().filter_map(|verdict| verdict.as_ref().ok());
            let duplicates = accepted.clone().filter(|it| it.duplicate).count();
            let accepted = accepted.count();
            counters.add_acked(accepted as u64);
            counters.add_duplicates(duplicates as u64);
            counters.add_refused((verdicts.len() - accepted) as u64);
            verdicts
        }
    }

    /// Admits, validates and produces one record on its own.
    pub(crate) async fn submit_one(&self, record: Bytes) -> Result<Accepted, Refusal> {
        self.counters.add_received(1);
        let accepted = self.write_one(record).await;
        match &accepted {
            Ok(accepted) => {
                self.counters.add_acked(1);
                self.counters.add_duplicates(accepted.duplicate.into());
            }
            Err(_) => self.counters.add_refused(1),
        }
        accepted
    }

    async fn write_one(&self, record: Bytes) -> Result<Accepted, Refusal> {
        let submission = self.admission.record_now(record)?;
        let (batch, results) = self.write(submission).await;
        match verdicts(batch, results, self.log.topic()).pop() {
            Some(verdict) => verdict.map_err(|refused| refused.refusal),
            None => Err(Refusal::permanent(
                ErrorReason::Internal,
                "the producer gave no answer",
            )),
        }
    }

    /// Validates and queues; the future is the log's answer.
    fn write(
        &self,
        submission: Submission,
    ) -> impl Future<Output = (Batch, Vec<Produced>)> + Send + use<> {
        let accept_time = now();
        let mut judged = self.validator.submission(&submission, accept_time);
        self.recent.recognise(&mut judged);
        let batch = Batch::of(judged);
        let answers = self.log.produce(&batch, &submission.share);
        let (recent, receipts) = (Arc::clone(&self.recent), Arc::clone(&self.receipts));
        async move {
            let results = answers.await;
            if !results.is_empty() {
                kill_point(Moment::BeforeProduceAck);
            }
            recent.remember(&batch, &results);
            receipts.remember(&batch, &results, accept_time);
            drop(submission);
            (batch, results)
        }
    }
}

fn now() -> Time {
    // A clock before 1970 counts as 1970.
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Time {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
    }
}
