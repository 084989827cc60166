//! A record that can never be delivered → the dead-letter topic, acknowledged, and then marked.
//!
//! Promises: it is marked as dead-lettered only after the topic has it, and never where its id
//! belongs to another record; a lease on it is kept alive meanwhile, so that nobody else sets it
//! aside too.

use super::Walk;
use super::attempt::Job;
use super::lease::Held;
use crate::chain::Fault;
use crate::counters::Counters;
use cloudsync_dedupe::Subject;
use cloudsync_kafka::Reason;
use tokio::time::sleep_until;

// === impl Walk ===

impl Walk {
    /// Sets `job` aside. `claimed`: the part of it that is ours, with its lease. `false`: the
    /// partition was revoked before.
    pub(super) async fn set_aside(
        &self,
        job: &Job,
        reason: Reason,
        detail: String,
        claimed: Option<(Subject, Held)>,
    ) -> bool {
        let faults = [Fault {
            record: job.polled.record.clone(),
            reason,
            detail,
            cause: job.cause(),
        }];
        let produced = self
            .context
            .dead_letters
            .set_aside(&self.chain, &faults, &self.revoked);
        tokio::pin!(produced);
        let done = tokio::select! {
            done = &mut produced => done,
            () = self.keep_alive(claimed) => produced.await,
        };
        let Some((subject, _)) = claimed else {
            return done;
        };
        let belongs_to_it = match reason {
            Reason::Rejected | Reason::Exhausted => true,
            Reason::Undecodable | Reason::IdConflict => false,
        };
        if !done || !belongs_to_it {
            self.shared.claims.release(&[subject]).await;
        } else if self.shared.claims.dead_letter(subject).await.is_err() {
            Counters::add(&self.context.counters.dedupe_bypassed, 1);
        }
        done
    }

    /// Renews at each half-life, for as long as the lease is ours; at once, if there is none.
    async fn keep_alive(&self, claimed: Option<(Subject, Held)>) {
        let Some((subject, mut held)) = claimed else {
            return;
        };
        loop {
            sleep_until(held.half_life()).await;
            match self.shared.claims.renew(subject, held).await {
                Ok(Some(renewed)) => held = renewed,
                Ok(None) | Err(_) => return,
            }
        }
    }
}
