//! Who may connect, and what a user of Redis needs to be allowed.

use super::servers::{Deployment, Server, Shape, at_hand};
use super::settings;
use crate::conformance::subject;
use cloudsync_dedupe::settings::{Layout, look_at};
use cloudsync_dedupe::{DedupeSettings, DedupeStore, Lookup, StoreError, Subject, Token, open};
use std::fs;
use std::process::Command;
use std::sync::Arc;

/// The rights that `docs/dedupe-redis.md` lists for the user `name`, read from there.
fn documented(name: &str, namespace: &str) -> Vec<String> {
    let page = include_str!("../../../../../docs/dedupe-redis.md");
    let name = format!("ACL SETUSER {name} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    let line = line.unwrap().replace("<namespace>", namespace);
    line.split(' ').map(str::to_owned).collect()
}

fn add_user(server: &Server, user: &str, rights: &[String]) {
    let mut words = vec!["ACL", "SETUSER", user];
    words.extend(rights.iter().map(String::as_str));
    assert_eq!(server.ask(&words), "OK");
}

fn user(settings: DedupeSettings, user: &str, password: &str) -> DedupeSettings {
    DedupeSettings {
        redis_user: Some(user.to_owned()),
        redis_password: Some(password.to_owned()),
        ..settings
    }
}

/// Makes every call of a store, each with an effect.
async fn every_call(store: &Arc<dyn DedupeStore>) -> Result<(), StoreError> {
    let (me, other) = (Token::of_instance("a"), Token::of_instance("a"));
    let subjects: Vec<Subject> = (0..8).map(subject).collect();
    store.ready().await?;
    let _granted = store.claim(me, &subjects).await?;
    let _mine = store.claim(me, &subjects).await?;
    let _taken_over = store.claim(other, &subjects).await?;
    let _busy = store.claim(Token::random(), &subjects).await?;
    assert_eq!(store.renew(other, &subjects).await?, [true; 8]);
    store.release(other, &subjects[..2]).await?;
    store.dead_letter(Some(other), &subjects[2..4]).await?;
    store.complete(&subjects[4..]).await?;
    store.forget(&subjects[7..]).await?;
    let known = store.lookup(&subjects).await?;
    let kinds = known.iter().map(|lookup| match lookup {
        Lookup::Unknown => 'u',
        Lookup::DeadLettered { .. } => 'x',
        Lookup::Done { .. } => 'd',
        _ => '?',
    });
    assert_eq!(kinds.collect::<String>(), "uuxxdddu");
    store.stats().await?;
    Ok(())
}

#[tokio::test]
async fn the_documented_rights_suffice_for_every_call() {
    if !at_hand() {
        return;
    }
    for shape in [Shape::Standalone, Shape::Sentinel, Shape::Cluster] {
        let deployment = Deployment::shared(shape);
        for layout in [Layout::Buckets, Layout::Keys] {
            let settings = settings(&deployment.url, layout);
            let name = format!("user-{}", settings.namespace);
            let user_of = match layout {
                Layout::Buckets => "buckets-user",
                Layout::Keys => "keys-user",
            };
            let mut rights = documented(user_of, &settings.namespace);
            let password = rights.iter_mut().find(|word| word.starts_with('>'));
            *password.unwrap() = ">p@ss:word/1".to_owned();
            for server in deployment.data() {
                add_user(server, &name, &rights);
            }
            let store = open(&user(settings, &name, "p@ss:word/1"), "aws").unwrap();
            let done = every_call(&store).await;
            assert_eq!(done, Ok(()), "{shape:?} {layout:?}");
        }
    }
}

/// Receipts, and the marks that a gateway looks at.
#[tokio::test]
async fn the_documented_rights_suffice_for_a_gateway() {
    if !at_hand() {
        return;
    }
    for shape in [Shape::Standalone, Shape::Sentinel, Shape::Cluster] {
        let deployment = Deployment::shared(shape);
        for layout in [Layout::Buckets, Layout::Keys] {
            let settings = settings(&deployment.url, layout);
            let name = format!("gateway-{}", settings.namespace);
            let mut rights = documented("gateway-user", &settings.namespace);
            let password = rights.iter_mut().find(|word| word.starts_with('>'));
            *password.unwrap() = ">secret".to_owned();
            for server in deployment.data() {
                add_user(server, &name, &rights);
            }
            let settings = user(settings, &name, "secret");
            let marks = look_at(&settings, "aws").unwrap();
            assert_eq!(marks.inspect(&[subject(1)]).await, Ok(vec![None]));
            super::receipts::are_written_and_found(&settings).await;
        }
    }
}

#[tokio::test]
async fn a_managed_redis_that_tells_nothing_of_itself_is_used() {
    if !at_hand() {
        return;
    }
    let deployment = Deployment::shared(Shape::Standalone);
    for layout in [Layout::Buckets, Layout::Keys] {
        let settings = settings(&deployment.url, layout);
        let name = format!("managed-{}", settings.namespace);
        let rights = "on >secret ~* +@all -config -info -@dangerous";
        let rights: Vec<String> = rights.split(' ').map(str::to_owned).collect();
        add_user(&deployment.servers[0], &name, &rights);
        let store = open(&user(settings, &name, "secret"), "aws").unwrap();
        assert_eq!(every_call(&store).await, Ok(()));
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_never_printed() {
    if !at_hand() {
        return;
    }
    let server = Server::start("requirepass right-one");
    let address = format!("127.0.0.1:{}/0", server.port);
    for url in [
        format!("redis://:wrong-secret@{address}"),
        format!("redis://nobody:wrong-secret@{address}"),
        format!("redis://{address}"),
    ] {
        for layout in [Layout::Buckets, Layout::Keys] {
            let store = open(&settings(&url, layout), "aws").unwrap();
            let error = store.lookup(&[subject(1)]).await.unwrap_err();
            assert!(!error.is_retryable(), "{error}");
            let text = format!("{error} {error:?} {store:?}");
            assert!(
                !text.contains("secret") && text.contains(&address),
                "{text}"
            );
        }
    }
    // Nothing is remembered of it: with the password that the store has, calls work at once.
    let url = format!("redis://:later-secret@{address}");
    let store = open(&settings(&url, Layout::Buckets), "aws").unwrap();
    assert!(store.lookup(&[subject(1)]).await.is_err());
    let mut connection = server.connection_as(":right-one@");
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("requirepass").arg("later-secret");
    set.exec(&mut connection).unwrap();
    assert_eq!(
        store.lookup(&[subject(1)]).await.unwrap(),
        [Lookup::Unknown]
    );
}

/// A certificate authority, and a certificate for 127.0.0.1 that it signed.
fn certificates(dir: &std::path::Path) {
    let script = r#"
        set -e
        new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        openssl req -x509 $new -keyout ca.key -out ca.pem -subj /CN=ca -days 2
        for name in server client; do
            openssl req $new -keyout $name.key -out $name.csr -subj /CN=$name
            echo subjectAltName=IP:127.0.0.1 >$name.ext
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
                -out $name.pem -days 2 -extfile $name.ext
        done
    "#;
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .output();
    let made = made.unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[tokio::test]
async fn tls_is_spoken_and_trust_is_needed() {
    if !at_hand() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let server = Server::start_tls(&format!(
        "tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients yes",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    ));
    let url = format!("rediss://127.0.0.1:{}", server.port);
    for layout in [Layout::Buckets, Layout::Keys] {
        let trusted = DedupeSettings {
            redis_ca: Some(path("ca.pem")),
            redis_cert: Some(path("client.pem")),
            redis_key: Some(path("client.key")),
            ..settings(&url, layout)
        };
        assert_eq!(every_call(&open(&trusted, "aws").unwrap()).await, Ok(()));
        // The system knows nothing of this authority.
        let strange = open(&settings(&url, layout), "aws").unwrap();
        let error = strange.ready().await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    fs::write(dir.path().join("client.pem"), "no certificate").unwrap();
    let broken = DedupeSettings {
        redis_ca: Some(path("gone.pem")),
        ..settings(&url, Layout::Buckets)
    };
    let error = open(&broken, "aws").unwrap_err().to_string();
    assert!(
        error.contains("redis_ca") && error.contains("gone.pem"),
        "{error}"
    );
}
