//! A JSON list: many records in one request.

use crate::http::gzip;
use crate::wire::{exchange, post};
use crate::world::World;
use cloudsync_gateway::MissingId;
use serde_json::{Value, json};

/// The verdicts say of each record what the log says of it.
#[track_caller]
fn assert_in_log(records: &Value, log: &[crate::world::Stored]) {
    for record in records.as_array().unwrap() {
        let position = &record["position"];
        if position.is_null() {
            continue;
        }
        let stored = log.iter().find(|stored| {
            position["partition"] == stored.partition && position["offset"] == stored.offset
        });
        let stored = stored.unwrap_or_else(|| panic!("{position} is not in the log"));
        assert_eq!(record["request_id"], stored.record.request_id);
    }
}

#[tokio::test]
async fn each_element_is_a_record() {
    let world = World::start(|_| {}).await;
    let headers = ["Idempotency-Key: order", "Content-Type: application/json"];
    let answer = post(&world, &headers, " [ {\"n\": 1}, \"two\" ,[3, 4] ] ").await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let report = answer.json();
    assert_eq!(
        report["message"],
        "Data messages queued for synchronization."
    );
    assert_eq!(
        (&report["accepted"], &report["refused"]),
        (&json!(3), &json!(0))
    );
    let log = world.log().await;
    assert_eq!(log.len(), 3);
    assert_in_log(&report["records"], &log);
    for (index, payload) in ["{\"n\": 1}", "\"two\"", "[3, 4]"].into_iter().enumerate() {
        assert_eq!(report["records"][index]["index"], index);
        let id = format!("order/{index}");
        let stored = log
            .iter()
            .find(|stored| stored.record.request_id == id)
            .unwrap();
        assert_eq!(stored.record.payload, payload);
        assert_eq!(stored.record.content_type, "application/json");
    }

    // Sent again, it has the same ids: at each destination they are one effect.
    let again = post(&world, &headers, "[{\"n\": 1},\"two\",[3, 4]]")
        .await
        .json();
    for index in 0..3 {
        let id = |report: &Value| report["records"][index]["request_id"].clone();
        assert_eq!(id(&again), id(&report));
    }
}

#[tokio::test]
async fn ids_and_keys_come_from_the_elements() {
    let world = World::start(|settings| settings.missing_id = MissingId::Reject).await;
    let pointers = "POST /api/datasync?id-pointer=/id&key-pointer=/net";
    let many: Vec<_> = (0..700)
        .map(|n| json!({"id": format!("{n:04}"), "net": "ci"}))
        .collect();
    let packed = gzip(json!(many).to_string().as_bytes());
    let answer = exchange(&world, pointers, &["Content-Encoding: gzip"], packed).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let log = world.log().await;
    assert_in_log(&answer.json()["records"], &log);
    // One key, so one partition, and there the order of the list, across submissions.
    let ids: Vec<_> = log
        .iter()
        .map(|stored| stored.record.request_id.clone())
        .collect();
    assert_eq!(ids, (0..700).map(|n| format!("{n:04}")).collect::<Vec<_>>());
    assert!(log.iter().all(|stored| stored.key == "ci"));
}

#[tokio::test]
async fn some_may_be_refused_and_the_others_are_taken() {
    let world = World::start(|settings| settings.max_record_bytes = 1_000).await;
    let pointer = "POST /api/datasync?id-pointer=/id";
    let list = json!([
        {"id": "a"}, {"no": "id"}, {"id": "x".repeat(129)}, {"id": "b", "text": "y".repeat(1_000)},
        {"id": 7}
    ]);
    let answer = exchange(&world, pointer, &[], list.to_string()).await;
    assert_eq!(answer.status, 207, "{}", answer.body);
    let report = answer.json();
    assert_eq!(
        (&report["accepted"], &report["refused"]),
        (&json!(2), &json!(3))
    );
    let told: Vec<_> = report["records"].as_array().unwrap().iter().collect();
    assert_eq!(told[0]["request_id"], "a");
    assert_eq!(told[4]["request_id"], "7");
    let problems = [
        (1, 400, "INVALID_JSON", json!("record.request_id")),
        (2, 400, "FIELD_TOO_LONG", json!("record.request_id")),
        (3, 413, "RECORD_TOO_LARGE", json!("record")),
    ];
    for (index, status, reason, field) in problems {
        let problem = &told[index]["problem"];
        assert_eq!(told[index]["position"], Value::Null);
        assert_eq!(
            (&problem["status"], &problem["reason"], &problem["field"]),
            (&json!(status), &json!(reason), &field)
        );
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let log = world.log().await;
    assert_in_log(&report["records"], &log);
    assert_eq!(log.len(), 2);
    assert_eq!(
        (world.counters.received(), world.counters.refused()),
        (5, 3)
    );

    // If none is taken, it is a problem, which still has every verdict.
    let none = exchange(&world, pointer, &[], r#"[{"n":1},{"n":2}]"#).await;
    let problem = none.problem(400, "INVALID_JSON");
    assert_eq!(
        (&problem["accepted"], &problem["refused"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(problem["records"].as_array().unwrap().len(), 2);
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn a_list_has_limits() {
    let world = World::start(|settings| settings.max_body_bytes = 30_000).await;
    let of = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    for count in [0, 10_001] {
        let problem = post(&world, &[], of(count))
            .await
            .problem(400, "BATCH_SIZE");
        assert!(
            problem["detail"].as_str().unwrap().contains("1 to 10000"),
            "{problem}"
        );
    }
    let most = post(&world, &[], of(10_000)).await;
    assert_eq!(most.status, 202);
    assert_eq!(most.json()["accepted"], 10_000);

    let text = |bytes: usize| format!("[\"{}\"]", "x".repeat(bytes - 4));
    assert_eq!(post(&world, &[], text(30_000)).await.status, 202);
    let problem = post(&world, &[], text(30_001))
        .await
        .problem(413, "BODY_TOO_LARGE");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("30000 bytes") && detail.contains("application/x-ndjson"),
        "{detail}"
    );
    // White space before it does not hide that it is one.
    let late = format!("{}{}", " ".repeat(9_000), text(30_000));
    post(&world, &[], late).await.problem(413, "BODY_TOO_LARGE");
    assert_eq!(world.log().await.len(), 10_001);
}
