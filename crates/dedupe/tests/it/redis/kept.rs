//! What a store keeps in Redis: where, for how long, and for whom.

use super::servers::{Deployment, Server, Shape, at_hand};
use super::settings;
use crate::conformance::subject;
use crate::model;
use cloudsync_dedupe::settings::{Layout, look_at};
use cloudsync_dedupe::{Claim, DedupeSettings, Lookup, Subject, Token, open};
use std::collections::HashSet;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

const LAYOUTS: [Layout; 2] = [Layout::Buckets, Layout::Keys];
const SHAPES: [Shape; 3] = [Shape::Standalone, Shape::Sentinel, Shape::Cluster];

/// Subjects of all shards.
fn spread(numbers: std::ops::Range<u64>) -> Vec<Subject> {
    let subjects = numbers.map(|n| Subject {
        shard: u32::try_from(n % 12).unwrap(),
        ..subject(n)
    });
    subjects.collect()
}

fn is_done(known: &Lookup) -> bool {
    matches!(known, Lookup::Done { .. })
}

#[tokio::test]
async fn a_large_call_over_all_shards_and_parts_is_answered_in_order() {
    if !at_hand() {
        return;
    }
    for shape in SHAPES {
        for (layout, expected) in [
            (Layout::Buckets, 1),
            (Layout::Buckets, 36_000_000),
            (Layout::Keys, 1),
        ] {
            let settings = DedupeSettings {
                redis_expected_ids: expected,
                ..settings(&Deployment::shared(shape).url, layout)
            };
            let (me, other) = (Token::random(), Token::random());
            // A server that does not know the script yet has the call made once more, and then
            // what the others granted is mine already.
            let teacher = open(&settings, "teacher").unwrap();
            drop(teacher.claim(me, &spread(0..100)).await.unwrap());
            let store = open(&settings, "aws").unwrap();
            let mut subjects = spread(0..5_000);
            // The same id again, at the end and beside itself.
            subjects.push(subjects[0]);
            subjects.push(subjects[1]);
            subjects.push(subjects[1]);
            let claims = store.claim(me, &subjects).await.unwrap();
            assert_eq!(claims.len(), 5_003);
            for (n, claim) in claims.iter().enumerate() {
                let first = matches!(claim, Claim::Granted(_)) && n < 5_000;
                let again = matches!(claim, Claim::Mine(_)) && n >= 5_000;
                assert!(first || again, "{n}: {claim:?}");
            }
            let odd: Vec<Subject> = subjects.iter().copied().skip(1).step_by(2).collect();
            store.complete(&odd).await.unwrap();
            let claims = store.claim(other, &subjects[..5_000]).await.unwrap();
            for (n, claim) in claims.iter().enumerate() {
                let done = n % 2 == 1;
                let told = match claim {
                    Claim::Done { position } => done && *position == subjects[n].position,
                    Claim::Busy { .. } => !done,
                    _ => false,
                };
                assert!(told, "{shape:?} {layout:?} {n}: {claim:?}");
            }
            let stats = store.stats().await.unwrap();
            assert_eq!((stats.granted, stats.marked), (5_003, 2_501));
            if layout == Layout::Buckets {
                assert_eq!(stats.entries, 5_000);
            }
        }
    }
}

