//! Redis is killed, stopped, wiped, or another one takes over.

use super::servers::{Deployment, PATIENCE, Server, Shape, at_hand};
use super::settings;
use crate::conformance::subject;
use cloudsync_dedupe::settings::Layout;
use cloudsync_dedupe::{Claim, DedupeSettings, DedupeStore, Lookup, StoreError, Token, open};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LAYOUTS: [Layout; 2] = [Layout::Buckets, Layout::Keys];

/// Repeats a call until it works; every error before that must be one that may go away.
async fn until_done(store: &Arc<dyn DedupeStore>, n: u64) {
    let began = Instant::now();
    while let Err(error) = store.complete(&[subject(n)]).await {
        assert!(error.is_retryable(), "{error}");
        assert!(began.elapsed() < PATIENCE, "{error}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Calls until one fails; all that worked before are done.
async fn until_failed(store: &Arc<dyn DedupeStore>) -> (u64, StoreError) {
    let began = Instant::now();
    for n in 1_000.. {
        if let Err(error) = store.complete(&[subject(n)]).await {
            return (n, error);
        }
        assert!(began.elapsed() < PATIENCE, "it goes on");
    }
    unreachable!()
}

#[tokio::test]
async fn a_killed_server_is_unavailable_and_comes_back_with_what_it_kept() {
    if !at_hand() {
        return;
    }
    for layout in LAYOUTS {
        let mut server = Server::start("appendonly yes\nappendfsync everysec");
        let url = format!("redis://127.0.0.1:{}", server.port);
        let store = open(&settings(&url, layout), "aws").unwrap();
        store.complete(&[subject(1)]).await.unwrap();
        let calls = until_failed(&store);
        let kill = async {
            // In the middle of calls: they have begun.
            while server
                .info("total_commands_processed")
                .parse::<u64>()
                .unwrap()
                < 200
            {
                sleep(Duration::from_millis(1)).await;
            }
            server.kill();
        };
        let ((failed, error), ()) = tokio::join!(calls, kill);
        assert!(error.is_retryable(), "{error}");
        assert!(store.lookup(&[subject(1)]).await.is_err(), "still away");
        server.begin();
        until_done(&store, failed).await;
        let all: Vec<_> = (1_000..=failed).map(subject).chain([subject(1)]).collect();
        let known = store.lookup(&all).await.unwrap();
        assert!(
            known
                .iter()
                .all(|known| matches!(known, Lookup::Done { .. }))
        );
        assert_eq!(store.health().memory_losses, 0, "{layout:?}");
    }
}

#[tokio::test]
async fn a_server_without_its_data_is_a_loss_of_memory() {
    if !at_hand() {
        return;
    }
    for layout in LAYOUTS {
        let mut server = Server::start("save \"\"");
        let url = format!("redis://127.0.0.1:{}", server.port);
        let store = open(&settings(&url, layout), "aws").unwrap();
        until_done(&store, 1).await;
        server.kill();
        server.begin();
        until_done(&store, 2).await;
        let known = store.lookup(&[subject(1), subject(2)]).await.unwrap();
        assert!(matches!(known[..], [Lookup::Unknown, Lookup::Done { .. }]));
        assert_eq!(store.health().memory_losses, 1);
        assert_eq!(store.stats().await.unwrap().memory_losses, 1);
    }
}

#[tokio::test]
async fn a_wipe_is_noticed_by_everybody_who_uses_the_store() {
    if !at_hand() {
        return;
    }
    for layout in LAYOUTS {
        // Wiped all at once, so nobody else's.
        let deployment = Deployment::standalone();
        let settings = settings(&deployment.url, layout);
        let stores = [0, 1].map(|_| open(&settings, "aws").unwrap());
        for store in &stores {
            store.complete(&[subject(1)]).await.unwrap();
            assert_eq!(store.health().memory_losses, 0);
        }
        deployment.servers[0].ask(&["FLUSHALL"]);
        for store in &stores {
            let began = Instant::now();
            while store.health().memory_losses == 0 {
                store.lookup(&[subject(2)]).await.unwrap();
                assert!(began.elapsed() < PATIENCE);
                sleep(Duration::from_millis(20)).await;
            }
        }
        for store in &stores {
            let known = store.lookup(&[subject(1)]).await.unwrap();
            assert_eq!(known, [Lookup::Unknown]);
            assert_eq!(store.health().memory_losses, 1, "told once");
        }
        // What the namespace is laid out for was set again.
        let meta = format!("{}:meta", settings.namespace);
        assert!(
            deployment.servers[0]
                .ask(&["GET", &meta])
                .contains("layout=")
        );
    }
}

#[tokio::test]
async fn a_stopped_server_costs_no_more_than_the_time_out() {
    if !at_hand() {
        return;
    }
    for layout in LAYOUTS {
        let deployment = Deployment::standalone();
        let settings = DedupeSettings {
            redis_response_timeout: Duration::from_millis(300),
            redis_connect_timeout: Duration::from_millis(300),
            ..settings(&deployment.url, layout)
        };
        let store = open(&settings, "aws").unwrap();
        until_done(&store, 1).await;
        deployment.servers[0].signal("STOP");
        let calls = (0..8).map(|_| store.lookup(&[]));
        assert!(
            futures::future::join_all(calls)
                .await
                .iter()
                .all(Result::is_ok)
        );
        let one = [subject(1)];
        let calls = (0..8).map(|_| store.lookup(&one));
        for answer in futures::future::join_all(calls).await {
            let error = answer.unwrap_err();
            assert!(
                error.is_retryable() && error.to_string().contains("in time"),
                "{error}"
            );
        }
        deployment.servers[0].signal("CONT");
        until_done(&store, 2).await;
        let known = store.lookup(&[subject(1)]).await.unwrap();
        assert!(matches!(known[..], [Lookup::Done { .. }]));
    }
}

#[tokio::test]
async fn a_store_opens_before_its_server_and_goes_on_by_itself() {
    if !at_hand() {
        return;
    }
    let mut server = Server::start("save \"\"");
    server.kill();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let stores = LAYOUTS.map(|layout| open(&settings(&url, layout), "aws").unwrap());
    for store in &stores {
        let error = store.ready().await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }
    server.begin();
    for store in &stores {
        until_done(store, 1).await;
        assert_eq!(store.health().memory_losses, 0);
    }
}

#[tokio::test]
async fn scripts_that_a_server_forgot_are_sent_again() {
    if !at_hand() {
        return;
    }
    for shape in [Shape::Standalone, Shape::Cluster] {
        let deployment = match shape {
            Shape::Cluster => Deployment::cluster(),
            _ => Deployment::standalone(),
        };
        let store = open(&settings(&deployment.url, Layout::Buckets), "aws").unwrap();
        let me = Token::random();
        for n in 0..3 {
            let subjects: Vec<_> = (0..600)
                .map(|m| {
                    let mut subject = subject(n * 600 + m);
                    subject.shard = (m % 12) as u32;
                    subject
                })
                .collect();
            let claims = store.claim(me, &subjects).await.unwrap();
            assert!(
                claims
                    .iter()
                    .all(|claim| matches!(claim, Claim::Granted(_)))
            );
            assert_eq!(store.renew(me, &subjects).await.unwrap(), [true; 600]);
            for server in &deployment.servers {
                server.ask(&["SCRIPT", "FLUSH"]);
            }
        }
    }
}

#[tokio::test]
async fn a_fail_over_of_sentinel_is_followed() {
    if !at_hand() {
        return;
    }
    let mut deployment = Deployment::sentinel(Duration::from_secs(1));
    let stores = LAYOUTS.map(|layout| open(&settings(&deployment.url, layout), "aws").unwrap());
    let me = Token::random();
    for store in &stores {
        until_done(store, 1).await;
        let claim = store.claim(me, &[subject(2)]).await.unwrap();
        assert!(matches!(claim[..], [Claim::Granted(_)]));
    }
    let offset = |server: &Server| server.info("master_repl_offset").parse::<u64>().unwrap();
    let master = offset(&deployment.servers[0]);
    super::servers::until("the replica", || offset(&deployment.servers[1]) >= master);
    deployment.servers[0].kill();
    for store in &stores {
        until_done(store, 3).await;
        let all = [subject(1), subject(2), subject(3)];
        let known = store.lookup(&all).await.unwrap();
        let done = |n: usize| matches!(known[n], Lookup::Done { .. });
        assert!(done(0) && done(2), "{known:?}");
        assert_eq!(store.health().memory_losses, 0);
        // Transactions follow as well.
        store.dead_letter(None, &[subject(4)]).await.unwrap();
    }
    assert_eq!(deployment.servers[1].info("role"), "master");
}

#[tokio::test]
async fn a_full_server_is_unavailable_and_says_why() {
    if !at_hand() {
        return;
    }
    for layout in LAYOUTS {
        let deployment = Deployment::standalone();
        let server = &deployment.servers[0];
        let store = open(&settings(&deployment.url, layout), "aws").unwrap();
        until_done(&store, 1).await;
        server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
        for error in [
            store.complete(&[subject(2)]).await.unwrap_err(),
            store
                .claim(Token::random(), &[subject(2)])
                .await
                .unwrap_err(),
            store.dead_letter(None, &[subject(2)]).await.unwrap_err(),
        ] {
            assert!(error.is_retryable(), "{error}");
            assert!(error.to_string().contains("maxmemory"), "{error}");
        }
        server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
        store.complete(&[subject(2)]).await.unwrap();
    }
}
