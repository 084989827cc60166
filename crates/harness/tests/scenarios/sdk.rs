//! The client library as its users run it: the example streams through a gateway that is killed.

use crate::support::{START, both_hold, program, running, seed};
use cloudsync::DEFAULT_TENANT;
use cloudsync_harness::journal::{Journal, Name};
use cloudsync_harness::ports;
use cloudsync_harness::program::binary;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const RECORDS: u64 = 1_000_000;
const DEATHS: u32 = 3;
/// How long the example may take behind the last death.
const LONG: Duration = Duration::from_secs(300);

#[tokio::test]
async fn the_example_streams_through_three_deaths_of_a_gateway() {
    let mut choices = StdRng::seed_from_u64(seed());
    let data = tempfile::tempdir().unwrap();
    let up = running(data.path()).await;
    let listen = ports::free().unwrap();
    let arguments = vec!["gateway".to_owned(), format!("--listen={listen}")];
    let admin = ports::free().unwrap();
    let mut gateway = program(arguments, admin, &up.log.to_string(), data.path());
    gateway.start().unwrap();
    gateway.ready(START).await.unwrap();

    let example = binary().unwrap();
    let example = example.with_file_name("examples").join("send_all");
    let endpoint = format!("http://{listen}");
    let mut example = Command::new(example)
        .args([endpoint, RECORDS.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("run `cargo build --examples` first");
    for death in 1..=DEATHS {
        // Any moment will do.
        sleep(Duration::from_millis(choices.random_range(200..1_200))).await;
        let ended = example.try_wait().unwrap();
        assert!(ended.is_none(), "it ended before death {death}: {ended:?}");
        gateway.kill().unwrap();
        gateway.start().unwrap();
        gateway.ready(START).await.unwrap();
    }
    let ended = timeout(LONG, example.wait_with_output()).await.unwrap();
    let output = ended.unwrap();
    let summary = String::from_utf8_lossy(&output.stdout);
    println!("{summary}");
    assert!(output.status.success(), "{summary}");
    assert!(summary.contains(&format!("acked: {RECORDS},")), "{summary}");
    assert!(!summary.contains("connections: 1,"), "{summary}");

    let mut journal = Journal::new();
    for n in 0..RECORDS {
        let name = Name {
            tenant: DEFAULT_TENANT.to_owned(),
            key: format!("sensor-{}", n % 1_000),
            id: format!("reading-{n}"),
        };
        let payload = format!(r#"{{"reading":{n}}}"#);
        journal.given(name.clone(), payload.as_bytes(), &[]);
        journal.acked(&name);
    }
    assert_eq!(both_hold(&up, &journal).await, [0, 0]);
}
