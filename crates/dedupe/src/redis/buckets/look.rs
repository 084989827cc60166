//! Look-ups: `TIME` and HMGET of two generations.
//!
//! In: subjects. Out: what stands under the id of each. Promises: nothing is changed; what was
//! marked before the call is seen, whatever generation begins meanwhile.

use super::{Asked, Buckets, GUESSES, at, groups};
use crate::claim::{Found, Subject};
use crate::redis::fault::Fault;
use crate::redis::held::time_in;
use crate::redis::value::Known;
use crate::store::StoreError;
use redis::{Cmd, Value};

// === impl Buckets: look-ups ===

impl Buckets {
    pub(super) async fn look(
        &self,
        subjects: &[Subject],
    ) -> Result<Vec<Option<Found>>, StoreError> {
        let mut all = vec![None; subjects.len()];
        self.read(subjects, |place, now, newer, older| {
            let known = Known::join(read(newer)?, read(older)?);
            if let Some(found) = all.get_mut(place) {
                *found = known.and_then(|known| known.found(now));
            }
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// Gives `take` the place of each subject, Redis' time, and what stands under its id in the
    /// generation of now and in the one before.
    pub(in crate::redis) async fn read(
        &self,
        subjects: &[Subject],
        mut take: impl FnMut(usize, u64, &Value, &Value) -> Result<(), Fault> + Send,
    ) -> Result<(), StoreError> {
        let mut waiting: Vec<usize> = (0..subjects.len()).collect();
        for _ in 0..GUESSES {
            let answers = self
                .ask(subjects, &waiting, |connected, _, asked| {
                    self.look_commands(subjects, connected.parts, asked)
                })
                .await?;
            waiting.clear();
            for (asked, answers) in answers {
                let read = self.read_look(&asked, &answers, &mut take);
                if !read.map_err(|fault| self.fault(fault))? {
                    waiting.extend(asked.part.places);
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
        }
        Err(self.restless())
    }

    /// `TIME` stands first: what was marked before it was asked lies in a hash that is read.
    pub(super) fn look_commands(
        &self,
        subjects: &[Subject],
        parts: u16,
        asked: &Asked,
    ) -> Vec<Cmd> {
        let mut commands = vec![redis::cmd("TIME")];
        for (sub, places) in groups(&asked.part) {
            for generation in [asked.generation, asked.generation.saturating_sub(1)] {
                let shard = asked.part.shard;
                let key = self.held.names.bucket(shard, generation, sub, parts);
                let bytes = key.len() + places.len() * 16 + 8;
                let mut get = Cmd::with_capacity(places.len() + 2, bytes);
                get.arg("HMGET").arg(key);
                for subject in at(subjects, places) {
                    get.arg(subject.id.0.as_slice());
                }
                commands.push(get);
            }
        }
        commands
    }

    /// Gives all of them to `take`; `false` when the assumed generation was another one.
    fn read_look(
        &self,
        asked: &Asked,
        answers: &[Value],
        take: &mut impl FnMut(usize, u64, &Value, &Value) -> Result<(), Fault>,
    ) -> Result<bool, Fault> {
        let now = time_in(answers.first())?;
        if self.told(asked.part.shard, now) != asked.generation {
            return Ok(false);
        }
        let mut found = answers.iter().skip(1);
        for (_, places) in groups(&asked.part) {
            let (Some(Value::Array(newer)), Some(Value::Array(older))) =
                (found.next(), found.next())
            else {
                return Err(Fault::unreadable("the answer to HMGET"));
            };
            for ((place, newer), older) in places.iter().zip(newer).zip(older) {
                take(*place, now, newer, older)?;
            }
        }
        Ok(true)
    }
}

fn read(value: &Value) -> Result<Option<Known>, Fault> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => match Known::read(bytes) {
            Some(known) => Ok(Some(known)),
            None => Err(Fault::unreadable("the value of an id")),
        },
        _ => Err(Fault::unreadable("the answer to HMGET")),
    }
}
