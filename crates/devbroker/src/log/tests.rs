use std::collections::BTreeMap;

use proptest::prelude::*;

use super::batch::tests::batch;
use super::read::whole_batches;
use super::*;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 20,
        segment_ms: i64::MAX,
        reservation_step: 1_000,
        sync_always: false,
        memory_left: Arc::new(AtomicU64::new(1 << 30)),
    }
}

fn append(log: &mut PartitionLog, producer: (i64, i16, i32), count: i32, time: i64) -> i64 {
    let bytes = batch(producer, count, time, &[9; 37]);
    let header = batch::validate(&bytes, 1 << 20).unwrap();
    log.append(&header, &bytes).unwrap().base_offset
}

/// Offsets of all batches, as readers find them.
fn offsets(log: &PartitionLog) -> Vec<i64> {
    let mut found = Vec::new();
    let mut next = log.start();
    loop {
        let bytes = log.read(next, 1, true).unwrap();
        let Some(header) = BatchHeader::parse(&bytes) else {
            return found;
        };
        assert!(header.checksum_holds(&bytes) && header.last_offset() >= next);
        // An empty one stands over offsets that were never given.
        if header.record_count > 0 {
            found.push(header.base_offset);
        }
        next = header.next_offset();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A folder with batches at 0, 2, 4, the last of one record: the end is 5.
fn small_log(dir: &Path) {
    let mut log = PartitionLog::create(dir, options()).unwrap();
    for (sequence, count) in [(0, 2), (2, 2), (4, 1)] {
        append(&mut log, (7, 0, sequence), count, 10);
    }
}

/// Names and bytes of the files that recovery kept.
fn kept(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name());
    let cut = names.map(|it| it.into_string().unwrap());
    cut.filter(|name| name.ends_with(".cut"))
        .map(|name| (name.clone(), fs::read(dir.join(name)).unwrap()))
        .collect()
}

const FILE: &str = "00000000000000000000.log";

/// Where a sync costs nothing, if there is such a place: these tests open thousands of logs.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// How a run may have ended, and where the next one goes on if something of it is missing.
const ENDS: [(LastRun, i64); 3] = [
    (LastRun::SameBoot, 1_002),
    (LastRun::Clean { end: 5 }, 5),
    (LastRun::OtherBoot, 1_002),
];

/// Opens what was broken: a prefix of `batches` batches, going on at `next`, and the same again if
/// it is killed there and then, and readable beyond the gap.
fn opens(dir: &Path, last_run: LastRun, batches: usize, next: i64, what: &str) {
    let what = format!("{last_run:?}, {what}");
    for last_run in [last_run, LastRun::SameBoot] {
        let log = PartitionLog::open(dir, options(), last_run).unwrap();
        assert_eq!(offsets(&log), [0, 2, 4][..batches], "{what}");
        assert_eq!(log.end(), next, "{what}");
    }
    let mut log = PartitionLog::open(dir, options(), LastRun::SameBoot).unwrap();
    assert_eq!(append(&mut log, (-1, -1, -1), 1, 0), next, "{what}");
    drop(log);
    let reopened = PartitionLog::open(dir, options(), LastRun::SameBoot).unwrap();
    assert_eq!(*offsets(&reopened).last().unwrap(), next, "{what}");
    assert_eq!(reopened.end(), next + 1, "{what}");
}

#[test]
fn every_cut_opens_to_the_whole_batches_before_it_and_no_offset_comes_again() {
    let dir = quick_dir();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    small_log(&whole);
    let bytes = fs::read(whole.join(FILE)).unwrap();
    let size = bytes.len() / 3;
    for length in 0..=bytes.len() {
        for (last_run, after_a_loss) in ENDS {
            let all = length == bytes.len() && last_run != LastRun::OtherBoot;
            let next = if all { 5 } else { after_a_loss };
            copy(&whole, &broken);
            fs::write(broken.join(FILE), &bytes[..length]).unwrap();
            opens(
                &broken,
                last_run,
                length / size,
                next,
                &format!("cut at {length}"),
            );
            fs::remove_dir_all(&broken).unwrap();
        }
    }
}

/// A write that a kill interrupted was told to nobody: its offset is given to the next.
#[test]
fn a_torn_write_leaves_no_gap_after_a_kill() {
    let dir = quick_dir();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    small_log(&whole);
    let sound = fs::read(whole.join(FILE)).unwrap();
    let mut torn = Vec::new();
    let placed = batch((7, 0, 5), 3, 10, &[9; 37]);
    torn.extend(Placed::new(&placed, 5).parts().concat());
    for length in 1..torn.len() {
        copy(&whole, &broken);
        fs::write(broken.join(FILE), [&sound[..], &torn[..length]].concat()).unwrap();
        opens(
            &broken,
            LastRun::SameBoot,
            3,
            5,
            &format!("torn at {length}"),
        );
        assert!(kept(&broken).is_empty(), "nobody was told of it");
        fs::remove_dir_all(&broken).unwrap();
    }
}

/// What is cut off at a place where something was cut off before lies beside that.
#[test]
fn nothing_that_is_kept_takes_the_place_of_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    small_log(&path);
    let mut expected = Vec::new();
    for name in [format!("{FILE}.0.cut"), format!("{FILE}.0.2.cut")] {
        let mut bytes = fs::read(path.join(FILE)).unwrap();
        bytes[30] ^= 1;
        fs::write(path.join(FILE), &bytes).unwrap();
        drop(PartitionLog::open(&path, options(), LastRun::SameBoot).unwrap());
        expected.push((name, bytes));
        let mut found = kept(&path);
        found.sort_by_key(|(name, _)| name.len());
        assert_eq!(found, expected);
    }
}

