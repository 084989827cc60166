use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::*;

/// More segments than files may be open must not keep a log from opening.
#[test]
fn however_many_segments_there_are_one_of_them_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let options = LogOptions {
        segment_bytes: 100,
        segment_ms: i64::MAX,
        reservation_step: 1_000,
        sync_always: false,
        memory_left: Arc::new(AtomicU64::new(0)),
    };
    let mut log = PartitionLog::create(&path, options).unwrap();
    for _ in 0..5 {
        let bytes = batch::tests::batch((-1, -1, -1), 1, 10, &[9; 37]);
        let header = batch::validate(&bytes, 1 << 20).unwrap();
        log.append(&header, &bytes).unwrap();
    }
    drop(log);
    let found = Found::read(&path, Some(0), LastRun::SameBoot).unwrap();
    let open: Vec<bool> = found
        .segments
        .iter()
        .map(|it| it.file().is_some())
        .collect();
    assert_eq!(open, [false, false, false, false, true]);
    for base in 0..4 {
        assert!(index::path(&path, base).exists(), "of one that is closed");
    }
}
