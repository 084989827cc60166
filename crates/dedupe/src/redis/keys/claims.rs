//! Claims: `SET <id> "locked …" NX GET PX <lease>`.
//!
//! In: subjects of different ids. Out: a [`Claim`] for each. Promises: one round trip for ids that
//! nobody holds; what is this token's already, or was an earlier start's, takes a transaction, and
//! how long another's lease runs is asked apart.

use super::super::clock::millis;
use super::transact::{Change, transact};
use super::{Keys, read, text};
use crate::claim::{Claim, Lease, Subject, Token};
use crate::redis::fault::Fault;
use crate::redis::plan::Part;
use crate::redis::value::{Known, State};
use crate::store::StoreError;
use redis::{Cmd, Value};
use std::time::Duration;

/// What the first command of a claim met.
#[derive(Clone, Copy)]
enum Met {
    Answer(Claim),
    /// Held by another.
    Busy,
    /// Held by this token, or by an earlier start of its instance.
    Ours,
}

// === impl Keys: claims ===

impl Keys {
    fn lease(&self) -> Lease {
        Lease { length: self.lease }
    }

    pub(super) fn lock_commands(
        &self,
        token: Token,
        subjects: &[Subject],
        part: &Part,
    ) -> Vec<Cmd> {
        self.each(subjects, part, |subject, key| {
            let mut set = Cmd::with_capacity(7, key.len() + 128);
            set.arg("SET").arg(key).arg(text::locked(token, subject));
            set.arg("NX").arg("GET").arg("PX").arg(millis(self.lease));
            set
        })
    }

    /// Claims the subjects at `places`, all of different ids.
    pub(super) async fn claim_firsts(
        &self,
        token: Token,
        subjects: &[Subject],
        places: Vec<usize>,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut met = vec![Met::Busy; subjects.len()];
        let lock = |part: &Part| self.lock_commands(token, subjects, part);
        self.ask(subjects, &places, lock, |part, answers| {
            for (place, answer) in part.places.iter().zip(&answers) {
                let pair = subjects.get(*place).zip(met.get_mut(*place));
                if let Some((subject, met)) = pair {
                    *met = match read(answer)? {
                        None => Met::Answer(Claim::Granted(self.lease())),
                        Some(known) => known.met(token, subject),
                    };
                }
            }
            Ok(())
        })
        .await?;
        self.take_ours(token, subjects, &places, &mut met).await?;
        self.time_busy(subjects, &places, &mut met).await?;
        let answers = places.iter().map(|place| match met.get(*place) {
            Some(Met::Answer(claim)) => *claim,
            _ => Claim::Busy {
                remaining: self.lease,
            },
        });
        Ok(answers.collect())
    }

    /// Begins the lease anew of what is this token's, and takes what an earlier start held.
    async fn take_ours(
        &self,
        token: Token,
        subjects: &[Subject],
        places: &[usize],
        met: &mut [Met],
    ) -> Result<(), StoreError> {
        let ours = places.iter().copied();
        let ours = ours.filter(|place| matches!(met.get(*place), Some(Met::Ours)));
        let ours: Vec<usize> = ours.collect();
        if ours.is_empty() {
            return Ok(());
        }
        let lease = millis(self.lease);
        let decide = |subject: &Subject, known: Option<&Known>| match known.map(|k| k.state) {
            // Taken anew with another content since the first look: a conflict.
            _ if known.is_some_and(|known| known.fingerprint != subject.fingerprint) => {
                Change::Leave
            }
            Some(State::Held { token: holder, .. }) if holder == token => Change::Extend(lease),
            Some(State::Held { token: holder, .. }) if !token.succeeds(holder) => Change::Leave,
            Some(State::Done { .. } | State::Dead { .. }) => Change::Leave,
            // Held by an earlier start, or ended since.
            Some(State::Held { .. }) | None => Change::Set(text::locked(token, subject), lease),
        };
        let done = transact(&self.held, subjects, &ours, decide).await?;
        for place in ours {
            let outcome = done.get(place).zip(subjects.get(place));
            if let (Some((told, subject)), Some(met)) = (outcome, met.get_mut(place)) {
                let lease = self.lease();
                *met = match told {
                    (None, _) => Met::Answer(Claim::Granted(lease)),
                    (_, Change::Extend(_)) => Met::Answer(Claim::Mine(lease)),
                    (_, Change::Set(..)) => Met::Answer(Claim::TakenOver(lease)),
                    (Some(known), _) => match known.met(token, subject) {
                        Met::Ours => Met::Busy,
                        met => met,
                    },
                };
            }
        }
        Ok(())
    }

    /// Asks how long those leases run that others hold.
    async fn time_busy(
        &self,
        subjects: &[Subject],
        places: &[usize],
        met: &mut [Met],
    ) -> Result<(), StoreError> {
        let busy = places.iter().copied();
        let busy = busy.filter(|place| matches!(met.get(*place), Some(Met::Busy)));
        let busy: Vec<usize> = busy.collect();
        let ask = |part: &Part| {
            self.each(subjects, part, |_, key| {
                let mut ask = redis::cmd("PTTL");
                ask.arg(key);
                ask
            })
        };
        self.ask(subjects, &busy, ask, |part, answers| {
            for (place, answer) in part.places.iter().zip(&answers) {
                // One that has ended meanwhile is busy no longer than until the next claim.
                let left = match answer {
                    Value::Int(left) => u64::try_from(*left).unwrap_or(0).max(1),
                    _ => return Err(Fault::unreadable("the answer to PTTL")),
                };
                // A mark that was set meanwhile lives longer than any lease.
                let remaining = Duration::from_millis(left).min(self.lease);
                if let Some(met) = met.get_mut(*place) {
                    *met = Met::Answer(Claim::Busy { remaining });
                }
            }
            Ok(())
        })
        .await
    }
}

impl Known {
    /// What a claim by `token` makes of it.
    fn met(&self, token: Token, subject: &Subject) -> Met {
        match self.state {
            State::Held { token: holder, .. } if self.fingerprint == subject.fingerprint => {
                if holder == token || token.succeeds(holder) {
                    Met::Ours
                } else {
                    Met::Busy
                }
            }
            _ => Met::Answer(self.refuse(0, subject)),
        }
    }
}
