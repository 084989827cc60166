//! Whatever one file of a directory holds: the node opens to a part of what was there and gives no
//! offset again, or says what is damaged. It never panics, and never believes a flipped bit.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use crate::log::batch;
use crate::node::Node;
use crate::offsets::Committed;
use crate::topics::TopicSettings;
use crate::{BrokerConfig, BrokerError, Storage};

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Other(Vec<u8>),
    Overwrite(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => bytes().prop_map(Damage::Other),
        1 => (any::<Index>(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
    ]
}

impl Damage {
    fn apply(&self, sound: &[u8]) -> Vec<u8> {
        let mut bytes = sound.to_vec();
        match self {
            Self::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Other(other) => bytes.clone_from(other),
            Self::Overwrite(at, other) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + other.len());
                bytes[at..end].copy_from_slice(&other[..end - at]);
            }
        }
        bytes
    }
}

fn open(dir: &Path, boot: &str) -> Result<Node, BrokerError> {
    let config = BrokerConfig {
        storage: Storage::Dir(dir.join("log")),
        boot_id_file: dir.join(boot),
        reservation_step: 100,
        ..BrokerConfig::default()
    };
    Node::open(&config, SocketAddr::from(([127, 0, 0, 1], 9)))
}

fn commit(node: &Node, offset: i64) {
    let committed = Committed {
        offset,
        leader_epoch: 0,
        metadata: "m".to_owned(),
    };
    let place = ("topic".to_owned(), 0);
    node.offsets
        .commit("group", vec![(place, committed)])
        .unwrap();
}

/// Three records in one partition, two commits, a producer id.
fn fill(dir: &Path) -> [Uuid; 2] {
    for boot in ["this", "that"] {
        fs::write(dir.join(boot), boot).unwrap();
    }
    let node = open(dir, "this").unwrap();
    let settings = TopicSettings::default();
    node.topics
        .change(&node.topics.only_turn())
        .create("topic", 1, settings, false)
        .unwrap();
    let id = node.producer_ids.next().unwrap();
    for sequence in 0..3 {
        let bytes = batch::tests::batch((id, 0, sequence), 1, 10, b"record");
        let header = batch::validate(&bytes, 1 << 20).unwrap();
        let partition = node.topics.partition("topic", 0).unwrap();
        partition.log().append(&header, &bytes).unwrap();
        commit(&node, i64::from(sequence));
    }
    ids(&node)
}

fn ids(node: &Node) -> [Uuid; 2] {
    [node.log_id, node.topics.get("topic").unwrap().id]
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Looks at all that may be asked of a node that opened.
fn judge(node: &Node) {
    let place = ("topic".to_owned(), 0);
    if let Some(found) = node.offsets.get("group", &place) {
        let written = (0..3).contains(&found.offset) && found.leader_epoch == 0;
        assert!(written && found.metadata == "m", "{found:?}");
    }
    for group in node.offsets.groups() {
        assert_eq!(
            (group.as_str(), node.offsets.places(&group)),
            ("group", vec![place.clone()])
        );
    }
    let partition = node.topics.partition("topic", 0).unwrap();
    let mut log = partition.log();
    assert!(log.end() >= 3, "offsets from {} on come again", log.end());
    let mut next = log.start();
    while next < log.end() {
        let bytes = log.read(next, 1, true).unwrap();
        let header = batch::BatchHeader::parse(&bytes).unwrap();
        assert!(header.checksum_holds(&bytes));
        next = header.next_offset();
    }
    // Were the id one that was given before, this would be taken for a repeat.
    let id = node.producer_ids.next().unwrap();
    let bytes = batch::tests::batch((id, 0, 0), 1, 10, b"record");
    let header = batch::validate(&bytes, 1 << 20).unwrap();
    let end = log.end();
    assert_eq!(log.append(&header, &bytes).unwrap().base_offset, end);
}

/// Without the list of topics or the log's id nothing is made anew over what lies there.
#[tokio::test]
async fn a_missing_state_file_beside_topics_is_no_new_log() {
    for (names, named) in [
        (&["topics.json"][..], "topics.json"),
        (&["format.json"], "format.json"),
        (&["topics.json", "format.json"], "format.json"),
    ] {
        for (clean, with_records) in [(false, true), (true, false)] {
            let dir = tempfile::tempdir().unwrap();
            fill(dir.path());
            let node = open(dir.path(), "this").unwrap();
            if clean {
                node.close().await.unwrap();
            }
            drop(node);
            if !with_records {
                let folder = dir.path().join("log/partitions/topic-0");
                fs::remove_dir_all(folder).unwrap();
            }
            let log = dir.path().join("log");
            for name in names {
                fs::remove_file(log.join(name)).unwrap();
            }
            let gone = log.join(named);
            let files = files(dir.path());
            let error = open(dir.path(), "this").unwrap_err();
            let named = matches!(&error, BrokerError::Damaged { path, .. } if *path == gone);
            assert!(named, "{error}");
            assert_eq!(self::files(dir.path()), files, "nothing is made or deleted");
        }
    }
}

/// A topic that was being made when the process was killed is not held for a lost one.
#[test]
fn a_directory_that_never_had_a_topic_needs_no_list() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), "this").unwrap());
    let half = dir.path().join("log/partitions/topic-0");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("00000000000000000000.log"), b"").unwrap();
    drop(open(dir.path(), "this").unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_file_holds_the_node_opens_to_a_part_of_it_or_refuses(
        which in any::<Index>(),
        damage in damage(),
        same_boot in any::<bool>(),
    ) {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let filled = fill(dir.path());
        let files = files(&dir.path().join("log"));
        let file = &files[which.index(files.len())];
        let sound = fs::read(file).unwrap();
        let broken = damage.apply(&sound);
        fs::write(file, &broken).unwrap();
        match open(dir.path(), if same_boot { "this" } else { "that" }) {
            Ok(node) => {
                prop_assert_eq!(ids(&node), filled, "{:?}", file);
                judge(&node);
            }
            Err(BrokerError::Damaged { .. } | BrokerError::Format { .. }) => {
                prop_assert!(broken != sound, "{file:?}");
                // What may be mended is: only a file that others cannot tell refuses the start.
                prop_assert!(file.extension().is_none_or(|it| it != "log"), "{file:?}");
            }
            Err(error) => prop_assert!(false, "{file:?}: {error}"),
        }
    }
}
