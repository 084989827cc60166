use super::passed::REFUSED;
use super::*;

fn with(key: &str, value: &str) -> KafkaSettings {
    let librdkafka = [(key.to_owned(), value.to_owned())].into();
    KafkaSettings {
        librdkafka,
        ..KafkaSettings::default()
    }
}

#[test]
fn the_defaults_are_valid_and_librdkafka_takes_them() {
    let settings = KafkaSettings::default();
    assert_eq!(settings.errors(), []);
    assert_eq!(settings.topic_message_bytes(), 1_048_588);
    for config in [settings.producer(), settings.reader("g"), settings.admin()] {
        assert!(config.create_native_config().is_ok(), "{config:?}");
    }
    let _: rdkafka::producer::BaseProducer = settings.producer().create().unwrap();
    let _: rdkafka::consumer::BaseConsumer = settings.reader("g").create().unwrap();
}

#[test]
fn what_the_promises_rest_on_cannot_be_passed_through() {
    let keys = REFUSED.iter().flat_map(|(keys, _)| *keys);
    for key in keys.chain(&["test.mock.num.brokers"]) {
        let error = with(key, "1").validate().unwrap_err().to_string();
        assert!(
            error.contains(key) && error.len() > key.len() + 60,
            "{error}"
        );
    }
    assert_eq!(with("fetch.max.bytes", "1000000").validate(), Ok(()));
}

#[cfg(not(feature = "kafka-tls"))]
#[test]
fn a_build_without_tls_says_how_to_get_it() {
    for key in ["security.protocol", "sasl.mechanisms", "ssl.ca.location"] {
        let error = with(key, "SASL_SSL").validate().unwrap_err().to_string();
        assert!(error.contains("--features kafka-tls"), "{error}");
    }
}

#[test]
fn secrets_are_neither_in_errors_nor_in_debug_output() {
    let settings = with("sasl.password", "hunter2");
    assert!(!format!("{settings:?} {:?}", settings.errors()).contains("hunter2"));
}

#[test]
fn values_out_of_range_are_refused_all_at_once() {
    let settings = KafkaSettings {
        partitions: 0,
        topic: String::new(),
        queue_bytes: 1,
        brokers: " ".to_owned(),
        ..KafkaSettings::default()
    };
    let text: Vec<_> = settings.errors().iter().map(ToString::to_string).collect();
    for key in ["partitions", "topic", "queue_bytes", "brokers"] {
        assert!(
            text.iter()
                .any(|error| error.contains(&format!("kafka.{key} "))),
            "{text:?}"
        );
    }
}

#[test]
fn the_section_reads_human_durations_and_refuses_unknown_keys() {
    let json = r#"{"retention":"2h","linger":"1ms","librdkafka":{"fetch.wait.max.ms":"10"}}"#;
    let settings: KafkaSettings = serde_json::from_str(json).unwrap();
    assert_eq!(settings.retention, Duration::from_secs(7_200));
    let again: KafkaSettings =
        serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
    assert_eq!(again, settings);
    assert!(serde_json::from_str::<KafkaSettings>(r#"{"topics":"x"}"#).is_err());
}

#[test]
fn what_is_passed_through_wins_under_either_of_its_names() {
    let config = with("max.partition.fetch.bytes", "5000").reader("g");
    let native = config.create_native_config().unwrap();
    assert_eq!(native.get("fetch.message.max.bytes").unwrap(), "5000");
    let config = with("compression.codec", "none").producer();
    let native = config.create_native_config().unwrap();
    assert_eq!(native.get("compression.codec").unwrap(), "none");
    let admin = with("fetch.wait.max.ms", "1").admin();
    assert_eq!(admin.get("fetch.wait.max.ms"), None);
}
