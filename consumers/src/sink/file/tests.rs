use super::*;
use crate::settings::{DestinationSettings, WriteMode};
use crate::sink::{connect, open_objects};
use std::sync::Arc;
use tempfile::TempDir;

async fn opened(directory: &Path) -> Arc<dyn SegmentSink> {
    let url = format!("file://{}", directory.display());
    open_objects(&DestinationSettings::new(&url, "g"), "aws")
        .await
        .unwrap()
}

#[tokio::test]
async fn of_many_creates_one_creates_and_its_bytes_are_there() {
    let temp = TempDir::new().unwrap();
    let sink = opened(&temp.path().join("new/dir")).await;
    let creates = (0..16u8).map(|n| {
        let sink = Arc::clone(&sink);
        async move {
            (
                n,
                sink.create_if_absent("t/l/p00/x", vec![n; 9].into())
                    .await
                    .unwrap(),
            )
        }
    });
    let done = futures::future::join_all(creates).await;
    let created: Vec<_> = done.iter().filter(|(_, c)| *c == Create::Created).collect();
    assert_eq!(created.len(), 1);
    assert_eq!(
        sink.get("t/l/p00/x").await.unwrap().unwrap(),
        vec![created[0].0; 9]
    );
    assert_eq!(sink.list("t/l/p00/").await.unwrap(), ["t/l/p00/x"]);
    let mut all = sink.list("").await.unwrap();
    all.sort();
    assert_eq!(all, [MARKER, "t/l/p00/x"], "the probe is gone");
    assert_eq!(sink.get("t/l/p00/y").await.unwrap(), None);
}

#[tokio::test]
async fn a_prefix_of_another_destination_or_mode_is_refused_with_both_values() {
    let temp = TempDir::new().unwrap();
    let url = format!("file://{}", temp.path().display());
    open_objects(&DestinationSettings::new(&url, "g"), "aws")
        .await
        .unwrap();
    open_objects(&DestinationSettings::new(&url, "g"), "aws")
        .await
        .unwrap();
    for (name, mode) in [("azure", WriteMode::Batch), ("aws", WriteMode::Record)] {
        let settings = DestinationSettings {
            mode: Some(mode),
            ..DestinationSettings::new(&url, "g")
        };
        let error = open_objects(&settings, name).await.unwrap_err();
        let OpenError::Refused(text) = error else {
            panic!("{error}")
        };
        assert!(
            text.contains(r#""destination":"aws","mode":"batch""#),
            "{text}"
        );
        assert!(
            text.contains(&format!("destination {name} in mode {}", mode.name())),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_away_is_an_outage_that_heals() {
    let temp = TempDir::new().unwrap();
    let (here, away) = (temp.path().join("here"), temp.path().join("away"));
    let sink = opened(&here).await;
    std::fs::rename(&here, &away).unwrap();
    let class = |error: SinkError| error.class;
    let create = || sink.create_if_absent("t/x", Bytes::new());
    assert_eq!(create().await.map_err(class), Err(ErrorClass::Outage));
    assert_eq!(sink.list("").await.map_err(class), Err(ErrorClass::Outage));
    assert_eq!(
        sink.get("t/x").await.map_err(class),
        Err(ErrorClass::Outage)
    );
    std::fs::write(&here, "a file in its place").unwrap();
    assert_eq!(create().await.map_err(class), Err(ErrorClass::Outage));
    assert_eq!(
        sink.get("t/x").await.map_err(class),
        Err(ErrorClass::Outage)
    );
    std::fs::remove_file(&here).unwrap();
    std::fs::create_dir(&here).unwrap();
    assert_eq!(
        create().await.map_err(class),
        Err(ErrorClass::Outage),
        "an empty mount point"
    );
    std::fs::remove_dir(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    assert_eq!(create().await.unwrap(), Create::Created);
}

#[test]
fn what_is_no_destination_is_refused_with_what_there_is() {
    for url in ["gs://bucket", "file://relative", "/a/path", "null://x", ""] {
        let text = connect(&DestinationSettings::new(url, "g"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("there are: s3://bucket/prefix, "), "{text}");
    }
}

#[tokio::test]
async fn only_the_version_that_was_read_is_replaced() {
    let temp = TempDir::new().unwrap();
    let sink = opened(temp.path()).await;
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    sink.create_if_absent("t/x", bytes("first")).await.unwrap();
    let (object, first) = sink.get_versioned("t/x").await.unwrap().unwrap();
    assert_eq!(object, "first");
    let replace = |text, version: &Version| {
        let (sink, version) = (Arc::clone(&sink), version.clone());
        async move { sink.replace("t/x", bytes(text), &version).await.unwrap() }
    };
    assert_eq!(replace("second one", &first).await, Replace::Replaced);
    assert_eq!(sink.get("t/x").await.unwrap().unwrap(), "second one");
    assert_eq!(replace("third", &first).await, Replace::Changed);
    assert_eq!(sink.get("t/x").await.unwrap().unwrap(), "second one");
    assert_eq!(sink.list("t/").await.unwrap(), ["t/x"], "nothing beside it");
    sink.delete("t/x").await.unwrap();
    assert_eq!(replace("third", &first).await, Replace::Changed);
    assert_eq!(sink.get_versioned("t/x").await.unwrap(), None);
}

#[tokio::test]
async fn level_by_level_all_names_are_met() {
    let temp = TempDir::new().unwrap();
    let sink = opened(temp.path()).await;
    for name in ["a/b/c", "a/b/d", "a/e", "f%20/x"] {
        sink.create_if_absent(name, Bytes::new()).await.unwrap();
    }
    let (mut open, mut names) = (vec![String::new()], Vec::new());
    while let Some(prefix) = open.pop() {
        let level = sink.level(&prefix).await.unwrap();
        assert!(level.prefixes.iter().all(|it| it.ends_with('/')));
        open.extend(level.prefixes);
        names.extend(level.names);
    }
    let mut listed = sink.list("").await.unwrap();
    names.sort();
    listed.sort();
    assert_eq!(names, listed);
    assert_eq!(sink.level("none/").await.unwrap(), Level::default());
}
