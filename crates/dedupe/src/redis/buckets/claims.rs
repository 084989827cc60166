//! Claims: one script call for each part.
//!
//! In: subjects of different ids. Out: a [`Claim`] for each. Promises: Redis decides all claims of
//! a part at once, by its own clock.

use super::super::clock::millis;
use super::{Asked, Buckets, GUESSES, blobs};
use crate::claim::{Claim, Lease, Subject, Token};
use crate::redis::fault::Fault;
use crate::redis::held::Scripts;
use crate::redis::value::Known;
use crate::store::StoreError;
use redis::{Cmd, Value};

// === impl Buckets: claims ===

impl Buckets {
    /// Claims the subjects at `places`, all of different ids.
    pub(super) async fn claim_firsts(
        &self,
        token: Token,
        subjects: &[Subject],
        places: Vec<usize>,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut claims: Vec<Option<Claim>> = vec![None; subjects.len()];
        let mut waiting = places.clone();
        for _ in 0..GUESSES {
            let answers = self
                .ask(subjects, &waiting, |connected, scripts, asked| {
                    vec![self.claim_command(token, subjects, connected.parts, scripts, asked)]
                })
                .await?;
            waiting.clear();
            for (asked, answers) in answers {
                let read = self.read_claim(subjects, &asked, &answers, &mut claims);
                if !read.map_err(|fault| self.fault(fault))? {
                    waiting.extend(asked.part.places);
                }
            }
            if waiting.is_empty() {
                let told = places
                    .iter()
                    .filter_map(|place| claims.get(*place).copied());
                return Ok(told.flatten().collect());
            }
        }
        Err(self.restless())
    }

    pub(super) fn claim_command(
        &self,
        token: Token,
        subjects: &[Subject],
        parts: u16,
        scripts: Scripts,
        asked: &Asked,
    ) -> Cmd {
        let (ids, prints) = blobs(subjects, &asked.part.places);
        let keys = self.keys_around(asked, parts);
        let bytes = ids.len() + prints.len();
        let mut call = self
            .claim
            .call(scripts, &keys, 6 + asked.part.groups.len(), bytes);
        call.arg(asked.generation).arg(self.generations.window());
        call.arg(token.to_bytes().as_slice());
        call.arg(millis(self.lease));
        call.arg(ids).arg(prints);
        for group in &asked.part.groups {
            call.arg(group.len);
        }
        call
    }

    /// Fills in `claims`; `false` when the assumed generation was too far off.
    fn read_claim(
        &self,
        subjects: &[Subject],
        asked: &Asked,
        answers: &[Value],
        claims: &mut [Option<Claim>],
    ) -> Result<bool, Fault> {
        let unreadable = || Fault::unreadable("the answer of claim.lua");
        let Some(Value::Array(answer)) = answers.first() else {
            return Err(unreadable());
        };
        let [
            Value::BulkString(letters),
            Value::Int(now),
            Value::BulkString(values),
        ] = answer.as_slice()
        else {
            return Err(unreadable());
        };
        let now = u64::try_from(*now).map_err(|_| unreadable())?;
        self.told(asked.part.shard, now);
        if letters.is_empty() {
            return Ok(false);
        }
        if letters.len() != asked.part.places.len() {
            return Err(unreadable());
        }
        let lease = Lease { length: self.lease };
        let mut values = values.as_slice();
        for (letter, place) in letters.iter().zip(&asked.part.places) {
            let subject = subjects.get(*place).ok_or_else(unreadable)?;
            let claim = match letter {
                b'N' => Claim::Granted(lease),
                b'M' => Claim::Mine(lease),
                b'S' => Claim::TakenOver(lease),
                b'K' => {
                    let (len, rest) = values.split_first().ok_or_else(unreadable)?;
                    let value = rest.split_at_checked(usize::from(*len));
                    let (value, rest) = value.ok_or_else(unreadable)?;
                    values = rest;
                    let known = Known::read(value);
                    let known = known.ok_or_else(|| Fault::unreadable("the value of an id"))?;
                    known.refuse(now, subject)
                }
                _ => return Err(unreadable()),
            };
            if let Some(slot) = claims.get_mut(*place) {
                *slot = Some(claim);
            }
        }
        Ok(true)
    }
}
