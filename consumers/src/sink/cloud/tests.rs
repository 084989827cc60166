//! What a service answers, byte for byte, and what becomes of it. The real servers are asked in
//! `tests/it/objects.rs`.

use super::*;
use crate::sink::ErrorClass::{Denied, Outage, Rejected, Throttled, Transient};
use settings::Encryption;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A service that answers each connection's first request with `answer`, as it stands there, and
/// hangs up; with none it says nothing and keeps the line.
async fn service(answer: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let _read = stream.read(&mut request).await;
            match &answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => held.push(stream),
            }
        }
    });
    endpoint
}

fn answer(status: &str, headers: &str, code: &str) -> Option<String> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

fn at(scheme: &str, endpoint: &str) -> DestinationSettings {
    let mut settings = DestinationSettings::new(format!("{scheme}://things/below/here"), "g");
    settings.s3.endpoint = Some(endpoint.to_owned());
    settings.s3.access_key_id = Some("id".to_owned());
    settings.s3.secret_access_key = Some("hush".to_owned());
    settings.azure.endpoint = Some(format!("{endpoint}/acme"));
    settings.azure.account = Some("acme".to_owned());
    settings.azure.account_key = Some("aHVzaA==".to_owned());
    settings
}

fn sink(scheme: &str, endpoint: &str) -> CloudSink {
    connect(&at(scheme, endpoint)).unwrap().unwrap()
}

