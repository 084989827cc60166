//! A file holds one concept: 400 production lines at most.

use std::fs;
use std::path::{Path, PathBuf};

const LIMIT: usize = 400;

#[test]
fn no_file_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("build.rs")];
    for folder in ["src", "gateway/src", "consumers/src"] {
        collect(&root.join(folder), &mut files);
    }
    for package in fs::read_dir(root.join("crates")).unwrap() {
        collect(&package.unwrap().path().join("src"), &mut files);
    }
    assert!(
        files.len() > 50,
        "only {} files found: the walk is wrong",
        files.len()
    );
    let mut long = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count();
        if lines > LIMIT {
            long.push(format!("{}: {lines}", file.display()));
        }
    }
    assert!(
        long.is_empty(),
        "longer than {LIMIT} production lines:\n{}",
        long.join("\n")
    );
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            files.push(path);
        }
    }
}
