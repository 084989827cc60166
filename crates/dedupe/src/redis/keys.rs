//! The layout `keys`: a key for each id, which redis-cli shows as a line of text.
//!
//! In: calls of [`DedupeStore`]. Out: their answers. Promises, beyond the laws: the lock of an id
//! is `SET <id> "locked …" NX GET PX <lease>`, its processed mark `SET <id> "done …" PX <window>`;
//! no scripts. What compares first (release, renew, dead letters, and claims of what this
//! instance holds) does so by WATCH, MULTI and EXEC on connections of their own.
//!
//! Redis itself ends a lease, and then nothing tells that there was one: what other layouts
//! answer with taken over is granted here, but for an earlier start of the same instance.

use super::clock::millis;
use super::counts::Counts;
use super::fault::Fault;
use super::held::{Connected, Held, Scripts};
use super::link::Request;
use super::plan::{Part, plan};
use super::raw::Step;
use super::repeats::claim_all;
use super::value::{Known, State};
use crate::claim::{Claim, Found, Lookup, Subject, Token};
use crate::settings::DedupeSettings;
use crate::store::{DedupeStore, Health, Stats, StoreError};
use async_trait::async_trait;
use redis::{Cmd, Value};
use std::time::Duration;
use transact::{Change, transact};

mod claims;
mod text;
mod transact;

/// The [`DedupeStore`] of one destination in keys of Redis.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) held: Held,
    window: Duration,
    lease: Duration,
    counts: Counts,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(held: Held, settings: &DedupeSettings) -> Self {
        Self {
            held,
            window: settings.window,
            lease: settings.lease,
            counts: Counts::default(),
        }
    }

    fn fault(&self, fault: Fault) -> StoreError {
        self.held.error(fault)
    }

    /// Sends the commands that `commands` makes for each part of the subjects at `places`, and
    /// gives the answers to `read` with their part.
    async fn ask(
        &self,
        subjects: &[Subject],
        places: &[usize],
        commands: impl Fn(&Part) -> Vec<Cmd> + Send + Sync,
        mut read: impl FnMut(&Part, Vec<Value>) -> Result<(), Fault> + Send,
    ) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        let make = |_: &Connected, _: Scripts| {
            let parts = plan(subjects, places.iter().copied(), 1);
            let request =
                |part: &Part| Request::of_shard(&self.held.names, part.shard, commands(part));
            (parts.iter().map(request).collect(), parts)
        };
        let (answers, parts) = self.held.send(make).await?;
        for (part, answers) in parts.iter().zip(answers) {
            read(part, answers).map_err(|fault| self.fault(fault))?;
        }
        Ok(())
    }

    /// A command for each subject of a part, made with its key.
    fn each(
        &self,
        subjects: &[Subject],
        part: &Part,
        command: impl Fn(&Subject, &str) -> Cmd,
    ) -> Vec<Cmd> {
        let of_part = part.places.iter().filter_map(|place| subjects.get(*place));
        let commands = of_part.map(|s| command(s, &self.held.names.id(part.shard, s.id)));
        commands.collect()
    }

    fn look_commands(&self, subjects: &[Subject], part: &Part) -> Vec<Cmd> {
        let mut get = Cmd::with_capacity(part.places.len() + 1, part.places.len() * 64);
        get.arg("MGET");
        for subject in part.places.iter().filter_map(|place| subjects.get(*place)) {
            get.arg(self.held.names.id(part.shard, subject.id));
        }
        vec![get]
    }

    fn done_commands(&self, subjects: &[Subject], part: &Part) -> Vec<Cmd> {
        self.each(subjects, part, |subject, key| {
            let mut set = Cmd::with_capacity(5, key.len() + 128);
            set.arg("SET").arg(key).arg(text::marked(true, subject));
            set.arg("PX").arg(millis(self.window));
            set
        })
    }

    /// The commands of `step`, for somebody who sends them without the store.
    pub(super) fn commands(&self, step: Step, subjects: &[Subject]) -> Vec<Cmd> {
        let parts = plan(subjects, 0..subjects.len(), 1);
        let of_part = |part: &Part| match step {
            Step::Lookup => self.look_commands(subjects, part),
            Step::Claim(token) => self.lock_commands(token, subjects, part),
            Step::Complete => self.done_commands(subjects, part),
        };
        parts.iter().flat_map(of_part).collect()
    }

    async fn look(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        let mut all = vec![None; subjects.len()];
        let places: Vec<usize> = (0..subjects.len()).collect();
        let commands = |part: &Part| self.look_commands(subjects, part);
        self.ask(subjects, &places, commands, |part, answers| {
            let Some(Value::Array(found)) = answers.first() else {
                return Err(Fault::unreadable("the answer to MGET"));
            };
            for (place, value) in part.places.iter().zip(found) {
                let found = read(value)?.and_then(|known| known.found(0));
                if let Some(of_place) = all.get_mut(*place) {
                    *of_place = found;
                }
            }
            Ok(())
        })
        .await?;
        Ok(all)
    }
}

