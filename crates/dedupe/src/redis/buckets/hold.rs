//! What a holder may do: renew, release, dead-letter; one script call for each part. And what a
//! redrive does: it takes a dead letter's mark away.
//!
//! In: subjects and a token. Out: for each whether it was done. Promises: the script compares the
//! token and changes at once.

use super::super::clock::millis;
use super::{Asked, Buckets, GUESSES, at, blobs};
use crate::claim::{Subject, Token};
use crate::redis::fault::Fault;
use crate::redis::held::Scripts;
use crate::redis::value::{DEAD, Mark};
use crate::store::StoreError;
use redis::{Cmd, Value};

/// What the script `hold.lua` does.
#[derive(Clone, Copy)]
pub(super) enum Hold {
    Renew(Token),
    Release(Token),
    DeadLetter(Option<Token>),
    /// Away with the very dead letters that the subjects say.
    Reopen,
}

// === impl Buckets: what a holder may ===

impl Buckets {
    /// Whether it was done, for each subject.
    pub(super) async fn hold(
        &self,
        what: Hold,
        subjects: &[Subject],
    ) -> Result<Vec<bool>, StoreError> {
        let mut done = vec![false; subjects.len()];
        let mut waiting: Vec<usize> = (0..subjects.len()).collect();
        for _ in 0..GUESSES {
            let answers = self
                .ask(subjects, &waiting, |connected, scripts, asked| {
                    vec![self.hold_command(what, subjects, connected.parts, scripts, asked)]
                })
                .await?;
            waiting.clear();
            for (asked, answers) in answers {
                let digits = self.read_hold(&asked, &answers);
                let digits = digits.map_err(|fault| self.fault(fault))?;
                if digits.is_empty() {
                    waiting.extend(asked.part.places);
                    continue;
                }
                for (place, digit) in asked.part.places.iter().zip(digits) {
                    if let Some(done) = done.get_mut(*place) {
                        *done = digit == b'1';
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(done);
            }
        }
        Err(self.restless())
    }

    fn hold_command(
        &self,
        what: Hold,
        subjects: &[Subject],
        parts: u16,
        scripts: Scripts,
        asked: &Asked,
    ) -> Cmd {
        let (token, name) = match what {
            Hold::Renew(token) => (Some(token), "renew"),
            Hold::Release(token) => (Some(token), "release"),
            Hold::DeadLetter(token) => (token, "dead"),
            Hold::Reopen => (None, "reopen"),
        };
        let (ids, prints) = blobs(subjects, &asked.part.places);
        let keys = self.keys_around(asked, parts);
        let bytes = ids.len() + prints.len();
        let arguments = 7 + asked.part.groups.len() + asked.part.places.len();
        let mut call = self.hold.call(scripts, &keys, arguments, bytes);
        call.arg(asked.generation).arg(self.generations.window());
        let token = token.map(Token::to_bytes);
        call.arg(token.as_ref().map_or([].as_slice(), <[u8; 8]>::as_slice));
        call.arg(name).arg(millis(self.lease));
        call.arg(ids).arg(prints);
        for group in &asked.part.groups {
            call.arg(group.len);
        }
        if matches!(what, Hold::DeadLetter(_) | Hold::Reopen) {
            for subject in at(subjects, &asked.part.places) {
                call.arg(Mark::of(DEAD, subject).bytes());
            }
        }
        call
    }

    /// The digits of the answer; none when the assumed generation was too far off.
    fn read_hold(&self, asked: &Asked, answers: &[Value]) -> Result<Vec<u8>, Fault> {
        let unreadable = || Fault::unreadable("the answer of hold.lua");
        let Some(Value::Array(answer)) = answers.first() else {
            return Err(unreadable());
        };
        let [Value::BulkString(digits), Value::Int(now)] = answer.as_slice() else {
            return Err(unreadable());
        };
        let now = u64::try_from(*now).map_err(|_| unreadable())?;
        self.told(asked.part.shard, now);
        if digits.is_empty() || digits.len() == asked.part.places.len() {
            return Ok(digits.clone());
        }
        Err(unreadable())
    }
}