#[test]
fn every_flipped_bit_opens_to_a_prefix_and_no_offset_comes_again() {
    let dir = quick_dir();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    small_log(&whole);
    let bytes = fs::read(whole.join(FILE)).unwrap();
    let size = bytes.len() / 3;
    for bit in 0..bytes.len() * 8 {
        let (last_run, next) = ENDS[bit % ENDS.len()];
        let at = bit / 8;
        copy(&whole, &broken);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (bit % 8);
        fs::write(broken.join(FILE), &flipped).unwrap();
        opens(
            &broken,
            last_run,
            at / size,
            next,
            &format!("bit {bit} flipped"),
        );
        let cut = at / size * size;
        let expected = (format!("{FILE}.{cut}.cut"), flipped[cut..].to_vec());
        assert_eq!(kept(&broken), [expected], "{last_run:?}, bit {bit}");
        fs::remove_dir_all(&broken).unwrap();
    }
}

/// Segments of one batch each; what lies behind a damaged place is kept, under a name of its own.
#[test]
fn a_damaged_or_missing_segment_opens_to_a_prefix_and_what_is_cut_off_is_kept() {
    let dir = quick_dir();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let mut log = PartitionLog::create(
        &whole,
        LogOptions {
            segment_bytes: 100,
            ..options()
        },
    )
    .unwrap();
    for (sequence, count) in [(0, 2), (2, 2), (4, 1)] {
        append(&mut log, (7, 0, sequence), count, 10);
    }
    drop(log);
    let bases = segment::list(&whole).unwrap();
    assert_eq!(bases, [0, 2, 4]);
    for (at, base) in bases.iter().enumerate() {
        for (last_run, next) in ENDS {
            copy(&whole, &broken);
            let file = segment::path(&broken, *base);
            let mut bytes = fs::read(&file).unwrap();
            bytes[70] ^= 1;
            fs::write(&file, &bytes).unwrap();
            opens(
                &broken,
                last_run,
                at,
                next,
                &format!("segment {base} damaged"),
            );
            assert_eq!(kept(&broken).len(), bases.len() - at);
            fs::remove_dir_all(&broken).unwrap();

            copy(&whole, &broken);
            fs::remove_file(segment::path(&broken, *base)).unwrap();
            // Readers step over a whole segment that is gone in the middle; no offset comes again.
            let mut log = PartitionLog::open(&broken, options(), last_run).unwrap();
            let all_behind = at + 1 < bases.len() && last_run != LastRun::OtherBoot;
            let next = if all_behind { 5 } else { next };
            assert_eq!(
                append(&mut log, (-1, -1, -1), 1, 0),
                next,
                "{last_run:?} {base} gone"
            );
            fs::remove_dir_all(&broken).unwrap();
        }
    }
}

