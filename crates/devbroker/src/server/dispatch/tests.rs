use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsResponse, JoinGroupRequest};
use proptest::prelude::*;
use tokio::time::timeout;

use super::*;
use crate::BrokerConfig;
use crate::log::batch;
use crate::offsets::Committed;
use crate::server::shape::tests::{every_api, frame};
use crate::topics::TopicSettings;

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A node in which each request of [`frame`] finds something.
fn node() -> Arc<Node> {
    let config = BrokerConfig {
        first_join_delay: Duration::ZERO,
        ..BrokerConfig::default()
    };
    let node = Node::open(&config, peer()).unwrap();
    node.topics
        .change(&node.topics.only_turn())
        .create("topic", 4, TopicSettings::default(), false)
        .unwrap();
    let bytes = batch::tests::batch((-1, -1, -1), 2, 5, b"records");
    let header = batch::validate(&bytes, 1 << 20).unwrap();
    node.topics
        .partition("topic", 0)
        .unwrap()
        .log()
        .append(&header, &bytes)
        .unwrap();
    let committed = Committed {
        offset: 1,
        leader_epoch: 0,
        metadata: "m".to_owned(),
    };
    node.offsets
        .commit("group", vec![(("topic".to_owned(), 1), committed)])
        .unwrap();
    Arc::new(node)
}

async fn join(node: &Node) {
    let mut join = frame(ApiKey::JoinGroup, 3).freeze();
    let header: RequestHeader = decode(&mut join, 1, "header").unwrap();
    let mut request: JoinGroupRequest = decode(&mut join, 3, "body").unwrap();
    request.member_id = "".into();
    request.session_timeout_ms = 60_000;
    request.protocol_type = "consumer".into();
    request.group_instance_id = Some("instance".into());
    let joined = groups::join(node, request, 3, header.client_id, peer()).await;
    assert_eq!(joined.error_code, 0);
}

async fn ask(node: &Arc<Node>, frame: Bytes) -> Result<Option<Bytes>, RequestError> {
    let room = node.budget.small();
    let answer = answer(node, &Arc::new(Notify::new()), peer(), frame, room).await?;
    Ok(answer.map(|(bytes, _)| bytes))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn every_version_of_every_request_is_answered() {
    run(async {
        for (api, version) in every_api() {
            let node = node();
            join(&node).await;
            let answer = ask(&node, frame(api, version).freeze()).await.unwrap();
            assert!(answer.is_some(), "{api:?} v{version}");
        }
    });
}

#[test]
fn a_failure_asked_for_can_be_said_in_every_version() {
    run(async {
        let node = node();
        for (key, version) in every_api() {
            if let Some(api) = handed::api_of(key) {
                node.hands.next(api, 1, crate::Act::Fail(15));
                let answer = ask(&node, frame(key, version).freeze()).await;
                assert!(
                    matches!(answer, Ok(Some(_))),
                    "{key:?} v{version}: {answer:?}"
                );
                assert_eq!(node.hands.left(api), 0);
            }
        }
    });
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_what_there_is() {
    run(async {
        let mut bytes = frame(ApiKey::ApiVersions, 3);
        bytes[2..4].copy_from_slice(&99_i16.to_be_bytes());
        let mut answer = ask(&node(), bytes.freeze())
            .await
            .unwrap()
            .unwrap()
            .split_off(8);
        let versions: ApiVersionsResponse = decode(&mut answer, 0, "body").unwrap();
        assert_eq!(
            (versions.error_code, versions.api_keys.len()),
            (35, APIS.len())
        );
        let mut bytes = frame(ApiKey::Fetch, 4);
        bytes[2..4].copy_from_slice(&99_i16.to_be_bytes());
        let refused = ask(&node(), bytes.freeze()).await;
        assert!(matches!(
            refused,
            Err(RequestError::Unsupported {
                key: 1,
                version: 99
            })
        ));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn mutated_requests_end_in_an_answer_or_an_error(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let all: Vec<_> = every_api().collect();
        let (api, version) = all[which.index(all.len())];
        let mut bytes = frame(api, version);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // One that waits for records or members may do so.
        let waits = waits(&bytes);
        let longest = Duration::from_millis(if waits { 2 } else { 60_000 });
        let judged = run(async { timeout(longest, ask(&node(), bytes.freeze())).await });
        prop_assert!(waits || judged.is_ok(), "{api:?} hangs");
    }
}
