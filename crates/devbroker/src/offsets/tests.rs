use std::fs;
use std::fs::File;

use super::file::COMPACT_AT;
use super::*;

fn committed(offset: i64) -> Committed {
    Committed {
        offset,
        leader_epoch: -1,
        metadata: format!("batch {offset}\n\u{1f600}"),
    }
}

fn place(partition: i32) -> Place {
    ("t".to_owned(), partition)
}

#[test]
fn any_cut_of_the_file_opens_to_a_prefix_of_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let offsets = Offsets::open(dir.path(), |_| true).unwrap();
    for offset in 1..=4 {
        offsets
            .commit("g", vec![(place(0), committed(offset))])
            .unwrap();
    }
    drop(offsets);
    let path = dir.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    let mut last = 0;
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let reopened = Offsets::open(dir.path(), |_| true).unwrap();
        let offset = reopened.get("g", &place(0)).map_or(0, |found| found.offset);
        assert!(
            offset == last || offset == last + 1,
            "{offset} after {last} at {length}"
        );
        last = offset;
    }
    assert_eq!(last, 4);
    fs::write(&path, &whole).unwrap();
    let reopened = Offsets::open(dir.path(), |_| true).unwrap();
    assert_eq!(reopened.get("g", &place(0)), Some(committed(4)));
}

#[test]
fn a_growing_file_is_compacted_and_deletions_last() {
    let dir = tempfile::tempdir().unwrap();
    let offsets = Offsets::open(dir.path(), |_| true).unwrap();
    offsets
        .commit("gone", vec![(place(1), committed(1))])
        .unwrap();
    for round in 0..600 {
        let commits = (0..100).map(|it| (place(0), committed(round * 100 + it)));
        offsets.commit("g", commits.collect()).unwrap();
    }
    offsets.delete_group("gone").unwrap();
    let size = fs::metadata(dir.path().join(FILE)).unwrap().len();
    assert!(size < COMPACT_AT + 1_000, "{size}");
    drop(offsets);
    let offsets = Offsets::open(dir.path(), |_| true).unwrap();
    assert_eq!(offsets.groups(), ["g"]);
    offsets.delete_topic("t").unwrap();
    drop(offsets);
    assert!(
        Offsets::open(dir.path(), |_| true)
            .unwrap()
            .groups()
            .is_empty()
    );
}

#[test]
fn all_commits_together_have_an_end_and_those_there_go_on() {
    let offsets = Offsets::in_memory();
    let long = || Committed {
        metadata: "m".repeat(4_096),
        ..committed(1)
    };
    let all = |group: &str| {
        let commits = (0..4_000).map(|at| (place(at), long()));
        offsets.commit(group, commits.collect())
    };
    let mut groups = 0;
    while all(&format!("group {groups}")).is_ok() {
        groups += 1;
        assert!(groups < 10, "no end");
    }
    assert_eq!(groups, MAX_BYTES / (4_000 * (COMMIT_BYTES + 7 + 1 + 4_096)));
    all("group 0").unwrap();
    offsets.delete_group("group 0").unwrap();
    all("group 9").unwrap();
    let inner = offsets.inner.lock();
    assert_eq!(inner.bytes, inner.weigh());
}

/// Every bit but those of a last line feed, which may be missing after a kill: the other lines are
/// taken over, wherever the bad one stands, and the file is kept as it was.
#[test]
fn a_damaged_line_takes_no_other_with_it_and_is_kept() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let path = dir.path().join(FILE);
    let offsets = Offsets::open(dir.path(), |_| true).unwrap();
    for partition in 0..3 {
        let before = vec![(place(partition), committed(1))];
        offsets.commit("g", before).unwrap();
    }
    for partition in 0..3 {
        let commit = vec![(place(partition), committed(2))];
        offsets.commit("g", commit).unwrap();
    }
    drop(offsets);
    let sound = fs::read(&path).unwrap();
    let line = sound.len() / 6;
    for bit in 0..(sound.len() - 1) * 8 {
        let mut broken = sound.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &broken).unwrap();
        let reopened = Offsets::open(dir.path(), |_| true).unwrap();
        let bad = bit / 8 / line;
        let joined = (bit / 8 % line == line - 1).then_some(bad + 1);
        for partition in 0..3 {
            let lines = [partition, partition + 3];
            let is_sound = |at: &&usize| **at != bad && Some(**at) != joined;
            let expected = lines
                .iter()
                .rfind(is_sound)
                .map(|at| committed(1 + *at as i64 / 3));
            let found = reopened.get("g", &place(i32::try_from(partition).unwrap()));
            assert_eq!(found, expected, "bit {bit}, partition {partition}");
        }
        let kept = dir.path().join(format!("{FILE}.{}.cut", bad * line));
        if bad < 5 {
            assert_eq!(fs::read(&kept).unwrap(), broken, "bit {bit}");
        }
        for entry in fs::read_dir(dir.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// A device that takes every byte and refuses every sync.
fn without_syncs() -> Arc<File> {
    Arc::new(File::options().write(true).open("/dev/null").unwrap())
}

#[tokio::test]
async fn what_a_failed_sync_left_in_doubt_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let offsets = Offsets::open(dir.path(), |_| true).unwrap();
    let lost = without_syncs();
    offsets.inner.lock().disk.as_mut().unwrap().file = lost;
    offsets.commit("g", vec![(place(0), committed(1))]).unwrap();
    offsets.sync().await.unwrap_err();
    assert!(offsets.inner.lock().disk.as_ref().unwrap().doubtful);
    offsets.sync().await.unwrap();
    let reopened = Offsets::open(dir.path(), |_| true).unwrap();
    assert_eq!(reopened.get("g", &place(0)), Some(committed(1)));
}

/// The directory could not be synced behind the rename: commits go to the file that has the name,
/// and it is written once more before one counts as synced.
#[tokio::test]
async fn after_a_rename_that_may_not_last_commits_go_to_the_file_that_has_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let offsets = Offsets::open(dir.path(), |_| true).unwrap();
    {
        let mut inner = offsets.inner.lock();
        let (file, named) = files::exchange(&path, b"").unwrap();
        named.unwrap();
        inner.adopt(&path, file, 0, true);
    }
    offsets.commit("g", vec![(place(0), committed(1))]).unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::copy(&path, copy.path().join(FILE)).unwrap();
    let killed = Offsets::open(copy.path(), |_| true).unwrap();
    assert_eq!(killed.get("g", &place(0)), Some(committed(1)));
    let generation = |offsets: &Offsets| offsets.inner.lock().disk.as_ref().unwrap().generation;
    let before = generation(&offsets);
    offsets.sync().await.unwrap();
    assert_eq!(generation(&offsets), before + 1, "written anew");
    offsets.sync().await.unwrap();
    assert_eq!(generation(&offsets), before + 1, "and once");
}