/// A segment was begun, its folder could not be synced, and the log went on in the one before.
#[test]
fn an_empty_segment_that_the_log_went_past_sets_nothing_aside() {
    let dir = quick_dir();
    let (whole, stray) = (dir.path().join("whole"), dir.path().join("stray"));
    let small = indexed(&whole);
    let sound = told(&PartitionLog::open(&whole, small.clone(), INDEXED_END).unwrap());
    for base in [1, 2, 3, 5] {
        for last_run in [INDEXED_END, LastRun::SameBoot] {
            copy(&whole, &stray);
            fs::write(segment::path(&stray, base), b"").unwrap();
            let mut damage = Vec::new();
            PartitionLog::open_read_only(&stray, small.clone(), last_run, &mut damage).unwrap();
            assert_eq!(damage, [], "{last_run:?}, {base}");
            let mut log = PartitionLog::open(&stray, small.clone(), last_run).unwrap();
            assert_eq!(told(&log), sound, "{last_run:?}, {base}");
            assert_eq!(append(&mut log, (-1, -1, -1), 1, 0), 7);
            assert_eq!(kept(&stray), []);
            assert_eq!(segment::list(&stray).unwrap(), [0, 4, 6]);
            fs::remove_dir_all(&stray).unwrap();
        }
    }
    // Behind the last segment, which takes records.
    let last = dir.path().join("last");
    small_log(&last);
    fs::write(segment::path(&last, 2), b"").unwrap();
    opens(&last, LastRun::SameBoot, 3, 5, "a stray segment");
    assert_eq!(segment::list(&last).unwrap(), [0]);
}

/// Offsets that no segment holds, before the first or between two, are named.
#[test]
fn a_missing_segment_is_seen_by_whoever_looks() {
    let dir = quick_dir();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let small = indexed(&whole);
    let look = |path: &Path| {
        let mut damage = Vec::new();
        PartitionLog::open_read_only(path, small.clone(), INDEXED_END, &mut damage).unwrap();
        let said = damage.into_iter().map(|it| it.to_string());
        said.collect::<Vec<_>>()
    };
    assert_eq!(look(&whole), [""; 0]);
    for (gone, behind, offsets) in [(0, 4, "0 to 3"), (4, 6, "4 to 5")] {
        copy(&whole, &broken);
        fs::remove_file(segment::path(&broken, gone)).unwrap();
        let file = segment::path(&broken, behind);
        let what = format!("no segment before it holds the offsets {offsets}");
        assert_eq!(
            look(&broken),
            [format!("{} is damaged: {what}", file.display())]
        );
        fs::remove_dir_all(&broken).unwrap();
    }
    // Those that were dropped do not count.
    fs::remove_file(segment::path(&whole, 0)).unwrap();
    start::write(&whole, 5).unwrap();
    assert_eq!(look(&whole), [""; 0]);
}

/// Killed at any step of an opening: whatever steps were done, the next opening goes on alike.
#[test]
fn an_opening_that_is_killed_itself_is_made_good_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    small_log(&path);
    let mut bytes = fs::read(path.join(FILE)).unwrap();
    let size = bytes.len() / 3;
    bytes[size + 70] ^= 1;
    fs::write(path.join(FILE), &bytes).unwrap();
    // Cut at the damaged place, and nothing after it.
    fs::write(path.join(FILE), &bytes[..size]).unwrap();
    opens(&path, LastRun::SameBoot, 1, 1_002, "cut, then killed");
}