fn read(value: &Value) -> Result<Option<Known>, Fault> {
    let unreadable = || Fault::unreadable("the value of an id");
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(text) => text::read(text).map(Some).ok_or_else(unreadable),
        _ => Err(unreadable()),
    }
}

// === impl Keys: marks ===

impl Keys {
    fn marked(&self, done: bool, subject: &Subject) -> Change {
        Change::Set(text::marked(done, subject), millis(self.window))
    }
}

#[async_trait]
impl DedupeStore for Keys {
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        let found = self.look(subjects).await?;
        let lookups = found.into_iter().zip(subjects);
        let lookups: Vec<Lookup> = lookups.map(|(found, s)| Lookup::of(found, s)).collect();
        self.counts.looked_up(subjects, &lookups);
        Ok(lookups)
    }

    async fn inspect(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        self.look(subjects).await
    }

    async fn claim(&self, token: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        let claims = claim_all(subjects, |places| {
            self.claim_firsts(token, subjects, places)
        })
        .await?;
        self.counts.claimed(subjects, &claims);
        Ok(claims)
    }

    async fn complete(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        let places: Vec<usize> = (0..subjects.len()).collect();
        let commands = |part: &Part| self.done_commands(subjects, part);
        self.ask(subjects, &places, commands, |_, _| Ok(())).await?;
        self.counts.marked(subjects.len());
        Ok(())
    }

    async fn release(&self, token: Token, subjects: &[Subject]) -> Result<(), StoreError> {
        let places: Vec<usize> = (0..subjects.len()).collect();
        let decide = |_: &Subject, known: Option<&Known>| match known {
            Some(known) if known.is_held_by(token) => Change::Delete,
            _ => Change::Leave,
        };
        transact(&self.held, subjects, &places, decide).await?;
        Ok(())
    }

    async fn renew(&self, token: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError> {
        let places: Vec<usize> = (0..subjects.len()).collect();
        let lease = millis(self.lease);
        let decide = |subject: &Subject, known: Option<&Known>| match known {
            Some(known) if known.is_held_by(token) => {
                if known.fingerprint == subject.fingerprint {
                    Change::Extend(lease)
                } else {
                    Change::Set(text::locked(token, subject), lease)
                }
            }
            _ => Change::Leave,
        };
        let done = transact(&self.held, subjects, &places, decide).await?;
        let renewed: Vec<bool> = done
            .into_iter()
            .map(|(_, change)| change != Change::Leave)
            .collect();
        self.counts.renewed(&renewed);
        Ok(renewed)
    }

    async fn dead_letter(
        &self,
        token: Option<Token>,
        subjects: &[Subject],
    ) -> Result<(), StoreError> {
        let places: Vec<usize> = (0..subjects.len()).collect();
        let decide = |subject: &Subject, known: Option<&Known>| match known.map(|k| k.state) {
            Some(State::Done { .. }) => Change::Leave,
            Some(State::Held { token: holder, .. }) if token.is_some_and(|t| t != holder) => {
                Change::Leave
            }
            _ => self.marked(false, subject),
        };
        let done = transact(&self.held, subjects, &places, decide).await?;
        let marked = done.iter().filter(|(_, change)| *change != Change::Leave);
        self.counts.marked(marked.count());
        Ok(())
    }

    async fn reopen(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        let places: Vec<usize> = (0..subjects.len()).collect();
        let decide = |subject: &Subject, known: Option<&Known>| match known {
            Some(known) if known.is_reopened_by(subject) => Change::Delete,
            _ => Change::Leave,
        };
        transact(&self.held, subjects, &places, decide).await?;
        Ok(())
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        let places: Vec<usize> = (0..subjects.len()).collect();
        let commands = |part: &Part| {
            self.each(subjects, part, |_, key| {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(key);
                unlink
            })
        };
        self.ask(subjects, &places, commands, |_, _| Ok(())).await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.ready().await?;
        // How many keys there are only a walk through all of them would tell.
        let mut stats = Stats {
            window: self.window,
            memory_losses: self.held.losses(),
            ..Stats::default()
        };
        self.counts.fill(&mut stats);
        Ok(stats)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.held.ready().await
    }

    fn place_of(&self, subject: &Subject) -> Option<String> {
        Some(self.held.names.id(subject.shard, subject.id))
    }

    fn health(&self) -> Health {
        self.held.health()
    }

    fn patience(&self) -> Duration {
        self.held.patience()
    }
}
