use super::super::outcome::{Outcome, Receipt};
use super::super::tracker::CommitTracker;
use super::*;
use proptest::prelude::*;

fn watermark(partition: i32, epoch: u64, offset: i64) -> Watermark {
    let mut tracker = CommitTracker::new(partition, Epoch::new(epoch), 0);
    tracker.cover(offset, Receipt::new("segment"));
    tracker.watermark()
}

fn map(offsets: &[(i32, i64)]) -> BTreeMap<i32, i64> {
    offsets.iter().copied().collect()
}

#[test]
fn commits_are_bundled_by_time_or_by_amount_and_one_is_on_its_way_at_a_time() {
    let start = Instant::now();
    let mut table = CommitTable::new(start);
    table.assign(0, Epoch::new(1), 0, None);
    table.assign(1, Epoch::new(1), 100, Some(100));
    table.submit(watermark(0, 1, 5));
    assert_eq!(table.due(start), None);
    let second = start + INTERVAL;
    assert_eq!(table.due(second), Some(map(&[(0, 5)])));
    table.submit(watermark(1, 1, 100 + SOON));
    assert_eq!(table.due(second), None, "the first is not answered");
    table.confirmed(0, 5);
    table.answered(&[0], true);
    assert!(table.is_confirmed(&watermark(0, 1, 5)));
    assert_eq!(
        table.due(second),
        Some(map(&[(1, 100 + SOON)])),
        "many are sent at once"
    );
}

#[test]
fn a_failed_or_unanswered_commit_is_sent_again() {
    let start = Instant::now();
    let mut table = CommitTable::new(start);
    table.assign(0, Epoch::new(1), 0, None);
    table.submit(watermark(0, 1, 5));
    assert_eq!(table.due(start + INTERVAL), Some(map(&[(0, 5)])));
    table.answered(&[0], false);
    assert!(!table.is_confirmed(&watermark(0, 1, 5)));
    assert_eq!(table.due(start + INTERVAL * 2), Some(map(&[(0, 5)])));
    let late = start + INTERVAL * 2 + UNANSWERED;
    assert_eq!(table.due(late), Some(map(&[(0, 5)])));
}

#[test]
fn an_origin_is_committed_only_when_asked_for() {
    let now = Instant::now();
    let mut table = CommitTable::new(now);
    table.assign(0, Epoch::new(1), 7, None);
    assert_eq!(table.unconfirmed(&[0], false, now), map(&[]));
    assert_eq!(table.unconfirmed(&[0], true, now), map(&[(0, 7)]));
    table.confirmed(0, 7);
    table.answered(&[0], true);
    assert_eq!(table.unconfirmed(&[0], true, now), map(&[]));
}

#[derive(Debug, Clone)]
enum Step {
    Assign {
        partition: i32,
        start: i64,
    },
    Retire {
        partition: i32,
    },
    Submit {
        partition: i32,
        epochs_ago: u64,
        offset: i64,
    },
    Send {
        force: bool,
    },
    Answer {
        taken: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..3i32;
    prop_oneof![
        1 => (partition.clone(), 0..50i64).prop_map(|(partition, start)| Step::Assign { partition, start }),
        1 => partition.clone().prop_map(|partition| Step::Retire { partition }),
        6 => (partition, 0..2u64, 0..100i64).prop_map(|(partition, epochs_ago, offset)| {
            Step::Submit { partition, epochs_ago, offset }
        }),
        4 => any::<bool>().prop_map(|force| Step::Send { force }),
        4 => any::<bool>().prop_map(|taken| Step::Answer { taken }),
    ]
}

proptest! {
    /// Whatever is submitted by whomever: a commit is of a partition that is owned, of its epoch,
    /// submitted there, and not below the last one that was confirmed in it.
    #[test]
    fn only_owned_epochs_are_committed_and_never_backwards(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        let mut now = Instant::now();
        let mut table = CommitTable::new(now);
        let (mut epoch, mut on_its_way) = (0u64, BTreeMap::new());
        // Per owned partition: its epoch, what was submitted in it (or its start), and confirmed.
        let mut owned: BTreeMap<i32, (u64, Vec<i64>, i64)> = BTreeMap::new();
        for step in steps {
            now += INTERVAL;
            match step {
                Step::Assign { partition, start } => {
                    epoch += 1;
                    table.assign(partition, Epoch::new(epoch), start, None);
                    owned.insert(partition, (epoch, vec![start], -1));
                    on_its_way.remove(&partition);
                }
                Step::Retire { partition } => {
                    table.retire(partition);
                    owned.remove(&partition);
                }
                Step::Submit { partition, epochs_ago, offset } => {
                    let current = owned.get(&partition).map_or(epoch, |(epoch, ..)| *epoch);
                    let of = current.saturating_sub(epochs_ago);
                    table.submit(watermark(partition, of, offset));
                    if let Some((epoch, submitted, _)) = owned.get_mut(&partition)
                        && *epoch == of
                    {
                        submitted.push(offset);
                    }
                }
                Step::Send { force } if on_its_way.is_empty() => {
                    on_its_way = if force {
                        table.unconfirmed(&[0, 1, 2], true, now)
                    } else {
                        table.due(now).unwrap_or_default()
                    };
                    for (partition, offset) in &on_its_way {
                        let (_, submitted, confirmed) = &owned[partition];
                        prop_assert!(submitted.contains(offset) && offset >= confirmed);
                        prop_assert_eq!(submitted.iter().max(), Some(offset));
                    }
                }
                Step::Answer { taken } => {
                    let answered: Vec<_> = on_its_way.keys().copied().collect();
                    for (partition, offset) in std::mem::take(&mut on_its_way) {
                        if taken {
                            table.confirmed(partition, offset);
                            if let Some((_, _, confirmed)) = owned.get_mut(&partition) {
                                *confirmed = offset;
                            }
                        }
                    }
                    table.answered(&answered, taken);
                }
                Step::Send { .. } => {}
            }
        }
    }
}

#[test]
fn a_settled_offset_reaches_the_table_through_the_tracker_alone() {
    let mut tracker = CommitTracker::new(2, Epoch::new(9), 40);
    tracker.polled(40).unwrap();
    tracker.settle(40, Outcome::Duplicate).unwrap();
    let mut table = CommitTable::new(Instant::now());
    table.assign(2, Epoch::new(9), 40, None);
    assert!(table.owns(&tracker.watermark()));
    table.submit(tracker.watermark());
    assert_eq!(
        table.unconfirmed(&[2], false, Instant::now()),
        map(&[(2, 41)])
    );
    table.retire(2);
    assert!(!table.owns(&tracker.watermark()));
}
