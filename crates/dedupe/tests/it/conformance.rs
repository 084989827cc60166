//! The laws of `DedupeStore`, one test each under the law's name, for every store.
//!
//! A store takes part with a [`World`]: how it is opened, and how time passes for it.

use async_trait::async_trait;
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::{
    Claim, DedupeSettings, DedupeStore, LogPosition, Lookup, Subject, Token, open,
};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A store, empty at the start of each test, and its clock.
#[async_trait]
pub(crate) trait World: Sync {
    /// The settings under test; `window` and `lease` as short as the store's clock needs them.
    fn settings(&self) -> DedupeSettings;

    /// Lets `time` pass for the store, or more where its clock cannot be moved.
    async fn pass(&self, time: Duration);

    /// The store's clock. Where nobody moves it, a test may come late to anything: laws about time
    /// are held against what this says, never against how quick a test is.
    async fn now(&self) -> Duration;

    /// Whether the store can be opened here; where not, the laws are skipped.
    fn at_hand(&self) -> bool {
        true
    }

    /// Whether the store still knows of a lease that has ended; where not, it grants the id.
    fn tells_ended_leases(&self) -> bool {
        true
    }

    /// The store of destination `aws`.
    fn open(&self) -> Arc<dyn DedupeStore> {
        open(&self.settings(), "aws").unwrap()
    }
}

/// Runs every law in a `World`, each under the test attribute that its clock needs.
macro_rules! conformance {
    ($world:expr, #[$test:meta]) => {
        conformance!(@laws $world, #[$test],
            one_answer_per_subject_in_order,
            lookup_changes_nothing,
            an_unknown_id_is_granted_to_one,
            my_own_claim_is_mine_again,
            an_ended_lease_is_taken_over,
            an_earlier_start_of_my_instance_is_taken_over_at_once,
            done_absorbs,
            only_the_holder_releases,
            only_the_holder_renews,
            dead_letter_marks_all_but_done,
            another_fingerprint_is_a_conflict,
            marks_are_kept_for_the_window,
            forgotten_ids_are_unknown,
            only_an_earlier_dead_letter_is_reopened,
        );
    };
    (@laws $world:expr, #[$test:meta], $($law:ident,)+) => {
        $(#[$test]
        async fn $law() {
            let world = $world;
            if $crate::conformance::World::at_hand(&world) {
                $crate::conformance::$law(&world).await;
            }
        })+
    };
}
pub(crate) use conformance;

pub(crate) fn subject(n: u64) -> Subject {
    // As spread as real ids are: stores cut themselves into parts by their bytes.
    let id = Id16::of("default", "key", &n.to_string());
    let position = LogPosition {
        partition: 3,
        offset: i64::try_from(n).unwrap(),
    };
    Subject {
        id,
        fingerprint: Fingerprint(n),
        shard: 3,
        position,
    }
}

fn again_at(subject: Subject, offset: i64) -> Subject {
    Subject {
        position: LogPosition {
            partition: 3,
            offset,
        },
        ..subject
    }
}

fn other_content(subject: Subject) -> Subject {
    Subject {
        fingerprint: Fingerprint(subject.fingerprint.0 ^ 0x8000_0000),
        ..subject
    }
}

pub(crate) fn done(subject: Subject) -> Lookup {
    Lookup::Done {
        position: subject.position,
    }
}

fn dead(subject: Subject) -> Lookup {
    Lookup::DeadLettered {
        position: subject.position,
    }
}

async fn look(store: &Arc<dyn DedupeStore>, subject: Subject) -> Lookup {
    store.lookup(&[subject]).await.unwrap()[0]
}

async fn claim(store: &Arc<dyn DedupeStore>, token: Token, subject: Subject) -> Claim {
    store.claim(token, &[subject]).await.unwrap()[0]
}

async fn renew(store: &Arc<dyn DedupeStore>, token: Token, subject: Subject) -> bool {
    store.renew(token, &[subject]).await.unwrap()[0]
}

/// Longer than any rounding of a store's clock.
const ROUNDING: Duration = Duration::from_millis(50);