#[test]
fn a_damaged_batch_after_a_kill_goes_on_at_the_reservation() {
    let dir = tempfile::tempdir().unwrap();
    small_log(&dir.path().join("p"));
    let file = dir.path().join("p/00000000000000000000.log");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let log = PartitionLog::open(&dir.path().join("p"), options(), LastRun::SameBoot).unwrap();
    assert_eq!((offsets(&log), log.end()), (vec![0, 2], 1_002));
    drop(log);
    let mut log = PartitionLog::open(&dir.path().join("p"), options(), LastRun::SameBoot).unwrap();
    assert_eq!(
        log.end(),
        1_002,
        "a kill before the first new record changes nothing"
    );
    assert_eq!(log.start(), 0);
    assert!(log.read(1_003, 1, true).is_err());
    assert_eq!(append(&mut log, (-1, -1, -1), 1, 0), 1_002);
    let bytes = log.read(4, 1, true).unwrap();
    let gap = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(
        (gap.base_offset, gap.next_offset(), gap.record_count),
        (4, 1_002, 0),
        "readers step over the gap"
    );
}

/// Three segments of two batches or one, synced, and so the first two with an index.
fn indexed(dir: &Path) -> LogOptions {
    let small = LogOptions {
        segment_bytes: 220,
        ..options()
    };
    let mut log = PartitionLog::create(dir, small.clone()).unwrap();
    for (sequence, count) in [(0, 2), (2, 2), (4, 1), (5, 1), (6, 1)] {
        append(&mut log, (7, 0, sequence), count, i64::from(sequence));
    }
    let job = log.begin_sync().unwrap();
    let result = job.run();
    log.end_sync(&job, &result);
    assert_eq!(segment::list(dir).unwrap(), [0, 4, 6]);
    small
}

const INDEXED_END: LastRun = LastRun::Clean { end: 7 };

/// What a log says, wherever it has it from.
fn told(log: &PartitionLog) -> (Vec<i64>, Vec<Option<i64>>, Vec<i64>, i64) {
    let at = |time| log.find_timestamp(time).unwrap().map(|(offset, _)| offset);
    let sizes = log.segments.iter().map(|it| it.size.cast_signed());
    (
        offsets(log),
        (0..8).map(at).collect(),
        sizes.collect(),
        log.highest_producer_id(),
    )
}

#[test]
fn after_a_clean_end_closed_segments_are_known_without_reading_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let small = indexed(&path);
    let read = told(&PartitionLog::open(&path, small.clone(), LastRun::SameBoot).unwrap());
    // Were they read, this would cut the log.
    let file = segment::path(&path, 0);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let mut log = PartitionLog::open(&path, small.clone(), INDEXED_END).unwrap();
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(told(&log), read);
    assert_eq!(append(&mut log, (7, 0, 6), 1, 6), 6, "repeats are known");
    assert_eq!(append(&mut log, (7, 0, 2), 2, 2), 2, "also from an index");
    drop(log);
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let log = PartitionLog::open(&path, small, LastRun::SameBoot).unwrap();
    assert_eq!(log.segments.len(), 1, "after a kill they are read");
}

