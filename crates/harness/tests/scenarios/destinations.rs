//! One destination fails; the other does not notice.

use crate::support::{START, both_hold, caught_up, plain_load, running, seed, start, stop};
use cloudsync_harness::client::send;
use cloudsync_harness::program::Up;
use std::fs;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn one_destination_unwritable_while_the_other_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let mut up = running(data.path()).await;
    let load = |prefix| plain_load(&up, prefix, 5_000, 100, seed());
    let mut journal = send(load("before")).await.unwrap().journal;
    both_hold(&up, &journal).await;

    // A file where the directory was: nothing can be written there, not even by root.
    let (azure, aside) = (data.path().join("azure"), data.path().join("azure.aside"));
    fs::rename(&azure, &aside).unwrap();
    fs::write(&azure, "in the way").unwrap();
    journal.merge(send(load("during")).await.unwrap().journal);
    let aws = caught_up(&data.path().join("aws"), "aws", &journal).await;
    assert!(
        aws.is_clean(),
        "aws goes on: {}\n{}",
        aws.summary(),
        up.program.tail()
    );
    waits_for(&up, "azure").await;

    fs::remove_file(&azure).unwrap();
    fs::rename(&aside, &azure).unwrap();
    assert_eq!(both_hold(&up, &journal).await, [0, 0]);
    up.program.ready(START).await.unwrap();
}

/// `/readyz` says 503 and names the destination.
async fn waits_for(up: &Up, destination: &str) {
    let deadline = Instant::now() + START;
    loop {
        let (status, body) = up.program.readyz().await.unwrap();
        if status == 503 && body.contains(destination) {
            return;
        }
        assert!(Instant::now() < deadline, "/readyz says {status} {body}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_log_begun_anew_beside_old_destinations_swallows_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::new(data.path()).unwrap();
    let mut journals = Vec::new();
    for run in ["first", "second"] {
        start(&mut up).await;
        let load = plain_load(&up, run, 3_000, 100, seed());
        journals.push(send(load).await.unwrap().journal);
        let mut all = cloudsync_harness::journal::Journal::new();
        journals
            .iter()
            .cloned()
            .for_each(|journal| all.merge(journal));
        assert_eq!(both_hold(&up, &all).await, [0, 0]);
        stop(&mut up).await;
        fs::remove_dir_all(data.path().join("log")).unwrap();
    }
}
