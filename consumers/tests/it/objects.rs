//! The laws of a place for objects, held against every kind of it: a directory, an S3 service, a
//! Blob service; and the whole walk into both clouds.

use super::support::{Log, Sent, get, memory};
use bytes::Bytes;
use cloudsync_consumers::sink::{
    Create, ErrorClass, Level, Looked, OpenError, Replace, SegmentSink, connect, look, open_objects,
};
use cloudsync_consumers::{DestinationSettings, WriteMode};
use cloudsync_harness::clouds::{self, Clouds};
use futures::future::join_all;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// The kinds of places that there are here, each below `prefix`.
struct Places {
    directory: TempDir,
    clouds: Option<Clouds>,
}

impl Places {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let found = clouds::at_hand();
        if !found {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{}", clouds::MISSING);
            println!("SKIPPED, but for files: {}", clouds::MISSING);
        }
        let start = || Clouds::start(&directory.path().join("clouds")).unwrap();
        let clouds = found.then(start);
        Self { directory, clouds }
    }

    fn all(&self, prefix: &str) -> Vec<DestinationSettings> {
        let root = self.directory.path().join("files");
        let mut all = vec![file(&root.join(prefix))];
        if let Some(clouds) = &self.clouds {
            all.push(s3(clouds, &format!("cloudsync/{prefix}")));
            all.push(az(clouds, &format!("cloudsync/{prefix}")));
        }
        all
    }
}

fn file(directory: &Path) -> DestinationSettings {
    DestinationSettings::new(format!("file://{}", directory.display()), "aws-sync-group")
}

fn s3(clouds: &Clouds, place: &str) -> DestinationSettings {
    let mut settings = DestinationSettings::new(format!("s3://{place}"), "aws-sync-group");
    let of = |name| Some(clouds.variable(name).to_owned());
    settings.s3.endpoint = of("AWS_ENDPOINT_URL");
    settings.s3.access_key_id = of("AWS_ACCESS_KEY_ID");
    settings.s3.secret_access_key = of("AWS_SECRET_ACCESS_KEY");
    settings
}

fn az(clouds: &Clouds, place: &str) -> DestinationSettings {
    let mut settings = DestinationSettings::new(format!("az://{place}"), "aws-sync-group");
    let connection = clouds.variable("AZURE_STORAGE_CONNECTION_STRING");
    settings.azure.connection_string = Some(connection.to_owned());
    settings
}

async fn open(settings: &DestinationSettings) -> Arc<dyn SegmentSink> {
    open_objects(settings, "aws").await.unwrap()
}

/// Law 1: of many creates of one name at once one wins, and the object is what that one brought.
async fn one_create_wins(settings: &DestinationSettings) {
    let sinks = [open(settings).await, open(settings).await];
    for round in 0..10 {
        let name = format!("race/{round}");
        let body = |writer: usize| Bytes::from(format!("{writer} ").repeat(1_000));
        let creates = (0..16).map(|writer| {
            let (sink, name) = (&sinks[writer % 2], &name);
            async move { sink.create_if_absent(name, body(writer)).await.unwrap() }
        });
        let answers = join_all(creates).await;
        let winners: Vec<_> = (0..16)
            .filter(|at| answers[*at] == Create::Created)
            .collect();
        assert_eq!(winners.len(), 1, "{} {round}: {answers:?}", settings.url);
        let there = sinks[0].get(&name).await.unwrap().unwrap();
        assert_eq!(there, body(winners[0]), "{} {round}", settings.url);
    }
}