/// When a call was made, by the store's clock: it took place in between.
#[derive(Clone, Copy, Debug)]
struct Span {
    asked: Duration,
    answered: Duration,
}

impl Span {
    /// Whether it was over while what `began` then, and lasts for `length`, had not ended.
    fn is_within(self, length: Duration, began: Self) -> bool {
        self.answered < began.asked + length
    }

    /// Whether it was made after that had ended.
    fn is_after(self, length: Duration, began: Self) -> bool {
        self.asked > began.answered + length + ROUNDING
    }
}

async fn timed<T>(world: &dyn World, call: impl Future<Output = T>) -> (T, Span) {
    let asked = world.now().await;
    let answer = call.await;
    let answered = world.now().await;
    (answer, Span { asked, answered })
}

/// The lease on `subject`, begun in `held`, keeps `other` away until it ends, and no longer.
async fn assert_busy_until_its_end(
    world: &dyn World,
    store: &Arc<dyn DedupeStore>,
    (subject, held): (Subject, Span),
    other: Token,
) {
    let lease = world.settings().lease;
    loop {
        world.pass(lease / 8).await;
        let (found, looked) = timed(world, look(store, subject)).await;
        let (answer, span) = timed(world, claim(store, other, subject)).await;
        match found {
            Lookup::InProgress => assert!(!looked.is_after(lease, held), "seen after its end"),
            Lookup::Unknown => assert!(!looked.is_within(lease, held), "not seen"),
            other => panic!("{other:?}"),
        }
        let Claim::Busy { remaining } = answer else {
            assert!(!span.is_within(lease, held), "taken before its end");
            return assert_taken(world, answer);
        };
        assert!(!span.is_after(lease, held), "not taken after its end");
        assert!(
            span.asked + remaining <= held.answered + lease + ROUNDING,
            "{remaining:?}"
        );
    }
}

/// What a claim answers after another's lease has ended.
fn assert_taken(world: &dyn World, claim: Claim) {
    let forgot = !world.tells_ended_leases() && matches!(claim, Claim::Granted(_));
    assert!(forgot || matches!(claim, Claim::TakenOver(_)), "{claim:?}");
}

// === the laws ===

pub(crate) async fn one_answer_per_subject_in_order(world: &dyn World) {
    let (store, me) = (world.open(), Token::random());
    let subjects: Vec<Subject> = (0..300).map(subject).collect();
    let even: Vec<Subject> = subjects.iter().copied().step_by(2).collect();
    store.complete(&even).await.unwrap();
    let answers = store.lookup(&subjects).await.unwrap();
    assert_eq!(answers.len(), 300);
    for (n, (subject, answer)) in subjects.iter().zip(&answers).enumerate() {
        let expected = if n % 2 == 0 {
            done(*subject)
        } else {
            Lookup::Unknown
        };
        assert_eq!(*answer, expected, "subject {n}");
    }
    let (a, b) = (subject(1), subject(3));
    let twice = [a, b, a, other_content(b), other_content(a), subject(0)];
    let claims = store.claim(me, &twice).await.unwrap();
    assert!(
        matches!(claims[..2], [Claim::Granted(_), Claim::Granted(_)]),
        "{claims:?}"
    );
    assert!(matches!(claims[2], Claim::Mine(_)), "{claims:?}");
    assert_eq!(
        claims[3],
        Claim::Conflict {
            stored: b.fingerprint
        }
    );
    assert_eq!(
        claims[4],
        Claim::Conflict {
            stored: a.fingerprint
        }
    );
    assert!(matches!(claims[5], Claim::Done { .. }), "{claims:?}");
    assert_eq!(
        store.renew(me, &[b, a, b, subject(0)]).await.unwrap(),
        [true, true, true, false]
    );
    assert_eq!(store.lookup(&[]).await.unwrap(), []);
}

