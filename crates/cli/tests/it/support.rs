//! Running the binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The binary, in an environment without any variable that it looks at.
pub(crate) fn cloudsync() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudsync"));
    for (name, _) in std::env::vars_os() {
        let ours = ["CLOUDSYNC_", "AWS_", "AZURE_"];
        if ours.iter().any(|it| name.to_string_lossy().starts_with(it)) {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs it with `args` to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    cloudsync().args(args).output().unwrap()
}

/// What it wrote to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one object that it wrote to stdout.
pub(crate) fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}\n{}", stderr(output));
    serde_json::from_str(&text).unwrap()
}

/// Exit code.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file and folder below `directory`, with its content.
pub(crate) fn tree(directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path.clone(), std::fs::read(&path).ok());
    }
    found
}

/// Every segment of the destination `name` in the demo's directory, sorted.
pub(crate) fn segments(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.join(name)];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(".ndjson.zst") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