/// Law 3, and what is not there: names as they are written, no neighbour's, and none of a folder
/// that only begins alike; more of them than a service lists at a time.
async fn what_was_created_is_found(settings: &DestinationSettings) {
    let sink = open(settings).await;
    let big = Bytes::from(vec![7; 5 << 20]);
    let mut names: Vec<_> = (0..1_050)
        .map(|number| format!("a/p07/{number:020}.x"))
        .collect();
    names.push("a/p070/1.x".to_owned());
    names.push("t=ten%2Fant%20%C3%BC/0f/0f00.json".to_owned());
    for chunk in names.chunks(32) {
        let creates = chunk
            .iter()
            .map(|name| sink.create_if_absent(name, Bytes::from(name.clone())));
        assert!(
            join_all(creates)
                .await
                .into_iter()
                .all(|it| it.unwrap() == Create::Created)
        );
    }
    for name in [&names[0], &names[1_050], &names[1_051]] {
        assert_eq!(sink.get(name).await.unwrap().unwrap(), name.as_bytes());
    }
    let listed = |prefix: &'static str| async {
        let mut listed = sink.list(prefix).await.unwrap();
        listed.sort_unstable();
        listed
    };
    assert_eq!(listed("a/p07/").await, names[..1_050], "{}", settings.url);
    assert_eq!(listed("t=ten%2Fant%20%C3%BC/").await, names[1_051..]);
    assert_eq!(listed("b/").await, Vec::<String>::new());
    names.push("cloudsync-destination.json".to_owned());
    names.sort_unstable();
    assert_eq!(listed("").await, names);
    sink.create_if_absent("big", big.clone()).await.unwrap();
    assert_eq!(sink.get("big").await.unwrap().unwrap(), big);
    sink.delete("big").await.unwrap();
    sink.delete("big").await.unwrap();
    assert_eq!(sink.get("big").await.unwrap(), None);
    assert_eq!(
        sink.create_if_absent("big", Bytes::new()).await.unwrap(),
        Create::Created
    );
    assert_eq!(sink.get("big").await.unwrap().unwrap(), Bytes::new());
}

/// Law 5: of many that replace one version one does; the others find it changed.
async fn a_version_is_replaced_once(settings: &DestinationSettings) {
    let sink = open(settings).await;
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    sink.create_if_absent("a/b", body("one")).await.unwrap();
    let (found, first) = sink.get_versioned("a/b").await.unwrap().unwrap();
    assert_eq!(found, body("one"));
    let replaced = sink.replace("a/b", body("two"), &first).await.unwrap();
    assert_eq!(replaced, Replace::Replaced, "{}", settings.url);
    let late = sink.replace("a/b", body("three"), &first).await.unwrap();
    assert_eq!(late, Replace::Changed, "{}", settings.url);
    let (found, second) = sink.get_versioned("a/b").await.unwrap().unwrap();
    assert_eq!(found, body("two"));
    // Files are compared and then renamed over, so at one moment more than one may.
    if !settings.url.starts_with("file:") {
        let many = (0..8).map(|_| sink.replace("a/b", body("four"), &second));
        let done = join_all(many).await.into_iter().map(Result::unwrap);
        let done = done.filter(|it| *it == Replace::Replaced).count();
        assert_eq!(done, 1, "{}", settings.url);
    }
    let (_, now) = sink.get_versioned("a/b").await.unwrap().unwrap();
    sink.delete("a/b").await.unwrap();
    let gone = sink.replace("a/b", body("five"), &now).await.unwrap();
    assert_eq!(gone, Replace::Changed, "{}", settings.url);
    assert_eq!(sink.get_versioned("a/b").await.unwrap(), None);
}

/// Law 6: level by level one comes to what a list has.
async fn levels_lead_to_every_name(settings: &DestinationSettings) {
    let sink = open(settings).await;
    for name in ["a/p07/1.x", "a/p07/2.x", "a/p08/1.x", "t=x/0f/0f.json"] {
        sink.create_if_absent(name, Bytes::new()).await.unwrap();
    }
    let (mut found, mut open) = (Vec::new(), vec![String::new()]);
    while let Some(prefix) = open.pop() {
        let level = sink.level(&prefix).await.unwrap();
        assert!(level.prefixes.is_sorted() && level.names.is_sorted());
        open.extend(level.prefixes);
        found.extend(level.names);
    }
    let mut listed = sink.list("").await.unwrap();
    found.sort_unstable();
    listed.sort_unstable();
    assert_eq!(found, listed, "{}", settings.url);
    assert_eq!(sink.level("b/").await.unwrap(), Level::default());
}