/// No cut and no flipped bit of an index is believed, and it is made again.
#[test]
fn a_damaged_or_missing_index_is_made_from_the_segment() {
    let dir = quick_dir();
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    let small = indexed(&whole);
    let sound_log = told(&PartitionLog::open(&whole, small.clone(), INDEXED_END).unwrap());
    let sound = fs::read(index::path(&whole, 0)).unwrap();
    let cuts = (0..sound.len()).map(|length| sound[..length].to_vec());
    let flips = (0..sound.len() * 8).map(|bit| {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    copy(&whole, &broken);
    for bytes in cuts.chain(flips) {
        fs::write(index::path(&broken, 0), bytes).unwrap();
        let log = PartitionLog::open(&broken, small.clone(), INDEXED_END).unwrap();
        assert_eq!(told(&log), sound_log);
        assert_eq!(fs::read(index::path(&broken, 0)).unwrap(), sound);
    }
    for last_run in [INDEXED_END, LastRun::SameBoot] {
        fs::remove_file(index::path(&broken, 0)).unwrap();
        let log = PartitionLog::open(&broken, small.clone(), last_run).unwrap();
        assert_eq!(told(&log), sound_log);
        assert_eq!(fs::read(index::path(&broken, 0)).unwrap(), sound);
    }
}

/// A segment that is written to again has no index that speaks of before.
#[test]
fn no_index_outlives_what_it_is_of() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let small = indexed(&path);
    fs::remove_file(segment::path(&path, 6)).unwrap();
    drop(PartitionLog::open(&path, small.clone(), LastRun::Clean { end: 6 }).unwrap());
    assert!(!index::path(&path, 4).exists(), "it takes records now");
    let partition = Partition::new(PartitionLog::open(&path, small, LastRun::SameBoot).unwrap());
    assert!(index::path(&path, 0).exists());
    assert!(partition.raise_start(4).unwrap());
    assert!(!index::path(&path, 0).exists(), "dropped with its segment");
}

/// Three segments, of which the start file says that the first is dropped; the kill came before its
/// file went, or between any two files. No record comes back, none that is kept goes.
#[test]
fn a_drop_that_was_killed_is_ended_by_the_next_opening() {
    let dir = quick_dir();
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let small = LogOptions {
        segment_bytes: 100,
        ..options()
    };
    let mut log = PartitionLog::create(&whole, small).unwrap();
    for (sequence, count) in [(0, 2), (2, 2), (4, 1)] {
        append(&mut log, (7, 0, sequence), count, 10);
    }
    drop(log);
    for (start, left) in [(0, 3), (1, 3), (2, 2), (3, 2), (4, 1), (5, 1)] {
        for (last_run, _) in ENDS {
            copy(&whole, &killed);
            start::write(&killed, start).unwrap();
            let mut damage = Vec::new();
            let seen =
                PartitionLog::open_read_only(&killed, options(), last_run, &mut damage).unwrap();
            assert_eq!((seen.start(), damage), (start, Vec::new()));
            assert_eq!(segment::list(&killed).unwrap().len(), 3, "only looked at");
            let log = PartitionLog::open(&killed, options(), last_run).unwrap();
            assert_eq!(
                (log.start(), log.segments.len()),
                (start, left),
                "{last_run:?}"
            );
            assert_eq!(segment::list(&killed).unwrap().len(), left);
            let kept = [0, 2, 4].into_iter().filter(|base| base + 1 >= start);
            let kept: Vec<i64> = kept.filter(|base| *base < 4 || start < 5).collect();
            assert_eq!(offsets(&log), kept, "start {start}");
            fs::remove_dir_all(&killed).unwrap();
        }
    }
}

/// Its offsets were given all the same: no topic is made anew over it.
#[test]
fn a_folder_whose_records_were_all_dropped_has_held_some() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    drop(PartitionLog::create(&path, options()).unwrap());
    assert!(!holds_records(&path).unwrap());
    small_log(&path);
    let log = PartitionLog::open(&path, options(), LastRun::SameBoot).unwrap();
    assert!(Partition::new(log).raise_start(5).unwrap());
    assert_eq!(segment::list(&path).unwrap(), [5]);
    assert!(holds_records(&path).unwrap());
}

/// A power cut took what stood behind the start: the log goes on behind it all the same.
#[test]
fn a_log_never_ends_before_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    small_log(&path);
    start::write(&path, 5).unwrap();
    fs::write(path.join(FILE), b"").unwrap();
    let log = PartitionLog::open(&path, options(), LastRun::Clean { end: 4 }).unwrap();
    assert_eq!((log.start(), log.end()), (5, 5));
}

#[test]
fn a_segment_that_is_full_or_old_is_followed_by_another() {
    let limits = LogOptions {
        segment_ms: 1_000,
        ..options()
    };
    let mut log = PartitionLog::in_memory(limits);
    for time in [5_000, 6_000, 6_001, 6_001, 500] {
        append(&mut log, (-1, -1, -1), 1, time);
    }
    let bases: Vec<i64> = log.segments.iter().map(|segment| segment.base).collect();
    assert_eq!(bases, [0, 2], "a second after its first record");
}

