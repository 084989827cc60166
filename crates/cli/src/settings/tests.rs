use super::*;

fn loaded(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    loaded_on(&Settings::embedded(Path::new("/data")), text, environment)
}

/// `text` and `environment` over `defaults`.
pub(super) fn loaded_on(
    defaults: &Settings,
    text: &str,
    environment: &[(&str, &str)],
) -> Result<Settings, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment = environment.iter().map(pair).collect();
    let sources = Sources {
        file: Some(file.path()),
        environment,
        flags: Vec::new(),
        verbatim: VERBATIM,
        secrets: SECRETS,
    };
    let loaded = cloudsync_runtime::settings::load(defaults, &sources);
    let loaded = loaded.map_err(|errors| errors.to_string())?;
    let faults = check::check(&loaded);
    if faults.is_empty() {
        return Ok(loaded.value);
    }
    Err(SettingsErrors { faults }.to_string())
}

#[test]
fn the_defaults_survive_their_own_loading() {
    let settings = loaded("", &[]).unwrap();
    let defaults = Settings::embedded(Path::new("/data"));
    let json = |settings: &Settings| serde_json::to_value(settings).unwrap();
    assert_eq!(json(&settings), json(&defaults));
    assert_eq!(settings.destinations["aws"].url, "file:///data/aws");
    assert_eq!(settings.destinations["azure"].group, "azure-sync-group");
    assert!(settings.log_is_embedded());
}

#[test]
fn records_are_kept_for_the_groups_of_all_destinations_or_those_named() {
    let more = "[destinations.gcp]\nurl = \"null://\"\ngroup = \"g\"\n";
    let all = ["aws-sync-group", "azure-sync-group", "g"];
    assert_eq!(loaded(more, &[]).unwrap().retain_for(), all);
    let named = "[log]\nretain_for = [\"a\", \"b\"]\n";
    assert_eq!(loaded(named, &[]).unwrap().retain_for(), ["a", "b"]);
    let text = [("CLOUDSYNC_LOG__RETAIN_FOR", "a, b")];
    assert_eq!(loaded(more, &text).unwrap().retain_for(), ["a", "b"]);
    let none = "[log]\nretain_for = []\n";
    assert!(loaded(none, &[]).unwrap().retain_for().is_empty());
}

#[test]
fn every_section_can_be_set_from_both_sides() {
    let text = "
        grace_period = \"3s\"
        [kafka]
        partitions = 6
        [kafka.librdkafka]
        \"statistics.interval.ms\" = 1000
        [log]
        fsync = \"always\"
        [gateway]
        missing_id = \"reject\"
        [destinations.gcp]
        url = \"null://\"
        group = \"gcp-sync-group\"
    ";
    let environment = [
        ("CLOUDSYNC_DESTINATIONS__AWS__URL", "file:///srv/aws"),
        (
            "CLOUDSYNC_KAFKA__LIBRDKAFKA__SOCKET_KEEPALIVE_ENABLE",
            "true",
        ),
        ("CLOUDSYNC_KAFKA__RETENTION", "1d"),
        ("CLOUDSYNC_GATEWAY__LISTEN", "127.0.0.1:0"),
        ("CLOUDSYNC_ADMIN__LISTEN", "127.0.0.1:1"),
        ("CLOUDSYNC_DEDUPE__WINDOW", "2h"),
    ];
    let settings = loaded(text, &environment).unwrap();
    assert_eq!(settings.grace_period, Duration::from_secs(3));
    assert_eq!(settings.kafka.partitions, 6);
    assert_eq!(settings.kafka.librdkafka["statistics.interval.ms"], "1000");
    assert_eq!(settings.kafka.librdkafka["socket.keepalive.enable"], "true");
    assert_eq!(settings.log.fsync, FsyncSetting(Fsync::Always));
    assert_eq!(settings.destinations["aws"].url, "file:///srv/aws");
    assert_eq!(settings.destination_names(), ["aws", "azure", "gcp"]);
    assert_eq!(settings.dedupe.window, Duration::from_secs(7_200));
}

#[test]
fn wrong_settings_are_named_with_their_place() {
    let environment = [
        ("CLOUDSYNC_LOG__FSYNC", "never"),
        ("CLOUDSYNC_GATEWAY__LISTN", "x"),
    ];
    let text = loaded("[kafka]\nretention = \"week\"\n", &environment).unwrap_err();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    let start = "gateway.listn (environment CLOUDSYNC_GATEWAY__LISTN): unknown field `listn`";
    assert!(lines[0].starts_with(start), "{text}");
    assert!(lines[1].starts_with("kafka.retention (file "), "{text}");
    assert!(
        lines[2].contains("\"never\" is neither \"always\" nor an interval"),
        "{text}"
    );

    let refused = loaded("[kafka.librdkafka]\n\"acks\" = 1\n", &[]).unwrap_err();
    assert!(refused.contains("acks"), "{refused}");
}

#[test]
fn what_is_out_of_range_is_told_all_at_once_with_its_place() {
    let text =
        "[kafka]\npartitions = 0\nqueue_records = 0\n[dedupe]\nshards = 0\nlease = \"1ms\"\n";
    let environment = [("CLOUDSYNC_GATEWAY__MAX_STREAMS", "0")];
    let said = loaded(text, &environment).unwrap_err();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    for (line, start, end) in [
        (0, "kafka.partitions = 0 is refused", ", line 2)"),
        (1, "kafka.queue_records = 0 is refused", ", line 3)"),
        (
            2,
            "gateway.max_streams is 0",
            "(environment CLOUDSYNC_GATEWAY__MAX_STREAMS)",
        ),
        (3, "dedupe.shards = 0 is out of range", ", line 5)"),
        (4, "dedupe.lease = 1 ms is out of range", ", line 6)"),
    ] {
        let line = lines[line];
        assert!(line.starts_with(start) && line.ends_with(end), "{said}");
    }
    let groups = "[destinations.aws]\ngroup = \"g\"\n[destinations.azure]\ngroup = \"g\"\n";
    let said = loaded(groups, &[]).unwrap_err();
    assert!(
        said.contains("destinations.aws.group and destinations.azure.group"),
        "{said}"
    );
}