/// The marker: the same destination comes in again, another one does not; a look leaves nothing.
async fn one_destination_has_a_prefix(settings: &DestinationSettings) {
    if !settings.url.starts_with("file:") {
        assert_eq!(look(settings, "aws").await.unwrap(), Looked::Proven);
        let sink = connect(settings).unwrap();
        assert_eq!(
            sink.list("").await.unwrap(),
            Vec::<String>::new(),
            "{}",
            settings.url
        );
    }
    open(settings).await;
    open(settings).await;
    let error = open_objects(settings, "azure").await.unwrap_err();
    assert!(matches!(error, OpenError::Refused(_)), "{error}");
    let other = DestinationSettings {
        mode: Some(WriteMode::Record),
        ..settings.clone()
    };
    let error = open_objects(&other, "aws").await.unwrap_err();
    assert!(
        error.to_string().contains("belongs to another destination"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_keeps_the_laws() {
    let places = Places::new();
    for settings in places.all("race") {
        one_create_wins(&settings).await;
    }
    for settings in places.all("found") {
        what_was_created_is_found(&settings).await;
    }
    for settings in places.all("versions") {
        a_version_is_replaced_once(&settings).await;
    }
    for settings in places.all("levels") {
        levels_lead_to_every_name(&settings).await;
    }
    for settings in places.all("marker") {
        one_destination_has_a_prefix(&settings).await;
    }
}

/// Law 4: a place that is not there, or does not let us in, is no empty one.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_away_is_no_empty_one() {
    let places = Places::new();
    let Some(clouds) = &places.clouds else { return };
    let mut wrong_key = s3(clouds, "cloudsync/x");
    wrong_key.s3.secret_access_key = Some("hush".to_owned());
    let mut wrong_account = az(clouds, "cloudsync/x");
    wrong_account.azure.connection_string = None;
    wrong_account.azure.account = Some("devstoreaccount1".to_owned());
    wrong_account.azure.account_key = Some("aHVzaA==".to_owned());
    let connection = clouds.variable("AZURE_STORAGE_CONNECTION_STRING");
    let endpoint = connection
        .split_once("BlobEndpoint=")
        .map(|(_, it)| it.to_owned());
    wrong_account.azure.endpoint = endpoint;
    for (settings, code) in [
        (s3(clouds, "no-such-bucket/x"), "404 NoSuchBucket"),
        (az(clouds, "no-such-container/x"), "404 ContainerNotFound"),
        (wrong_key, "403 SignatureDoesNotMatch"),
        (wrong_account, "403 AuthorizationFailure"),
    ] {
        let sink = connect(&settings).unwrap();
        let list = sink.list("").await.unwrap_err();
        let create = sink.create_if_absent("a", Bytes::new()).await.unwrap_err();
        let get = sink.get("a").await.unwrap_err();
        for error in [list, create, get] {
            let text = error.chain();
            assert_eq!(error.class, ErrorClass::Denied, "{text}");
            assert_eq!(error.code.as_deref(), Some(code), "{text}");
            assert!(!text.contains("hush"), "{text}");
        }
        let opened = open_objects(&settings, "aws").await.unwrap_err();
        assert!(matches!(opened, OpenError::Unavailable(_)), "{opened}");
    }
}

/// Both modes into both clouds; a group that begins anew finds what is there, and doubles nothing.
#[tokio::test(flavor = "multi_thread")]
async fn records_come_to_both_clouds_once() {
    let places = Places::new();
    let log = Log::start(3).await;
    let mut sent = Sent::default();
    log.fill(&mut sent, 0..1_200).await;
    for (mode, prefix) in [
        (WriteMode::Batch, "segments"),
        (WriteMode::Record, "records"),
    ] {
        for (at, settings) in places.all(prefix).into_iter().enumerate().skip(1) {
            for time in ["first", "again"] {
                let settings = DestinationSettings {
                    mode: Some(mode),
                    group: format!("{prefix}-{at}-{time}"),
                    ..settings.clone()
                };
                let running = log.consume(settings.clone(), &memory());
                log.settled(&settings.group).await;
                assert!(running.readiness.is_ready(), "{}", settings.url);
                let counters = running.drain().await;
                if time == "again" {
                    assert_eq!(get(&counters.delivered), 0, "{}", settings.url);
                }
                sent.lies_at(&settings).await;
            }
        }
    }
}