/// Generations of two seconds begin in the middle of everything.
#[tokio::test]
async fn an_id_is_never_unknown_after_its_mark() {
    if !at_hand() {
        return;
    }
    for shape in [Shape::Standalone, Shape::Cluster] {
        let settings = DedupeSettings {
            window: Duration::from_secs(2),
            lease: Duration::from_secs(1),
            ..settings(&Deployment::shared(shape).url, Layout::Buckets)
        };
        let (writer, reader) = (
            open(&settings, "aws").unwrap(),
            open(&settings, "aws").unwrap(),
        );
        let (me, other) = (Token::random(), Token::random());
        let began = Instant::now();
        let mut rounds = 0u64;
        while began.elapsed() < Duration::from_millis(4_500) {
            let subjects = spread(rounds * 60..rounds * 60 + 60);
            let claims = writer.claim(me, &subjects).await.unwrap();
            assert!(claims.iter().all(|claim| claim.lease().is_some()));
            writer.complete(&subjects).await.unwrap();
            let known = reader.lookup(&subjects).await.unwrap();
            assert!(known.iter().all(is_done), "round {rounds}: {known:?}");
            let claims = reader.claim(other, &subjects).await.unwrap();
            let done = |claim: &Claim| matches!(claim, Claim::Done { .. });
            assert!(claims.iter().all(done), "round {rounds}: {claims:?}");
            rounds += 1;
        }
        // Older hashes were cleared away: of each shard and each generation one is left.
        let tag = format!("cs1:{{{}.aws.*", settings.namespace);
        let deployment = Deployment::shared(shape);
        let mut hashes = HashSet::new();
        for server in &deployment.servers {
            let mut keys = redis::cmd("KEYS");
            keys.arg(&tag);
            let keys: Vec<String> = keys.query(&mut server.connection()).unwrap();
            hashes.extend(keys.into_iter().filter(|key| !key.ends_with(":marker")));
        }
        assert!((12..=36).contains(&hashes.len()), "{hashes:?}");
        for server in &deployment.servers {
            for hash in &hashes {
                let mut ttl = redis::cmd("PTTL");
                ttl.arg(hash);
                if let Ok(ttl) = ttl.query::<i64>(&mut server.connection()) {
                    assert!(ttl == -2 || (1..=604_000).contains(&ttl), "{hash}: {ttl}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_namespace_keeps_the_layout_that_it_began_with() {
    if !at_hand() {
        return;
    }
    for shape in SHAPES {
        let first = settings(&Deployment::shared(shape).url, Layout::Buckets);
        open(&first, "aws").unwrap().ready().await.unwrap();
        open(&first, "azure").unwrap().ready().await.unwrap();
        let others = [
            DedupeSettings {
                layout: Layout::Keys,
                ..first.clone()
            },
            DedupeSettings {
                shards: 24,
                ..first.clone()
            },
            DedupeSettings {
                window: Duration::from_secs(60),
                ..first.clone()
            },
            // Other parts of a shard: after a wipe two could hold one id.
            DedupeSettings {
                redis_expected_ids: 100_000_000,
                ..first.clone()
            },
        ];
        for other in others {
            let store = open(&other, "aws").unwrap();
            let looked = look_at(&other, "aws").unwrap().ready().await.unwrap_err();
            let error = store.complete(&[subject(1)]).await.unwrap_err();
            assert!(!error.is_retryable(), "{error}");
            assert_eq!(error, looked);
            let text = error.to_string();
            assert!(
                text.contains(&format!("{}:meta", first.namespace)),
                "{text}"
            );
            assert!(text.contains("dedupe.namespace"), "{text}");
        }
    }
}

#[tokio::test]
async fn who_only_looks_leaves_nothing() {
    if !at_hand() {
        return;
    }
    let server = Server::start("");
    for layout in LAYOUTS {
        let settings = settings(&format!("redis://127.0.0.1:{}", server.port), layout);
        let store = look_at(&settings, "aws").unwrap();
        store.ready().await.unwrap();
        // The connection that is held looks again.
        store.ready().await.unwrap();
        store.stats().await.unwrap();
        let known = store.lookup(&[subject(1)]).await.unwrap();
        assert_eq!(known, [Lookup::Unknown]);
        assert_eq!(server.ask(&["DBSIZE"]), "int(0)");
    }
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_unless_it_is_allowed_by_name() {
    if !at_hand() {
        return;
    }
    let server = Server::start("maxmemory-policy allkeys-lru");
    let url = format!("redis://127.0.0.1:{}", server.port);
    for layout in LAYOUTS {
        let mut settings = settings(&url, layout);
        let error = open(&settings, "aws").unwrap().ready().await.unwrap_err();
        assert!(!error.is_retryable());
        let text = error.to_string();
        assert!(
            text.contains("allkeys-lru") && text.contains("redis_maxmemory_policy"),
            "{text}"
        );
        settings.redis_maxmemory_policy = "volatile-ttl".to_owned();
        assert!(open(&settings, "aws").unwrap().ready().await.is_err());
        settings.redis_maxmemory_policy = "allkeys-lru".to_owned();
        open(&settings, "aws").unwrap().ready().await.unwrap();
    }
}

#[tokio::test]
async fn the_keys_layout_is_read_with_redis_cli() {
    if !at_hand() {
        return;
    }
    let deployment = Deployment::shared(Shape::Standalone);
    let server = &deployment.servers[0];
    let settings = settings(&deployment.url, Layout::Keys);
    let store = open(&settings, "aws").unwrap();
    let me = Token::from_bytes(*b"\x00\x11\x22\x33\x44\x55\x66\x77");
    let [held, marked, buried] = [subject(1), subject(2), subject(3)];
    let _granted = store.claim(me, &[held]).await.unwrap();
    store.complete(&[marked]).await.unwrap();
    store.dead_letter(None, &[buried]).await.unwrap();
    let key = |subject: Subject| {
        let id = u128::from_be_bytes(subject.id.0);
        format!("cs1:{{{}.aws.3}}:{id:032x}", settings.namespace)
    };
    let text = |subject| server.ask(&["GET", &key(subject)]);
    assert_eq!(
        text(held),
        "locked token=0011223344556677 fp=0000000000000001"
    );
    assert_eq!(text(marked), "done fp=0000000000000002 at=3/2");
    assert_eq!(text(buried), "dead-lettered fp=0000000000000003 at=3/3");
    for (subject, most) in [(held, settings.lease), (marked, settings.window)] {
        let mut ttl = redis::cmd("PTTL");
        ttl.arg(key(subject));
        let ttl: u64 = ttl.query(&mut server.connection()).unwrap();
        assert!(Duration::from_millis(ttl) <= most && ttl > 1_000, "{ttl}");
    }
}

#[tokio::test]
async fn destinations_and_namespaces_do_not_see_each_other() {
    if !at_hand() {
        return;
    }
    for layout in LAYOUTS {
        let url = &Deployment::shared(Shape::Standalone).url;
        let (one, two) = (settings(url, layout), settings(url, layout));
        let store = open(&one, "aws").unwrap();
        store.complete(&[subject(1)]).await.unwrap();
        for other in [open(&one, "azure").unwrap(), open(&two, "aws").unwrap()] {
            let known = other.lookup(&[subject(1)]).await.unwrap();
            assert_eq!(known, [Lookup::Unknown]);
        }
        let same = open(&one, "aws").unwrap();
        assert!(is_done(&same.lookup(&[subject(1)]).await.unwrap()[0]));
    }
}

#[test]
fn both_layouts_do_what_the_model_does() {
    if !at_hand() {
        return;
    }
    for layout in LAYOUTS {
        let settings = settings(&Deployment::shared(Shape::Standalone).url, layout);
        model::untimed(&settings);
    }
}

/// The server stands still from before the end of a generation until after it, so what was sent
/// in one is carried out in the next.
#[tokio::test]
async fn a_mark_lies_in_the_generation_in_which_it_was_set() {
    const WINDOW: u64 = 2_000;
    if !at_hand() {
        return;
    }
    let deployment = Deployment::standalone();
    let server = &deployment.servers[0];
    let settings = DedupeSettings {
        window: Duration::from_millis(WINDOW),
        lease: Duration::from_secs(1),
        ..settings(&deployment.url, Layout::Buckets)
    };
    let store = open(&settings, "aws").unwrap();
    store.complete(&[subject(1)]).await.unwrap();
    // The server's clock is this machine's.
    let now = || {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        u64::try_from(since.as_millis()).unwrap()
    };
    let pass_until = async |time: u64| {
        while now() < time {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let ends = (now() / WINDOW + 2) * WINDOW;
    pass_until(ends - 500).await;
    // What is looked at once a second was looked at now: the next command is the mark itself.
    store.lookup(&[subject(1)]).await.unwrap();
    server.signal("STOP");
    let set_off = async {
        pass_until(ends + 50).await;
        server.signal("CONT");
    };
    let marks = [subject(2)];
    let (marked, ()) = tokio::join!(store.complete(&marks), set_off);
    marked.unwrap();
    let hash = format!("cs1:{{{}.aws.3}}:{}", settings.namespace, ends / WINDOW);
    let mut there = redis::cmd("HEXISTS");
    there.arg(hash).arg(subject(2).id.0.as_slice());
    assert!(there.query::<bool>(&mut server.connection()).unwrap());
    assert!(is_done(&store.lookup(&[subject(2)]).await.unwrap()[0]));
}
