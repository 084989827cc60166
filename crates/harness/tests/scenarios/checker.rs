//! The checker itself is checked: each kind of fault, made by hand, is found by its name.

use crate::support::{plain_load, running};
use cloudsync_harness::checker::{check, segments};
use cloudsync_harness::client::send;
use cloudsync_harness::journal::Journal;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Two thousand records in both destinations, and nothing running any more.
async fn delivered(data: &Path) -> Journal {
    let mut up = running(data).await;
    let load = plain_load(&up, "checker", 2_000, 50, 1);
    let journal = send(load).await.unwrap().journal;
    let aws = data.join("aws");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !check(&aws, "aws", &journal).unwrap().is_clean() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            up.program.tail()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    up.program.kill().unwrap();
    journal
}

#[tokio::test]
async fn each_fault_made_by_hand_is_found() {
    let data = tempfile::tempdir().unwrap();
    let journal = delivered(data.path()).await;
    let aws = data.path().join("aws");
    let victim = segments(&aws).unwrap().pop().unwrap();
    let whole = fs::read(&victim).unwrap();
    fs::remove_file(&victim).unwrap();
    assert!(
        !check(&aws, "aws", &journal).unwrap().lost.is_empty(),
        "a deleted object"
    );

    let lines = zstd::stream::decode_all(&whole[..]).unwrap();
    let text = String::from_utf8(lines).unwrap();
    let header_end = 8 + u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize;
    let rewrite = |text: &str| {
        let mut bytes = whole[..header_end].to_vec();
        bytes.extend(zstd::stream::encode_all(text.as_bytes(), 1).unwrap());
        fs::write(&victim, bytes).unwrap();
    };
    rewrite(&text.replacen("\"tail\":[1,", "\"tail\":[2,", 1));
    assert_eq!(
        check(&aws, "aws", &journal).unwrap().altered.len(),
        1,
        "a payload altered"
    );

    let first = text.lines().next().unwrap();
    rewrite(&format!("{first}\n{text}"));
    assert!(
        !check(&aws, "aws", &journal).unwrap().is_clean(),
        "a record copied"
    );

    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&victim, flipped).unwrap();
    assert!(
        !check(&aws, "aws", &journal).unwrap().is_clean(),
        "a bit flipped"
    );

    fs::write(&victim, &whole).unwrap();
    let copy = victim.with_file_name("99999999999999999999.ndjson.zst");
    fs::copy(&victim, copy).unwrap();
    let verdict = check(&aws, "aws", &journal).unwrap();
    assert!(!verdict.places_doubled.is_empty() && !verdict.broken_chains.is_empty());
}