pub(crate) async fn lookup_changes_nothing(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let (unknown, held, marked, buried) = (subject(1), subject(2), subject(3), subject(4));
    let _granted = claim(&store, me, held).await;
    store.complete(&[marked]).await.unwrap();
    store.dead_letter(None, &[buried]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(look(&store, unknown).await, Lookup::Unknown);
        assert_eq!(look(&store, held).await, Lookup::InProgress);
        assert_eq!(look(&store, again_at(marked, 77)).await, done(marked));
        assert_eq!(look(&store, again_at(buried, 77)).await, dead(buried));
    }
    // Whoever inspects sees the same, whatever content comes with the id, and is not counted.
    let before = store.stats().await.unwrap();
    let all = [unknown, held, marked, buried];
    let strange = all.map(other_content);
    let inspected = store.inspect(&strange).await.unwrap();
    for (subject, found) in all.iter().zip(inspected) {
        assert_eq!(Lookup::of(found, subject), look(&store, *subject).await);
    }
    let after = store.stats().await.unwrap();
    assert_eq!(after.lookups, before.lookups + 4, "only the looks");
    assert_eq!(after.conflicts, before.conflicts);
    assert!(matches!(
        claim(&store, other, unknown).await,
        Claim::Granted(_)
    ));
    assert!(renew(&store, me, held).await);
}

pub(crate) async fn an_unknown_id_is_granted_to_one(world: &dyn World) {
    let store = world.open();
    let lease = world.settings().lease;
    let subjects: Vec<Subject> = (0..100).map(subject).collect();
    let calls = (0..4).map(|_| async { store.claim(Token::random(), &subjects).await.unwrap() });
    let answers = futures::future::join_all(calls).await;
    for n in 0..subjects.len() {
        let of_one: Vec<Claim> = answers.iter().map(|answers| answers[n]).collect();
        let granted = of_one
            .iter()
            .filter(|claim| matches!(claim, Claim::Granted(_)))
            .count();
        assert_eq!(granted, 1, "{of_one:?}");
        for claim in of_one
            .iter()
            .filter(|claim| !matches!(claim, Claim::Granted(_)))
        {
            let Claim::Busy { remaining } = claim else {
                panic!("{claim:?}")
            };
            assert!(
                *remaining > Duration::ZERO && *remaining <= lease,
                "{remaining:?}"
            );
        }
    }
}

pub(crate) async fn my_own_claim_is_mine_again(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let lease = world.settings().lease;
    let (claimed, first) = timed(world, claim(&store, me, subject(1))).await;
    assert_eq!(claimed.lease().unwrap().length, lease);
    let mut held = first;
    while !held.is_after(lease, first) {
        world.pass(lease / 4).await;
        let (claimed, span) = timed(world, claim(&store, me, subject(1))).await;
        let late = !span.is_within(lease, held);
        assert!(late || matches!(claimed, Claim::Mine(_)), "{claimed:?}");
        held = span;
    }
    assert_busy_until_its_end(world, &store, (subject(1), held), other).await;
}

pub(crate) async fn an_ended_lease_is_taken_over(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let (_granted, held) = timed(world, claim(&store, me, subject(1))).await;
    assert_busy_until_its_end(world, &store, (subject(1), held), other).await;
    assert!(!renew(&store, me, subject(1)).await);
    assert!(matches!(
        claim(&store, me, subject(1)).await,
        Claim::Busy { .. }
    ));
}

pub(crate) async fn an_earlier_start_of_my_instance_is_taken_over_at_once(world: &dyn World) {
    let store = world.open();
    let (before, after) = (Token::of_instance("sync-1"), Token::of_instance("sync-1"));
    let _granted = claim(&store, before, subject(1)).await;
    let stranger = claim(&store, Token::of_instance("sync-2"), subject(1)).await;
    assert!(matches!(stranger, Claim::Busy { .. }), "{stranger:?}");
    assert!(matches!(
        claim(&store, after, subject(1)).await,
        Claim::TakenOver(_)
    ));
    assert!(!renew(&store, before, subject(1)).await);
    let anonymous = Token::random();
    let _granted = claim(&store, anonymous, subject(2)).await;
    assert!(matches!(
        claim(&store, after, subject(2)).await,
        Claim::Busy { .. }
    ));
}

