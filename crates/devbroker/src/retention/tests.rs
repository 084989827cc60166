use proptest::prelude::*;

use super::*;
use crate::config::{BrokerConfig, Storage};
use crate::log::batch::{self, tests::batch};
use crate::log::{ReadError, Retention};
use crate::offsets::Committed;
use crate::topics::TopicSettings;

const TOPIC: &str = "t";
/// Each batch is a segment.
const ONE_BATCH: u64 = 1;

fn node(config: BrokerConfig) -> Arc<Node> {
    let config = BrokerConfig {
        segment_bytes: ONE_BATCH,
        ..config
    };
    let address = config.listen;
    Arc::new(Node::open(&config, address).unwrap())
}

fn retain_for(groups: &[&str]) -> BrokerConfig {
    BrokerConfig {
        retain_for: groups.iter().map(ToString::to_string).collect(),
        ..BrokerConfig::default()
    }
}

fn create(node: &Node, settings: &[(&str, &str)]) {
    let mut own = TopicSettings::default();
    for (name, value) in settings {
        own.set(name, value).unwrap();
    }
    node.topics
        .change(&node.topics.only_turn())
        .create(TOPIC, 1, own, false)
        .unwrap();
}

/// A batch of ten records at each of the times; each in a segment of its own.
fn append(node: &Node, times: &[i64]) {
    let partition = node.topics.partition(TOPIC, 0).unwrap();
    for time in times {
        let bytes = batch((-1, -1, -1), 10, *time, &[9; 37]);
        let header = batch::validate(&bytes, 1 << 20).unwrap();
        partition.log().append(&header, &bytes).unwrap();
    }
}

fn commit(node: &Node, group: &str, offset: i64) {
    let committed = Committed {
        offset,
        leader_epoch: -1,
        metadata: String::new(),
    };
    let place = (TOPIC.to_owned(), 0);
    node.offsets
        .commit(group, vec![(place, committed)])
        .unwrap();
}

/// Looks at a time in ms. Out: where the partition begins, and how many segments it has.
fn look_at(node: &Arc<Node>, now: u64) -> (i64, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now);
    runtime.unwrap().block_on(look(node, now));
    let log = node.topics.partition(TOPIC, 0).unwrap();
    let log = log.log();
    (log.start(), log.stored().0)
}

#[test]
fn segments_go_when_their_newest_record_is_too_old_and_the_active_one_with_them() {
    let node = node(BrokerConfig::default());
    create(&node, &[("retention.ms", "1000")]);
    append(&node, &[100, 200, 300]);
    assert_eq!(look_at(&node, 1_100), (0, 3), "as old as is kept");
    assert_eq!(look_at(&node, 1_101), (10, 2));
    assert_eq!(look_at(&node, 5_000), (30, 1), "rolled, then dropped");
    append(&node, &[6_000]);
    assert_eq!(look_at(&node, 6_000), (30, 1));
    let log = node.topics.partition(TOPIC, 0).unwrap();
    assert_eq!(log.log().end(), 40);
    assert!(log.log().read(29, 1, true).is_err());
    assert!(!log.log().read(30, 1, true).unwrap().is_empty());
}

#[test]
fn segments_go_while_the_limit_of_bytes_is_reached_without_them() {
    let node = node(BrokerConfig::default());
    let one = batch((-1, -1, -1), 10, 0, &[9; 37]).len() as u64;
    let limit = (2 * one).to_string();
    create(
        &node,
        &[("retention.bytes", &limit), ("retention.ms", "-1")],
    );
    append(&node, &[0, 0]);
    assert_eq!(look_at(&node, u64::MAX >> 20), (0, 2));
    append(&node, &[0, 0, 0]);
    assert_eq!(look_at(&node, 0), (30, 2));
}

#[test]
fn nothing_goes_that_a_group_of_the_list_has_not_committed() {
    let node = node(retain_for(&["a", "b"]));
    create(&node, &[("retention.ms", "1000")]);
    append(&node, &[100, 200, 300]);
    let bytes = node.topics.partition(TOPIC, 0).unwrap().log().stored().1;
    assert_eq!(look_at(&node, 5_000), (0, 3), "neither has committed");
    commit(&node, "a", 30);
    assert_eq!(look_at(&node, 5_000), (0, 3), "b has not");
    let held = node.retaining.held_back();
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!((held[0].group.as_str(), held[0].bytes), ("b", bytes));
    assert_eq!(held[0].age, Duration::from_millis(4_900));
    commit(&node, "b", 19);
    assert_eq!(
        look_at(&node, 5_000),
        (10, 2),
        "the segment of 19 is needed"
    );
    commit(&node, "someone else", 0);
    commit(&node, "b", 30);
    assert_eq!(look_at(&node, 5_000), (30, 1));
    assert_eq!(node.retaining.held_back(), []);
}

#[test]
fn a_group_that_was_deleted_holds_everything_again() {
    let node = node(retain_for(&["a"]));
    create(&node, &[("retention.ms", "1000")]);
    append(&node, &[100, 200]);
    commit(&node, "a", 20);
    node.offsets.delete_group("a").unwrap();
    assert_eq!(look_at(&node, 5_000), (0, 2));
}

#[test]
fn memory_is_given_back() {
    let one = batch((-1, -1, -1), 10, 0, &[9; 37]).len() as u64;
    let node = node(BrokerConfig {
        memory_limit: 3 * one,
        ..BrokerConfig::default()
    });
    create(&node, &[("retention.ms", "1000")]);
    for round in 0..5u64 {
        append(&node, &[0, 0, 0]);
        let (start, segments) = look_at(&node, 5_000);
        assert_eq!((start, segments), (30 * (round as i64 + 1), 1));
    }
}

