//! The rules against a model: a partition, a consumer that judges its records one after the other,
//! and somebody who reads the commit first and the marks at some later moment.

use super::*;
use cloudsync::identity::{Fingerprint, Id16};
use proptest::prelude::*;

/// What the consumer does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Judges and settles the next record; `dead`: what it would write cannot be written.
    Settle { dead: bool },
    /// Takes the lease of the next record, and has not written yet.
    Claim,
    /// Commits what is settled.
    Commit,
    /// The store forgets the id: its window has ended, or somebody made it forget.
    Forget,
}

/// What became of a record, as the destination and the dead-letter topic have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Written,
    Again,
    Dead,
    Conflict,
}

#[derive(Clone, Debug, Default)]
struct World {
    /// By offset.
    truths: Vec<Truth>,
    committed: Option<i64>,
    mark: Option<Found>,
}

const PARTITION: i32 = 3;

fn record(offset: usize, contents: &[u8]) -> Subject {
    Subject {
        id: Id16([7; 16]),
        fingerprint: Fingerprint(contents[offset].into()),
        shard: 0,
        position: place(offset),
    }
}

fn place(offset: usize) -> LogPosition {
    LogPosition {
        partition: PARTITION,
        offset: i64::try_from(offset).unwrap(),
    }
}

impl World {
    fn after(&self, step: Step, contents: &[u8]) -> Self {
        let mut world = self.clone();
        let next = self.truths.len();
        let lease = |found: &Found| found.state == FoundState::InProgress;
        match step {
            Step::Commit => world.committed = Some(place(next).offset),
            Step::Forget => world.mark = None,
            Step::Claim if next < contents.len() && self.mark.is_none() => {
                let fingerprint = record(next, contents).fingerprint;
                let state = FoundState::InProgress;
                world.mark = Some(Found { fingerprint, state });
            }
            Step::Settle { dead } if next < contents.len() => {
                let it = record(next, contents);
                let known = self.mark.filter(|found| !lease(found));
                let truth = match known {
                    Some(found) if found.fingerprint != it.fingerprint => Truth::Conflict,
                    Some(_) => Truth::Again,
                    None if dead => Truth::Dead,
                    None => Truth::Written,
                };
                let position = it.position;
                let state = match truth {
                    Truth::Written => Some(FoundState::Done { position }),
                    Truth::Dead => Some(FoundState::DeadLettered { position }),
                    Truth::Again | Truth::Conflict => None,
                };
                if let Some(state) = state {
                    let fingerprint = it.fingerprint;
                    world.mark = Some(Found { fingerprint, state });
                }
                world.truths.push(truth);
            }
            Step::Claim | Step::Settle { .. } => {}
        }
        world
    }

    /// Whether the record at `at` became `truth`, with the content of the one at `like`.
    fn is(&self, at: LogPosition, truth: Truth, contents: &[u8], like: usize) -> bool {
        let at = usize::try_from(at.offset).unwrap();
        self.truths.get(at) == Some(&truth) && contents[at] == contents[like]
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|dead| Step::Settle { dead }),
        2 => Just(Step::Claim),
        2 => Just(Step::Commit),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_is_said_is_true(
        contents in prop::collection::vec(0..2u8, 1..6),
        steps in prop::collection::vec(step(), 0..16),
        commit_read in 0..17usize,
        mark_read in 0..17usize,
        blind: bool,
    ) {
        let mut worlds = vec![World::default()];
        for step in steps {
            worlds.push(worlds[worlds.len() - 1].after(step, &contents));
        }
        let (first, later) = (commit_read.min(mark_read), commit_read.max(mark_read));
        let last = worlds.len() - 1;
        let (then, now) = (&worlds[first.min(last)], &worlds[later.min(last)]);
        for offset in 0..contents.len() {
            let it = record(offset, &contents);
            let found = now.mark.filter(|_| !blind);
            let state = State::of(&it, then.committed, found);
            let settled = now.truths.get(offset);
            let true_then = match state {
                State::Pending | State::InProgress => {
                    then.committed.is_none_or(|next| it.position.offset >= next)
                }
                State::Delivered => settled == Some(&Truth::Written),
                State::Duplicate { of } => now.is(of, Truth::Written, &contents, offset),
                State::DeadLettered { at } => now.is(at, Truth::Dead, &contents, offset),
                State::Conflict { .. } => settled == Some(&Truth::Conflict),
                State::Settled => settled.is_some(),
            };
            prop_assert!(true_then, "{offset}: {state:?} in {now:?}");
            let below = then.committed.is_some_and(|next| it.position.offset < next);
            prop_assert!(!below || state.is_final(), "what is committed is settled");
        }
    }
}

#[test]
fn each_state_is_said_where_it_is_known() {
    let contents = [1, 1, 2];
    let marked = |state| {
        let fingerprint = Fingerprint(1);
        Some(Found { fingerprint, state })
    };
    let done = marked(FoundState::Done { position: place(0) });
    let dead = marked(FoundState::DeadLettered { position: place(0) });
    let held = marked(FoundState::InProgress);
    let of = |offset, committed, found| State::of(&record(offset, &contents), committed, found);
    assert_eq!(of(0, None, None), State::Pending);
    assert_eq!(of(0, Some(0), held), State::InProgress);
    assert_eq!(of(0, Some(1), None), State::Settled);
    assert_eq!(of(0, None, done), State::Delivered);
    assert_eq!(of(0, None, dead), State::DeadLettered { at: place(0) });
    // What it will be judged by may be forgotten until then.
    assert_eq!(of(1, Some(1), done), State::Pending);
    assert_eq!(of(1, Some(1), dead), State::Pending);
    assert_eq!(of(1, Some(2), done), State::Duplicate { of: place(0) });
    assert_eq!(of(1, Some(2), dead), State::DeadLettered { at: place(0) });
    // Both were written, the later one when the mark of the earlier one had ended.
    let later = marked(FoundState::Done { position: place(1) });
    assert_eq!(of(0, None, later), State::Pending);
    assert_eq!(of(0, Some(2), later), State::Settled);
    // It will be a conflict, but is not yet.
    assert_eq!(of(2, Some(2), done), State::Pending);
    assert_eq!(of(2, Some(3), done), State::Conflict { with: place(0) });
    assert_eq!(of(2, Some(3), held), State::Settled);
}