/// Status, headers, word, and what is to be done.
type Row = (&'static str, &'static str, &'static str, ErrorClass);

const fn wait(seconds: u64) -> ErrorClass {
    Throttled(Duration::from_secs(seconds))
}

async fn creates_have_their_class(scheme: &str, rows: &[Row]) {
    for (status, headers, code, class) in rows {
        let endpoint = service(answer(status, headers, code)).await;
        let error = sink(scheme, &endpoint)
            .create_if_absent("a/b", Bytes::from_static(b"x"))
            .await
            .unwrap_err();
        let what = format!("{scheme} {status} {headers} {code}: {}", error.chain());
        assert_eq!(error.class, *class, "{what}");
        let status = status.split(' ').next().unwrap();
        assert!(error.code.as_deref().unwrap().starts_with(status), "{what}");
        let named = what.contains("things/below/here/a/b");
        assert!(named && !error.chain().contains("hush"), "{what}");
    }
}

#[tokio::test]
async fn every_answer_of_s3_to_a_create_has_its_class() {
    let rows = [
        ("500 x", "", "InternalError", Transient),
        ("503 x", "", "SlowDown", wait(1)),
        ("503 x", "Retry-After: 7\r\n", "SlowDown", wait(7)),
        ("503 x", "", "ServiceUnavailable", Transient),
        ("429 x", "", "TooManyRequests", wait(1)),
        ("429 x", "Retry-After: 3\r\n", "", wait(3)),
        ("409 x", "", "ConditionalRequestConflict", Transient),
        ("409 x", "", "OperationAborted", Transient),
        ("403 x", "", "AccessDenied", Denied),
        ("403 x", "", "SignatureDoesNotMatch", Denied),
        ("400 x", "", "ExpiredToken", Denied),
        ("400 x", "", "AuthorizationHeaderMalformed", Denied),
        ("400 x", "", "RequestTimeout", Transient),
        ("400 x", "", "EntityTooLarge", Rejected),
        ("404 x", "", "NoSuchBucket", Denied),
        ("301 x", "", "PermanentRedirect", Denied),
        (
            "302 x",
            "Location: http://127.0.0.1:9/x?sig=hush\r\n",
            "",
            Denied,
        ),
        ("303 x", "Location: http://127.0.0.1:9/x\r\n", "", Denied),
        ("404 x", "", "", Transient),
        ("501 x", "", "NotImplemented", Denied),
    ];
    creates_have_their_class("s3", &rows).await;
}

#[tokio::test]
async fn every_answer_of_azure_to_a_create_has_its_class() {
    let rows = [
        ("500 x", "x-ms-error-code: InternalError\r\n", "", Transient),
        ("503 x", "x-ms-error-code: ServerBusy\r\n", "", wait(1)),
        (
            "403 x",
            "x-ms-error-code: AuthorizationFailure\r\n",
            "",
            Denied,
        ),
        (
            "404 x",
            "x-ms-error-code: ContainerNotFound\r\n",
            "",
            Denied,
        ),
        (
            "409 x",
            "x-ms-error-code: ContainerBeingDeleted\r\n",
            "",
            Transient,
        ),
        (
            "413 x",
            "x-ms-error-code: RequestBodyTooLarge\r\n",
            "",
            Rejected,
        ),
    ];
    creates_have_their_class("az", &rows).await;
}

#[tokio::test]
async fn exists_is_said_in_two_ways_and_gone_in_one() {
    for (scheme, exists, header) in [
        ("s3", "412 x", ""),
        ("az", "409 x", "x-ms-error-code: BlobAlreadyExists\r\n"),
        ("az", "412 x", "x-ms-error-code: ConditionNotMet\r\n"),
    ] {
        let endpoint = service(answer(exists, header, "")).await;
        let found = sink(scheme, &endpoint)
            .create_if_absent("a", Bytes::new())
            .await;
        assert_eq!(found.unwrap(), Create::AlreadyExists, "{scheme} {exists}");
    }
    for (scheme, header, code) in [
        ("s3", "", "NoSuchKey"),
        ("az", "x-ms-error-code: BlobNotFound\r\n", ""),
    ] {
        let endpoint = service(answer("404 x", header, code)).await;
        let sink = sink(scheme, &endpoint);
        assert_eq!(sink.get("a").await.unwrap(), None, "{scheme}");
    }
    // A bucket that is gone is not an empty one.
    let endpoint = service(answer("404 x", "", "NoSuchBucket")).await;
    let error = sink("s3", &endpoint).list("").await.unwrap_err();
    assert_eq!(error.class, Denied, "{}", error.chain());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_is_an_outage_or_open() {
    let cut = Some("HTTP/1.1 200 OK\r\nContent-Le".to_owned());
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (what, endpoint, class) in [
        ("refused", refused, Outage),
        ("hung up", service(Some(String::new())).await, Transient),
        ("cut", service(cut).await, Transient),
        ("silence", service(None).await, Outage),
    ] {
        for scheme in ["s3", "az"] {
            let sink = sink(scheme, &endpoint);
            let error = sink.create_if_absent("a", Bytes::new()).await.unwrap_err();
            assert_eq!(error.class, class, "{what} {scheme}: {}", error.chain());
        }
    }
}

type Change<'a> = &'a dyn Fn(&mut DestinationSettings);

#[test]
fn settings_that_cannot_work_are_named() {
    let wrong = |change: Change<'_>| {
        let mut settings = at("s3", "https://s3.example");
        settings.azure = AzureSettings::default();
        change(&mut settings);
        let errors = settings.errors();
        errors
            .into_iter()
            .map(|(key, why)| format!("{key}: {why}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(wrong(&|_| {}), Vec::<String>::new());
    let rows: [(Change<'_>, &str); 7] = [
        (&|it| it.s3.secret_access_key = None, "s3.access_key_id: "),
        (&|it| it.s3.profile = Some("ci".to_owned()), "s3.profile: "),
        (
            &|it| it.s3.kms_key = Some("k".to_owned()),
            "s3.kms_key: it needs encryption",
        ),
        (
            &|it| it.azure.account = Some("acme".to_owned()),
            "azure: it is for destinations at az://",
        ),
        (
            &|it| it.s3.endpoint = Some("http://s3.example".to_owned()),
            "without TLS; use https",
        ),
        (
            &|it| it.s3.endpoint = Some("s3.example".to_owned()),
            "must begin with https://",
        ),
        (
            &|it| it.url = "s3://b/a//x".to_owned(),
            "prefix that no object can have",
        ),
    ];
    for (change, expected) in rows {
        let said = wrong(change).join("; ");
        assert!(
            said.contains(expected) && !said.contains("hush"),
            "{expected}: {said}"
        );
    }
    let plain = |it: &mut DestinationSettings| {
        it.s3.endpoint = Some("http://s3.example".to_owned());
        it.allow_private = true;
        it.s3.encryption = Some(Encryption::KmsTwice);
        it.s3.kms_key = Some("k".to_owned());
    };
    assert_eq!(wrong(&plain), Vec::<String>::new());
}
