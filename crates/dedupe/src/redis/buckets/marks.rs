//! Marks of done, and forgetting: plain commands with `TIME` behind them.
//!
//! In: subjects. Out: nothing but that it holds. Promises: a mark lies in the generation of
//! Redis' clock at the call, so it is seen for a window at least.

use super::{Asked, Buckets, GUESSES, at, groups};
use crate::claim::Subject;
use crate::redis::held::{Connected, time_in};
use crate::redis::value::{DONE, Mark};
use crate::store::StoreError;
use redis::{Cmd, Value};

/// `commands`, and `TIME` behind them.
pub(super) fn timed(mut commands: Vec<Cmd>) -> Vec<Cmd> {
    commands.push(redis::cmd("TIME"));
    commands
}

// === impl Buckets: marks ===

impl Buckets {
    /// Sends plain commands that go by the generation, with `TIME` behind them: had it been
    /// another one before that, the hash would be read for longer, never for shorter.
    pub(super) async fn write(
        &self,
        subjects: &[Subject],
        commands: impl Fn(&Connected, &Asked) -> Vec<Cmd> + Send + Sync,
    ) -> Result<(), StoreError> {
        let mut waiting: Vec<usize> = (0..subjects.len()).collect();
        for _ in 0..GUESSES {
            let answers = self
                .ask(subjects, &waiting, |connected, _, asked| {
                    timed(commands(connected, asked))
                })
                .await?;
            waiting.clear();
            for (asked, answers) in answers {
                let time = answers
                    .iter()
                    .find(|answer| matches!(answer, Value::Array(_)));
                let now = time_in(time).map_err(|fault| self.fault(fault))?;
                if self.told(asked.part.shard, now) != asked.generation {
                    waiting.extend(asked.part.places);
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
        }
        Err(self.restless())
    }

    pub(super) fn done_commands(
        &self,
        subjects: &[Subject],
        parts: u16,
        asked: &Asked,
    ) -> Vec<Cmd> {
        self.set_commands(subjects, parts, asked, |place, set| {
            if let Some(subject) = subjects.get(place) {
                set.arg(Mark::of(DONE, subject).bytes());
            }
        })
    }

    /// Sets the field of each subject to what `value` appends for its place.
    pub(in crate::redis) async fn set(
        &self,
        subjects: &[Subject],
        value: impl Fn(usize, &mut Cmd) + Send + Sync,
    ) -> Result<(), StoreError> {
        self.write(subjects, |connected, asked| {
            self.set_commands(subjects, connected.parts, asked, &value)
        })
        .await
    }

    fn set_commands(
        &self,
        subjects: &[Subject],
        parts: u16,
        asked: &Asked,
        value: impl Fn(usize, &mut Cmd),
    ) -> Vec<Cmd> {
        let mut commands = Vec::with_capacity(3);
        for (sub, places) in groups(&asked.part) {
            let shard = asked.part.shard;
            let key = self.held.names.bucket(shard, asked.generation, sub, parts);
            let bytes = key.len() + places.len() * 38 + 8;
            let mut set = Cmd::with_capacity(2 * places.len() + 2, bytes);
            set.arg("HSET").arg(&key);
            for place in places {
                if let Some(subject) = subjects.get(*place) {
                    set.arg(subject.id.0.as_slice());
                    value(*place, &mut set);
                }
            }
            let mut expire = Cmd::with_capacity(4, key.len() + 32);
            expire.arg("PEXPIRE").arg(&key);
            expire.arg(self.generations.backstop()).arg("NX");
            commands.extend([set, expire]);
        }
        commands
    }

    pub(super) fn forget_commands(
        &self,
        subjects: &[Subject],
        parts: u16,
        asked: &Asked,
    ) -> Vec<Cmd> {
        let mut commands = Vec::with_capacity(4);
        let generations = asked.generation.saturating_sub(1)..=asked.generation + 1;
        for (sub, places) in groups(&asked.part) {
            for generation in generations.clone() {
                let shard = asked.part.shard;
                let mut delete = Cmd::new();
                delete
                    .arg("HDEL")
                    .arg(self.held.names.bucket(shard, generation, sub, parts));
                for subject in at(subjects, places) {
                    delete.arg(subject.id.0.as_slice());
                }
                commands.push(delete);
            }
        }
        commands
    }
}