pub(crate) async fn done_absorbs(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let [unknown, held, buried] = [subject(1), subject(2), subject(3)];
    let _granted = claim(&store, other, held).await;
    store.dead_letter(None, &[buried]).await.unwrap();
    let all = [unknown, held, buried];
    store.complete(&all).await.unwrap();
    for holder in [me, other] {
        store.release(holder, &all).await.unwrap();
        assert_eq!(store.renew(holder, &all).await.unwrap(), [false; 3]);
        store.dead_letter(Some(holder), &all).await.unwrap();
    }
    store.dead_letter(None, &all).await.unwrap();
    store.complete(&[unknown]).await.unwrap();
    for subject in all {
        let sent_again = again_at(subject, 99);
        assert_eq!(look(&store, sent_again).await, done(subject));
        let claimed = claim(&store, me, sent_again).await;
        assert_eq!(
            claimed,
            Claim::Done {
                position: subject.position
            }
        );
    }
}

pub(crate) async fn only_the_holder_releases(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let _granted = claim(&store, me, subject(1)).await;
    store.dead_letter(None, &[subject(2)]).await.unwrap();
    store
        .release(other, &[subject(1), subject(2), subject(3)])
        .await
        .unwrap();
    assert!(matches!(
        claim(&store, other, subject(1)).await,
        Claim::Busy { .. }
    ));
    store
        .release(me, &[subject(1), subject(2), subject(3)])
        .await
        .unwrap();
    assert_eq!(look(&store, subject(2)).await, dead(subject(2)));
    assert!(matches!(
        claim(&store, other, subject(1)).await,
        Claim::Granted(_)
    ));
}

pub(crate) async fn only_the_holder_renews(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let lease = world.settings().lease;
    let (_granted, mut first) = timed(world, claim(&store, me, subject(1))).await;
    assert!(!renew(&store, me, subject(2)).await, "nobody holds it");
    assert_eq!(
        look(&store, subject(2)).await,
        Lookup::Unknown,
        "renewing claims nothing"
    );
    let mut held = first;
    while !held.is_after(lease, first) {
        world.pass(lease / 4).await;
        assert!(!renew(&store, other, subject(1)).await);
        let (renewed, span) = timed(world, renew(&store, me, subject(1))).await;
        let before = std::mem::replace(&mut held, span);
        if !renewed {
            assert!(!span.is_within(lease, before), "held, and not renewed");
            // So late that it had ended: it begins anew.
            (_, first) = timed(world, claim(&store, me, subject(1))).await;
            held = first;
        }
    }
    assert_busy_until_its_end(world, &store, (subject(1), held), other).await;
}

pub(crate) async fn dead_letter_marks_all_but_done(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let [mine, theirs, unknown, marked] = [subject(1), subject(2), subject(3), subject(4)];
    let _granted = (
        claim(&store, me, mine).await,
        claim(&store, other, theirs).await,
    );
    store.complete(&[marked]).await.unwrap();
    let all = [mine, theirs, unknown, marked];
    store.dead_letter(Some(me), &all).await.unwrap();
    let found = store.lookup(&all).await.unwrap();
    assert_eq!(
        found,
        [dead(mine), Lookup::InProgress, dead(unknown), done(marked)]
    );
    assert!(renew(&store, other, theirs).await);
    store.dead_letter(None, &all).await.unwrap();
    let found = store.lookup(&all).await.unwrap();
    assert_eq!(
        found,
        [dead(mine), dead(theirs), dead(unknown), done(marked)]
    );
    let claimed = claim(&store, other, again_at(theirs, 99)).await;
    assert_eq!(
        claimed,
        Claim::DeadLettered {
            position: theirs.position
        }
    );
}

