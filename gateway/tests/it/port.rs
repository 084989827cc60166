//! The port: who may bind it, and what answers on it beside records.

use crate::world::{World, deps};
use cloudsync_gateway::{BindError, Gateway, GatewaySettings};
use cloudsync_kafka::KafkaSettings;
use futures::{StreamExt, stream};
use prost_types::FileDescriptorProto;
use std::net::TcpListener;
use tonic::Code;
use tonic::client::Grpc;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::{v1, v1alpha};

fn bind(settings: GatewaySettings) -> Result<Gateway, BindError> {
    Gateway::bind(settings, deps(&KafkaSettings::default()))
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_tls() {
    let open = GatewaySettings {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Default::default()
    };
    let error = bind(open.clone()).unwrap_err();
    assert!(matches!(error, BindError::NotLoopback { .. }));
    let text = error.to_string();
    assert!(
        text.contains("gateway.listen = 0.0.0.0:0") && text.contains("--insecure"),
        "{text}"
    );
    assert!(
        bind(GatewaySettings {
            insecure: true,
            ..open
        })
        .is_ok()
    );
    let mapped = "[::ffff:192.0.2.1]:0".parse().unwrap();
    let mapped = bind(GatewaySettings {
        listen: mapped,
        ..Default::default()
    });
    assert!(matches!(mapped, Err(BindError::NotLoopback { .. })));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = owner.local_addr().unwrap();
    let error = bind(GatewaySettings {
        listen,
        ..Default::default()
    })
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("gateway.listen = {listen} is taken")),
        "{error}"
    );
}

#[tokio::test]
async fn limits_that_the_producers_queue_cannot_hold_are_refused() {
    let kafka = KafkaSettings {
        queue_records: 99_999,
        ..KafkaSettings::default()
    };
    let error = Gateway::bind(GatewaySettings::default(), deps(&kafka)).unwrap_err();
    let text = "gateway.max_in_flight_records is 100000, but must be at most 99999, \
                kafka.queue_records";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn health_follows_the_gateway() {
    let mut world = World::start(|_| {}).await;
    let mut health = HealthClient::new(world.channel().await);
    for service in ["", "cloudsync.v1.DataSyncService"] {
        let asked = HealthCheckRequest {
            service: service.into(),
        };
        let answer = health.check(asked).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let watched = HealthCheckRequest::default();
    let mut watch = health.watch(watched).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    world.shutdown.drain();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    // One who only watches does not keep a gateway from ending.
    world.ended().await;
}

#[tokio::test]
async fn what_does_not_exist_is_unimplemented_for_grpc() {
    let world = World::start(|_| {}).await;
    let mut grpc = Grpc::new(world.channel().await);
    grpc.ready().await.unwrap();
    let path = "/cloudsync.v2.DataSyncService/SyncRecord".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let status = grpc
        .unary(tonic::Request::new(()), path, codec)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

/// Everything that a client needs to print our messages and our errors.
const SYMBOLS: [&str; 3] = [
    "cloudsync.v1.DataSyncService",
    "google.rpc.RetryInfo",
    "grpc.health.v1.Health",
];

#[tokio::test]
async fn reflection_describes_services_and_errors() {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let world = World::start(|_| {}).await;
    let mut client = ServerReflectionClient::new(world.channel().await);
    let asked = |what| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(what),
    };
    let mut requests = vec![asked(MessageRequest::ListServices(String::new()))];
    requests.extend(SYMBOLS.map(|name| asked(MessageRequest::FileContainingSymbol(name.into()))));
    let answers = client
        .server_reflection_info(stream::iter(requests))
        .await
        .unwrap();
    let answers: Vec<_> = answers
        .into_inner()
        .map(|a| a.unwrap().message_response.unwrap())
        .collect()
        .await;
    let MessageResponse::ListServicesResponse(list) = &answers[0] else {
        panic!("{answers:?}")
    };
    let names: Vec<_> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert!(
        names.contains(&SYMBOLS[0]) && names.contains(&SYMBOLS[2]),
        "{names:?}"
    );
    for answer in &answers[1..] {
        let MessageResponse::FileDescriptorResponse(files) = answer else {
            panic!("{answer:?}")
        };
        let file: FileDescriptorProto =
            prost::Message::decode(&files.file_descriptor_proto[0][..]).unwrap();
        assert!(!file.name().is_empty());
    }
}

/// Older clients know this version only.
#[tokio::test]
async fn reflection_answers_in_its_older_version() {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;
    let world = World::start(|_| {}).await;
    let asked = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(SYMBOLS[1].into())),
    };
    let mut client = ServerReflectionClient::new(world.channel().await);
    let answers = client
        .server_reflection_info(stream::iter([asked]))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    assert!(answer.message_response.is_some());
}

#[tokio::test]
async fn reflection_can_be_off() {
    let world = World::start(|settings| settings.reflection = Some(false)).await;
    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(world.channel().await);
    let status = client
        .server_reflection_info(stream::empty())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}