/// They are as old as their arrival, not as the segment that they came to.
#[test]
fn records_without_a_time_make_a_segment_young_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = PartitionLog::create(&dir.path().join("p"), options()).unwrap();
    for mut log in [log, PartitionLog::in_memory(options())] {
        let made = log.spans()[0].newest;
        let is_later = || crate::files::millis(std::time::SystemTime::now()) > made;
        while !is_later() {
            std::thread::yield_now();
        }
        append(&mut log, (-1, -1, -1), 1, -1);
        assert!(log.spans()[0].newest > made);
        append(&mut log, (-1, -1, -1), 1, 10);
        assert_eq!(log.spans()[0].newest, 10, "a time that is known counts");
    }
}

#[test]
fn repeats_are_answered_with_the_first_offset_also_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    small_log(&dir.path().join("p"));
    let mut log = PartitionLog::open(&dir.path().join("p"), options(), LastRun::SameBoot).unwrap();
    assert_eq!(append(&mut log, (7, 0, 2), 2, 10), 2);
    assert_eq!(append(&mut log, (7, 0, 5), 1, 10), 5);
    let bytes = batch((7, 0, 9), 1, 10, b"r");
    let header = batch::validate(&bytes, 1 << 20).unwrap();
    assert!(matches!(
        log.append(&header, &bytes),
        Err(AppendError::OutOfOrder)
    ));
}

#[test]
fn memory_has_an_end_and_is_given_back() {
    let options = LogOptions {
        memory_left: Arc::new(AtomicU64::new(250)),
        ..options()
    };
    let left = Arc::clone(&options.memory_left);
    let mut log = PartitionLog::in_memory(options);
    append(&mut log, (-1, -1, -1), 1, 0);
    append(&mut log, (-1, -1, -1), 1, 0);
    let bytes = batch((-1, -1, -1), 1, 0, &[9; 37]);
    let header = batch::validate(&bytes, 1 << 20).unwrap();
    assert!(matches!(
        log.append(&header, &bytes),
        Err(AppendError::MemoryFull)
    ));
    drop(log);
    assert_eq!(left.load(Ordering::Relaxed), 250);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever the batches, the segment size and the storage: every offset, limit and time finds
    /// what a plain list of the batches says.
    #[test]
    fn reads_agree_with_a_plain_list(
        batches in proptest::collection::vec((1..9i32, 0..100i64, 0..3_000usize), 1..60),
        segment_bytes in 1..20_000u64,
        on_disk in any::<bool>(),
        limit in 0..9_000usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("p");
        let options = LogOptions { segment_bytes, ..options() };
        let mut log = if on_disk {
            PartitionLog::create(&folder, options.clone()).unwrap()
        } else {
            PartitionLog::in_memory(options.clone())
        };
        let mut list: BTreeMap<i64, (BatchHeader, i64)> = BTreeMap::new();
        for (count, time, size) in batches {
            let bytes = batch((-1, -1, -1), count, time, &vec![3; size]);
            let header = batch::validate(&bytes, 1 << 20).unwrap();
            let base = log.append(&header, &bytes).unwrap().base_offset;
            list.insert(base + i64::from(count) - 1, (header, base));
        }
        if on_disk {
            let end = log.end();
            let job = log.begin_sync().unwrap();
            let result = job.run();
            log.end_sync(&job, &result);
            prop_assert!(log.begin_sync().is_none());
            drop(log);
            log = PartitionLog::open(&folder, options, LastRun::Clean { end }).unwrap();
            prop_assert_eq!(log.end(), end);
        }
        for offset in 0..log.end() {
            let bytes = log.read(offset, limit, true).unwrap();
            let (_, (first, base)) = list.range(offset..).next().unwrap();
            let found = BatchHeader::parse(&bytes).unwrap();
            prop_assert_eq!(found.base_offset, *base);
            prop_assert!(bytes.len() <= limit || bytes.len() == first.size);
            prop_assert_eq!(whole_batches(&bytes, i64::MAX), bytes.len());
            let rest: usize = list.range(offset..).map(|(_, (header, _))| header.size).sum();
            prop_assert_eq!(log.readable(offset).unwrap(), rest as u64);
        }
        for time in 0..=100 {
            let expected = list.values().find(|(header, _)| header.max_timestamp >= time);
            let found = log.find_timestamp(time).unwrap();
            prop_assert_eq!(found.map(|(base, _)| base), expected.map(|(_, base)| *base));
        }
    }
}
