//! Claims of one id that stand in one call.
//!
//! In: subjects, and a way to claim different ids at once. Out: an answer for each subject.
//! Promises: the answers are those of calls one after the other (law 1); one round trip when no
//! id stands twice in a call.

use super::plan::firsts;
use crate::claim::{Claim, Subject};
use crate::store::StoreError;
use std::future::Future;

/// What a claim answers after `before` was answered to a claim of the same id, with nothing in
/// between; `None` where the first answer does not tell.
fn after(before: Claim, first: &Subject, later: &Subject) -> Option<Claim> {
    if first.fingerprint == later.fingerprint {
        return Some(match before {
            Claim::Granted(lease) | Claim::TakenOver(lease) => Claim::Mine(lease),
            same => same,
        });
    }
    match before {
        Claim::Conflict { stored } if stored == later.fingerprint => None,
        Claim::Conflict { stored } => Some(Claim::Conflict { stored }),
        _ => Some(Claim::Conflict {
            stored: first.fingerprint,
        }),
    }
}

/// Claims `subjects` by `ask`, which gets places of different ids and answers in their order.
pub(super) async fn claim_all<Answers>(
    subjects: &[Subject],
    mut ask: impl FnMut(Vec<usize>) -> Answers,
) -> Result<Vec<Claim>, StoreError>
where
    Answers: Future<Output = Result<Vec<Claim>, StoreError>>,
{
    let mut claims: Vec<Option<Claim>> = vec![None; subjects.len()];
    let mut waiting: Vec<usize> = (0..subjects.len()).collect();
    // Each turn answers at least the first of each id, so it ends.
    while !waiting.is_empty() {
        let (first, later) = firsts(subjects, &waiting);
        let answers = ask(first.clone()).await?;
        for (place, answer) in first.iter().zip(answers) {
            if let Some(claim) = claims.get_mut(*place) {
                *claim = Some(answer);
            }
        }
        waiting.clear();
        for (place, before) in later {
            let told = claims.get(before).copied().flatten();
            let pair = subjects.get(before).zip(subjects.get(place));
            let answer = told.zip(pair).and_then(|(told, (a, b))| after(told, a, b));
            match (answer, claims.get_mut(place)) {
                (Some(answer), Some(claim)) => *claim = Some(answer),
                _ => waiting.push(place),
            }
        }
    }
    Ok(claims.into_iter().flatten().collect())
}