#[test]
fn the_new_start_and_the_dropped_segments_are_the_same_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let config = || BrokerConfig {
        storage: Storage::Dir(dir.path().to_owned()),
        ..BrokerConfig::default()
    };
    let first = node(config());
    create(&first, &[("retention.ms", "1000")]);
    append(&first, &[100, 200, 3_000]);
    assert_eq!(look_at(&first, 3_500), (20, 1));
    drop(first);
    let reopened = node(config());
    assert_eq!(look_at(&reopened, 3_500), (20, 1));
    assert_eq!(look_at(&reopened, 5_000), (30, 1));
    drop(reopened);
    let empty = node(config());
    append(&empty, &[6_000]);
    let partition = empty.topics.partition(TOPIC, 0).unwrap();
    let log = partition.log();
    assert_eq!((log.start(), log.end()), (30, 40));
}

#[test]
fn a_topic_that_is_deleted_meanwhile_and_made_anew_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        storage: Storage::Dir(dir.path().to_owned()),
        ..BrokerConfig::default()
    };
    let node = node(config);
    create(&node, &[]);
    append(&node, &[100, 200]);
    let old = node.topics.partition(TOPIC, 0).unwrap();
    node.topics
        .change(&node.topics.only_turn())
        .delete(TOPIC)
        .unwrap();
    create(&node, &[]);
    assert!(old.raise_start(10).is_err());
    // Nor does whoever still holds the old one read the new one's files.
    let read = old.log().read(0, 1_000, true);
    assert!(matches!(read, Err(ReadError::Deleted)), "{read:?}");
    let told = old.log().readable(0);
    assert!(matches!(told, Err(ReadError::Deleted)), "{told:?}");
    assert!(!dir.path().join("partitions/t-0/start").exists());
}

#[test]
fn a_group_that_goes_back_after_the_look_holds_what_it_left() {
    let node = node(retain_for(&["g"]));
    create(&node, &[]);
    append(&node, &[100, 200, 300]);
    commit(&node, "g", 30);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let look = node.retaining.commits(&node.offsets);
    let commits = runtime.unwrap().block_on(look).unwrap();
    let place = (TOPIC.to_owned(), 0);
    let below = || commits.first_below(&place, &node.offsets, 20).is_some();
    assert!(!below());
    commit(&node, "g", 10);
    assert!(below());
}

/// A week, in ms.
const WEEK: i64 = 604_800_000;

fn expire(node: &Node, now: i64, busy: &[&str]) -> Vec<String> {
    let has_members = |group: &str| busy.contains(&group);
    let always = &node.retaining.groups;
    let gone = node.offsets.expire(now, WEEK, always, has_members).unwrap();
    gone.into_keys().collect()
}

#[test]
fn commits_expire_a_week_after_they_were_made_or_the_last_member_left() {
    let dir = tempfile::tempdir().unwrap();
    let config = || BrokerConfig {
        storage: Storage::Dir(dir.path().to_owned()),
        ..retain_for(&["kept"])
    };
    let first = node(config());
    create(&first, &[]);
    let made = files::millis(SystemTime::now());
    for group in ["kept", "simple", "left", "killed"] {
        commit(&first, group, 1);
    }
    let none = Vec::<String>::new();
    let day = WEEK / 7;
    assert_eq!(expire(&first, made + day, &["left", "killed"]), none);
    // The last member of one is seen to be gone; the broker goes before the other's is.
    assert_eq!(expire(&first, made + 3 * day, &["killed"]), none);
    drop(first);

    let node = node(config());
    assert_eq!(expire(&node, made + 4 * day, &[]), none, "killed left now");
    assert_eq!(expire(&node, made + WEEK - 1, &[]), none);
    assert_eq!(expire(&node, made + 8 * day, &[]), ["simple"]);
    assert_eq!(expire(&node, made + 10 * day, &[]), ["left"]);
    assert_eq!(expire(&node, made + 11 * day - 1, &[]), none);
    assert_eq!(expire(&node, made + 11 * day, &[]), ["killed"]);
    assert_eq!(expire(&node, made + 99 * day, &[]), none);
    assert_eq!(node.offsets.groups(), ["kept"]);
}

proptest! {
    /// Whatever the segments and the limits: a prefix goes, whole, and each rule alone explains it.
    #[test]
    fn what_goes_is_a_prefix_that_the_limits_explain(
        sizes in proptest::collection::vec((1..100u64, 0..1_000i64), 0..20),
        ms in proptest::option::of(0..1_000i64),
        limit in proptest::option::of(0..1_000u64),
        now in 0..2_000i64,
    ) {
        let mut base = 0;
        let spans: Vec<Span> = sizes.iter().map(|(bytes, newest)| {
            base += 10;
            Span { base: base - 10, end: base, bytes: *bytes, newest: *newest }
        }).collect();
        let retention = Retention { ms, bytes: limit };
        let gone = expired(&spans, retention, now);
        let bytes_from = |at: usize| spans[at..].iter().map(|span| span.bytes).sum::<u64>();
        let goes = |at: usize| {
            ms.is_some_and(|ms| now - spans[at].newest > ms)
                || limit.is_some_and(|limit| bytes_from(at + 1) >= limit)
        };
        prop_assert!((0..gone).all(goes));
        prop_assert!(gone == spans.len() || !goes(gone));
    }
}
