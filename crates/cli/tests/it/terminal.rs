//! What is shown on a terminal: a real one, whose other end the test holds.

use crate::support::cloudsync;
use crate::up::Up;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal: the end of whoever looks, and the one of whoever writes.
fn terminal() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let slave = File::options().write(true).read(true).open(name).unwrap();
    (File::from(master), slave)
}

/// Sends three records with stderr on a terminal, the last when `shown` has appeared there, if
/// that is waited for. Everything that appeared, and the output.
fn send(up: &Up, flags: &[&str], shown: Option<&str>) -> (String, Output) {
    let (mut master, slave) = terminal();
    let endpoint = format!("http://{}", up.address("✔ gateway"));
    let mut command = cloudsync();
    command
        .args(["send", "-", "--format", "lines", "--endpoint", &endpoint])
        .args(flags)
        .env("NO_COLOR", "1")
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(slave);
    let mut child = command.spawn().unwrap();
    // It holds the terminal as well.
    drop(command);
    let (sender, seen) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        // The end of a terminal that nobody writes to is an error.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\ntwo\n").unwrap();
    let mut all = String::new();
    while shown.is_some_and(|shown| !all.contains(shown)) {
        let more = seen.recv_timeout(PATIENCE);
        all.push_str(&more.unwrap_or_else(|_| panic!("not shown: {all:?}")));
    }
    input.write_all(b"three\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    all.extend(seen);
    (all, output)
}

#[test]
fn progress_is_shown_on_a_terminal_unless_it_is_to_be_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let up = Up::start(&directory.path().join("data"));
    let (all, output) = send(&up, &[], Some("2 acknowledged"));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("3 sent, 3 acknowledged"), "{said}");
    assert!(all.contains(" a second"), "{all:?}");
    // NO_COLOR: what moves the cursor is there, what colours is not.
    for sequence in all.split('\u{1b}').skip(1) {
        let last = sequence.chars().find(char::is_ascii_alphabetic);
        assert_ne!(last, Some('m'), "{all:?}");
    }
    let (all, output) = send(&up, &["--quiet"], None);
    assert!(output.status.success());
    assert_eq!(all, "");
}