pub(crate) async fn another_fingerprint_is_a_conflict(world: &dyn World) {
    let (store, me, other) = (world.open(), Token::random(), Token::random());
    let [held, marked, buried] = [subject(1), subject(2), subject(3)];
    let _granted = claim(&store, me, held).await;
    store.complete(&[marked]).await.unwrap();
    store.dead_letter(None, &[buried]).await.unwrap();
    for known in [held, marked, buried] {
        let stored = known.fingerprint;
        let reused = other_content(known);
        assert_eq!(look(&store, reused).await, Lookup::Conflict { stored });
        for token in [me, other] {
            assert_eq!(
                claim(&store, token, reused).await,
                Claim::Conflict { stored }
            );
        }
    }
    let found = store.lookup(&[held, marked, buried]).await.unwrap();
    assert_eq!(found, [Lookup::InProgress, done(marked), dead(buried)]);
    assert!(renew(&store, me, held).await);
}

pub(crate) async fn marks_are_kept_for_the_window(world: &dyn World) {
    let store = world.open();
    let window = world.settings().window;
    let [marked, buried] = [subject(1), subject(2)];
    let marks = async {
        store.complete(&[marked]).await.unwrap();
        store.dead_letter(None, &[buried]).await.unwrap();
    };
    let ((), set) = timed(world, marks).await;
    loop {
        world.pass(window / 8).await;
        let looks = async { (look(&store, marked).await, look(&store, buried).await) };
        let (found, span) = timed(world, looks).await;
        if span.is_within(window, set) {
            assert_eq!(found, (done(marked), dead(buried)));
        }
        if found == (Lookup::Unknown, Lookup::Unknown) {
            break;
        }
        // A store may keep marks by whole windows: then a mark lives for up to two of them.
        assert!(!span.is_after(2 * window, set), "{found:?}");
    }
    assert!(matches!(
        claim(&store, Token::random(), marked).await,
        Claim::Granted(_)
    ));
}

pub(crate) async fn only_an_earlier_dead_letter_is_reopened(world: &dyn World) {
    let (store, me) = (world.open(), Token::random());
    let later = |subject: Subject, by: i64| Subject {
        position: LogPosition {
            offset: subject.position.offset + by,
            ..subject.position
        },
        ..subject
    };
    let [buried, own, behind, other, marked, held] = [10, 11, 12, 13, 14, 15].map(subject);
    store
        .dead_letter(None, &[buried, own, behind, other])
        .await
        .unwrap();
    store.complete(&[marked]).await.unwrap();
    let _granted = claim(&store, me, held).await;
    let all = [
        later(buried, 5),
        own,
        later(behind, -1),
        later(other_content(other), 5),
        later(marked, 5),
        later(held, 5),
        subject(16),
    ];
    for _ in 0..2 {
        store.reopen(&all).await.unwrap();
        assert_eq!(look(&store, buried).await, Lookup::Unknown);
        for stands in [own, behind, other] {
            assert_eq!(look(&store, stands).await, dead(stands));
        }
        assert_eq!(look(&store, marked).await, done(marked));
        assert!(renew(&store, me, held).await);
    }
    let again = later(buried, 5);
    assert!(matches!(claim(&store, me, again).await, Claim::Granted(_)));
    // It fails once more, and its own mark is not taken for the one of before.
    store.dead_letter(Some(me), &[again]).await.unwrap();
    store.reopen(&[again]).await.unwrap();
    assert_eq!(look(&store, buried).await, dead(again));
    let elsewhere = Subject {
        position: LogPosition {
            partition: 15,
            offset: 0,
        },
        ..buried
    };
    store.reopen(&[elsewhere]).await.unwrap();
    assert_eq!(look(&store, buried).await, Lookup::Unknown);
}

pub(crate) async fn forgotten_ids_are_unknown(world: &dyn World) {
    let (store, me) = (world.open(), Token::random());
    let [held, marked, buried, kept] = [subject(1), subject(2), subject(3), subject(4)];
    let _granted = claim(&store, me, held).await;
    store.complete(&[marked, kept]).await.unwrap();
    store.dead_letter(None, &[buried]).await.unwrap();
    store
        .forget(&[held, marked, buried, subject(5)])
        .await
        .unwrap();
    for forgotten in [held, marked, buried] {
        assert_eq!(
            look(&store, other_content(forgotten)).await,
            Lookup::Unknown
        );
        assert!(!renew(&store, me, forgotten).await);
    }
    assert_eq!(look(&store, kept).await, done(kept));
}
