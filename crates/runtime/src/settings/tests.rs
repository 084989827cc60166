use super::*;
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Root {
    kafka: Kafka,
    destinations: BTreeMap<String, Destination>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kafka {
    brokers: String,
    partitions: u32,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    librdkafka: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    url: String,
    group: String,
}

impl Default for Root {
    fn default() -> Self {
        let aws = Destination {
            url: "file:///aws".into(),
            group: "aws-sync-group".into(),
        };
        let destinations = BTreeMap::from([("aws".to_owned(), aws)]);
        Self {
            kafka: Kafka::default(),
            destinations,
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        let brokers = "127.0.0.1:9092".to_owned();
        Self {
            brokers,
            partitions: 12,
            tls: false,
            client_id: None,
            librdkafka: BTreeMap::new(),
        }
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

const VERBATIM: &[&str] = &["kafka.librdkafka"];
const SECRETS: &[&str] = &["destinations.*.url", "kafka.librdkafka.*"];

#[test]
fn each_place_beats_the_one_before_it() {
    let file = file("[kafka]\nbrokers = \"file:1\"\npartitions = 3\ntls = true\n");
    let flag = FlagValue {
        flag: "--brokers",
        key: "kafka.brokers",
        value: "flag:1".into(),
    };
    let environment = variables(&[
        ("CLOUDSYNC_KAFKA__BROKERS", "env:1"),
        ("CLOUDSYNC_KAFKA__PARTITIONS", "4"),
        ("CLOUDSYNC_DESTINATIONS__AWS__URL", "s3://bucket/prefix"),
        ("CLOUDSYNC_KILL_AT", "before-produce-ack"),
        ("CLOUDSYNC_CONFIG", "x.toml"),
        ("PATH", "/bin"),
    ]);
    let sources = Sources {
        file: Some(file.path()),
        environment,
        flags: vec![flag],
        verbatim: &[],
        secrets: SECRETS,
    };
    let root = load(&Root::default(), &sources).unwrap().value;
    assert_eq!(root.kafka.brokers, "flag:1");
    assert_eq!(root.kafka.partitions, 4);
    assert!(root.kafka.tls);
    assert_eq!(root.destinations["aws"].url, "s3://bucket/prefix");
    assert_eq!(root.destinations["aws"].group, "aws-sync-group");
}

#[test]
fn a_table_may_come_from_two_places_and_text_fills_any_type() {
    let file = file("[destinations.gcp]\nurl = \"null://\"\n");
    let environment = variables(&[
        ("CLOUDSYNC_DESTINATIONS__GCP__GROUP", "gcp-sync-group"),
        ("CLOUDSYNC_KAFKA__TLS", "true"),
        ("CLOUDSYNC_KAFKA__CLIENT_ID", "007"),
    ]);
    let sources = Sources {
        file: Some(file.path()),
        environment,
        ..Sources::default()
    };
    let root = load(&Root::default(), &sources).unwrap().value;
    assert_eq!(root.destinations["gcp"].group, "gcp-sync-group");
    assert_eq!(root.kafka.client_id.as_deref(), Some("007"));
    assert!(root.kafka.tls);
}

#[test]
fn names_of_another_program_stay_as_they_are() {
    let file = file("[kafka.librdkafka]\n\"linger.ms\" = 7\nsocket.nagle.disable = true\n");
    let environment = variables(&[("CLOUDSYNC_KAFKA__LIBRDKAFKA__QUEUED_MIN_MESSAGES", "5")]);
    let sources = Sources {
        file: Some(file.path()),
        environment,
        verbatim: VERBATIM,
        ..Sources::default()
    };
    let root = load(&Root::default(), &sources).unwrap().value;
    let names: Vec<_> = root.kafka.librdkafka.into_iter().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        names,
        [
            pair("linger.ms", "7"),
            pair("queued.min.messages", "5"),
            pair("socket.nagle.disable", "true"),
        ]
    );
}

#[test]
fn what_fits_is_there_beside_what_does_not() {
    let file = file("[kafka]\nbrokers = \"file:1\"\npartitions = \"many\"\nbrokerz = \"x\"\n");
    let sources = Sources {
        file: Some(file.path()),
        ..Sources::default()
    };
    let (loaded, faults) = load_what_fits(&Root::default(), &sources).unwrap();
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["kafka.brokerz", "kafka.partitions"]);
    let kafka = loaded.value.kafka;
    assert_eq!((kafka.brokers.as_str(), kafka.partitions), ("file:1", 12));
}

#[test]
fn every_fault_is_named_with_its_key_and_its_place() {
    let file = file("[kafka]\nbrokerz = \"x\"\n[kaffka]\na = 1\n[destinations.gcp]\nurl = \"u\"\n");
    let environment = variables(&[
        ("CLOUDSYNC_KAFKA__PARTITIONS", "many"),
        ("CLOUDSYNC_DESTINATIONS__AWS__URI", "s3://b"),
        ("CLOUDSYNC_TYPO", "1"),
    ]);
    let flags = vec![FlagValue {
        flag: "--tls",
        key: "kafka.tls",
        value: "maybe".into(),
    }];
    let sources = Sources {
        file: Some(file.path()),
        environment,
        flags,
        verbatim: VERBATIM,
        secrets: SECRETS,
    };
    let text = load(&Root::default(), &sources).unwrap_err().to_string();
    let path = file.path().display();
    let expected = [
        "destinations.aws.uri (environment CLOUDSYNC_DESTINATIONS__AWS__URI): \
         unknown field `uri`, expected `url` or `group`; did you mean `url`?"
            .to_owned(),
        format!("destinations.gcp.group (file {path}, line 6): is missing"),
        format!(
            "kaffka.a (file {path}, line 4): unknown field `kaffka`, expected `kafka` or `destinations`; \
             did you mean `kafka`?"
        ),
        format!(
            "kafka.brokerz (file {path}, line 2): unknown field `brokerz`, expected one of `brokers`, \
             `partitions`, `tls`, `client_id`, `librdkafka`; did you mean `brokers`?"
        ),
        "kafka.partitions (environment CLOUDSYNC_KAFKA__PARTITIONS): \
         invalid type: string \"many\", expected an integer"
            .to_owned(),
        "kafka.tls (flag --tls): invalid type: string \"maybe\", expected a boolean".to_owned(),
        "typo (environment CLOUDSYNC_TYPO): unknown field `typo`, expected `kafka` or \
         `destinations`"
            .to_owned(),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_that_is_missing_or_broken_is_a_fault_of_its_own() {
    let missing = Path::new("/nonexistent/cloudsync.toml");
    let sources = Sources {
        file: Some(missing),
        ..Sources::default()
    };
    let text = load(&Root::default(), &sources).unwrap_err().to_string();
    assert!(
        text.starts_with("file /nonexistent/cloudsync.toml cannot be read: "),
        "{text}"
    );

    let text = |text: &str| {
        let broken = file(text);
        let sources = Sources {
            file: Some(broken.path()),
            ..Sources::default()
        };
        let text = load(&Root::default(), &sources).unwrap_err().to_string();
        text.replace(&broken.path().display().to_string(), "FILE")
    };
    let said = text("[kafka]\ntls = true\nbrokers = 'é' x\n");
    let start = "file FILE, line 3 is not TOML: column 15: ";
    assert!(
        said.starts_with(start) && said.lines().count() == 1,
        "{said}"
    );
    let said = text("[kafka]\npartitions = 99999999999999999999\n");
    assert!(
        said.starts_with("kafka.partitions (file FILE, line 2): invalid type"),
        "{said}"
    );
}

#[test]
fn the_origin_of_what_is_set_is_known() {
    let file = file("[kafka]\n\ntls = true\nbrokers = \"b\"\n");
    let sources = Sources {
        file: Some(file.path()),
        environment: variables(&[("CLOUDSYNC_KAFKA__BROKERS", "c")]),
        ..Sources::default()
    };
    let origins = load(&Root::default(), &sources).unwrap().origins;
    assert_eq!(origins.len(), 2);
    let line = Some(3);
    let path = file.path().to_owned();
    assert_eq!(origins["kafka.tls"], Origin::File { path, line });
    let name = "CLOUDSYNC_KAFKA__BROKERS".to_owned();
    assert_eq!(origins["kafka.brokers"], Origin::Environment(name));
}

#[test]
fn a_secret_can_stand_in_a_file_of_its_own() {
    let secret = file("s3://hush\r\n");
    let password = file("line one\n\n");
    let path = |file: &tempfile::NamedTempFile| file.path().display().to_string();
    let environment = variables(&[
        (
            "CLOUDSYNC_DESTINATIONS__AWS__URL_FILE",
            path(&secret).as_str(),
        ),
        (
            "CLOUDSYNC_KAFKA__LIBRDKAFKA__SASL_PASSWORD_FILE",
            path(&password).as_str(),
        ),
    ]);
    let sources = Sources {
        environment,
        verbatim: VERBATIM,
        secrets: SECRETS,
        ..Sources::default()
    };
    let root = load(&Root::default(), &sources).unwrap().value;
    assert_eq!(root.destinations["aws"].url, "s3://hush");
    assert_eq!(root.kafka.librdkafka["sasl.password"], "line one\n");
}

#[test]
fn a_secret_that_cannot_be_had_is_named_and_never_shown() {
    let (empty, secret) = (file("\n"), file("hush"));
    let path = |file: &tempfile::NamedTempFile| file.path().display().to_string();
    let said = |pairs: &[(&str, &str)]| {
        let sources = Sources {
            environment: variables(pairs),
            verbatim: VERBATIM,
            secrets: SECRETS,
            ..Sources::default()
        };
        load(&Root::default(), &sources).unwrap_err().to_string()
    };
    let name = "CLOUDSYNC_DESTINATIONS__AWS__URL_FILE";
    let start = format!("destinations.aws.url (environment {name}): ");
    for (given, reason) in [
        (
            "/nonexistent/x",
            "the file /nonexistent/x cannot be read: No such file",
        ),
        ("/", "the file / cannot be read: it is a directory"),
        (path(&empty).as_str(), " is empty"),
    ] {
        let text = said(&[(name, given)]);
        assert!(text.starts_with(&start) && text.contains(reason), "{text}");
    }
    let both = said(&[
        (name, path(&secret).as_str()),
        ("CLOUDSYNC_DESTINATIONS__AWS__URL", "hush"),
    ]);
    assert_eq!(
        both,
        format!("{start}CLOUDSYNC_DESTINATIONS__AWS__URL is set as well; unset one of the two")
    );
    // What holds no secret has no file.
    let other = said(&[("CLOUDSYNC_KAFKA__BROKERS_FILE", path(&secret).as_str())]);
    assert!(other.contains("unknown field `brokers_file`"), "{other}");
}
