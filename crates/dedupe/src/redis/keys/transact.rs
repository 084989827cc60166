//! Comparing and changing keys at once, without a script: WATCH, MULTI, EXEC.
//!
//! In: subjects of one shard, and a decision for what is known of each. Out: what was known when
//! it was decided. Promises: either all decisions of a part were carried out on what they were
//! made on, or none were and they are made anew; bounded, however often others interfere.

use super::text;
use crate::claim::Subject;
use crate::redis::fault::{Fault, Kind};
use crate::redis::held::{Connected, Held};
use crate::redis::plan::{Part, plan};
use crate::redis::value::Known;
use crate::store::StoreError;
use cloudsync::identity::Id16;
use deadpool_redis::Connection;
use redis::{Cmd, Pipeline, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// How often a part is tried while others change its keys.
const TRIES: usize = 16;

/// What to do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Leave,
    Delete,
    /// Let it live for so many milliseconds from now.
    Extend(u64),
    /// Set it to this text, for so many milliseconds.
    Set(String, u64),
}

/// Carries out what `decide` says of each subject. Out: for each subject what was known of it,
/// and what was done.
pub(super) async fn transact(
    held: &Held,
    subjects: &[Subject],
    places: &[usize],
    decide: impl Fn(&Subject, Option<&Known>) -> Change + Send + Sync,
) -> Result<Vec<(Option<Known>, Change)>, StoreError> {
    let mut told = vec![(None, Change::Leave); subjects.len()];
    for part in plan(subjects, places.iter().copied(), 1) {
        let done = held
            .in_time(one_part(held, subjects, &part, &decide))
            .await?;
        for (place, outcome) in part.places.iter().zip(done) {
            if let Some(slot) = told.get_mut(*place) {
                *slot = outcome;
            }
        }
    }
    Ok(told)
}

async fn one_part(
    held: &Held,
    subjects: &[Subject],
    part: &Part,
    decide: &(impl Fn(&Subject, Option<&Known>) -> Change + Send + Sync),
) -> Result<Vec<(Option<Known>, Change)>, Fault> {
    let (mut repeated, mut tries) = (false, 0);
    while tries < TRIES {
        let connected = held.connected().await?;
        match attempt(held, &connected, subjects, part, decide).await {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => tries += 1,
            Err(fault) => {
                let fault = held.heard(&connected, fault);
                if fault.kind != Kind::Lost || repeated {
                    return Err(fault);
                }
                repeated = true;
            }
        }
    }
    let text = format!("others changed the same ids at each of {TRIES} attempts");
    Err(Fault::new(Kind::Unable, text))
}

/// `None` when a key was changed in between.
async fn attempt(
    held: &Held,
    connected: &Arc<Connected>,
    subjects: &[Subject],
    part: &Part,
    decide: &(impl Fn(&Subject, Option<&Known>) -> Change + Send + Sync),
) -> Result<Option<Vec<(Option<Known>, Change)>>, Fault> {
    let of_part = part.places.iter().filter_map(|place| subjects.get(*place));
    let keys = of_part.clone().map(|s| held.names.id(part.shard, s.id));
    let keys: Vec<String> = keys.collect();
    let slot = held.names.slot(part.shard);
    let mut connection = held.exclusive(connected, slot).await?;
    let known = match watch(&mut connection, &keys).await {
        Ok(known) => known,
        Err(fault) => {
            // It may be of no further use, or watch for ever.
            drop(Connection::take(connection));
            return Err(fault);
        }
    };
    let mut now: HashMap<Id16, Option<Known>> = HashMap::new();
    let (mut done, mut changes) = (Vec::with_capacity(keys.len()), Pipeline::new());
    changes.atomic();
    for ((subject, key), found) in of_part.zip(&keys).zip(known) {
        // A second subject of an id comes after the first.
        let before = now.get(&subject.id).copied().unwrap_or(found);
        let change = decide(subject, before.as_ref());
        let after = match &change {
            Change::Leave | Change::Extend(_) => before,
            Change::Delete => None,
            Change::Set(text, _) => text::read(text.as_bytes()),
        };
        now.insert(subject.id, after);
        if let Some(command) = change.command(key) {
            changes.add_command(command);
        }
        done.push((before, change));
    }
    if changes.is_empty() {
        return Ok(Some(done));
    }
    match changes.query_async::<Value>(&mut connection).await {
        Ok(Value::Nil) => Ok(None),
        Ok(_) => Ok(Some(done)),
        Err(error) => {
            drop(Connection::take(connection));
            Err(error.into())
        }
    }
}

async fn watch(connection: &mut Connection, keys: &[String]) -> Result<Vec<Option<Known>>, Fault> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("WATCH").arg(keys).ignore();
    pipeline.cmd("MGET").arg(keys);
    let (found,): (Vec<Option<Vec<u8>>>,) = pipeline.query_async(connection).await?;
    let read = |text: Option<Vec<u8>>| match text {
        None => Ok(None),
        Some(text) => match text::read(&text) {
            Some(known) => Ok(Some(known)),
            None => Err(Fault::unreadable("the value of an id")),
        },
    };
    found.into_iter().map(read).collect()
}

// === impl Change ===

impl Change {
    fn command(&self, key: &str) -> Option<Cmd> {
        let mut command = Cmd::new();
        match self {
            Self::Leave => return None,
            Self::Delete => command.arg("UNLINK").arg(key),
            Self::Extend(millis) => command.arg("PEXPIRE").arg(key).arg(*millis),
            Self::Set(text, millis) => {
                let set = command.arg("SET").arg(key).arg(text);
                set.arg("PX").arg(*millis)
            }
        };
        Some(command)
    }
}
