//! Streams against a gateway that does what it may do.

use crate::server::{Act, LONG, Refuse, Scripted, record, send_all};
use cloudsync::client::{self, Verdict};
use cloudsync::{Client, ClientError, ClientSettings, ErrorReason, SyncRecord};
use tokio::time::timeout;

const RECORDS: usize = 100;

#[tokio::test]
async fn everything_is_sent_once_and_in_order() {
    let server = Scripted::start([]).await;
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.rejected), (100, 0));
    assert_eq!((summary.resent, summary.connections), (0, 1));
    let order: Vec<_> = (0..RECORDS).map(|n| record(n).request_id).collect();
    server.seen(|seen| assert_eq!(seen.order, order));
}

#[tokio::test]
async fn lost_acknowledgements_are_asked_for_again_under_the_same_ids() {
    let server = Scripted::start([Act::LoseAck, Act::LoseAck, Act::LoseAck]).await;
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.rejected), (100, 0));
    assert_eq!(summary.connections, 4);
    server.assert_taken(RECORDS);
    server.seen(|seen| {
        // The first batch was taken by all four streams, by three of them in vain.
        assert_eq!(seen.taken[&record(0).request_id], 4);
        assert_eq!(seen.taken[&record(99).request_id], 1);
    });
}

#[tokio::test]
async fn no_record_goes_beyond_the_credit() {
    let server = Scripted::start([Act::Credit(10)]).await;
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.connections), (100, 1));
    server.seen(|seen| assert_eq!(seen.beyond_credit, 0));
}

#[tokio::test]
async fn a_poisoned_record_in_the_middle_of_a_batch_is_named_and_harms_no_other() {
    let server = Scripted::start([]).await;
    server.script.refuse(50, Refuse::ForGood);
    server.script.refuse(53, Refuse::ForNow(3));
    let summary = send_all(server.settings(), RECORDS).await.unwrap();
    assert_eq!((summary.acked, summary.rejected), (99, 1));
    let (sequence, rejection) = &summary.rejections[0];
    assert_eq!(*sequence, 50);
    assert_eq!(rejection.request_id, record(50).request_id);
    assert_eq!(rejection.reason(), ErrorReason::FieldTooLong);
    server.seen(|seen| {
        assert_eq!(seen.taken.len(), 99);
        assert!(seen.taken.values().all(|times| *times == 1));
    });
}

/// Every other record is refused, so no two verdicts join; nobody reads them for a while.
#[tokio::test]
async fn unread_verdicts_hold_nothing_up_and_none_is_missing() {
    let server = Scripted::start([]).await;
    for n in (0..600).step_by(2) {
        server.script.refuse(n, Refuse::ForGood);
    }
    let (mut sender, mut verdicts) = Client::new(server.settings()).unwrap().stream().split();
    for n in 0..600 {
        sender.send(record(n)).await.unwrap();
    }
    let all = async {
        while sender.stats().acked + sender.stats().rejected < 600 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, all).await.unwrap();
    sender.finish();
    for n in 0..600 {
        let verdict = verdicts.next().await.unwrap().unwrap();
        let rejected = matches!(verdict, Verdict::Rejected { sequence, .. } if sequence == n);
        assert!(
            rejected || verdict == Verdict::Acked(n..n + 1),
            "{n}: {verdict:?}"
        );
    }
    assert!(verdicts.next().await.is_none());
}

#[tokio::test]
async fn what_is_refused_for_now_is_not_overtaken_by_what_was_not_sent_yet() {
    let server = Scripted::start([]).await;
    server.script.refuse(2, Refuse::ForNow(1));
    let (mut sender, mut verdicts) = Client::new(server.settings()).unwrap().stream().split();
    for n in 0..4 {
        sender.send(record(n)).await.unwrap();
    }
    let mut acked = 0;
    while acked < 3 {
        let Verdict::Acked(range) = verdicts.next().await.unwrap().unwrap() else {
            panic!("none is refused for good")
        };
        acked += range.end - range.start;
    }
    sender.send(record(4)).await.unwrap();
    sender.finish();
    while let Some(verdict) = verdicts.next().await {
        verdict.unwrap();
    }
    let order: Vec<_> = [0, 1, 3, 2, 4].map(|n| record(n).request_id).into();
    server.seen(|seen| assert_eq!(seen.order, order));
}

#[tokio::test]
async fn a_record_that_is_too_large_is_named_and_the_rest_is_sent() {
    let server = Scripted::start([]).await;
    let large = SyncRecord {
        payload: vec![0; 1_000_001].into(),
        ..record(1)
    };
    let client = Client::new(server.settings()).unwrap();
    let records = client::iter([record(0), large, record(2)]);
    let summary = timeout(LONG, client.send_all(records))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((summary.acked, summary.rejected), (2, 1));
    let (sequence, rejection) = &summary.rejections[0];
    assert_eq!(*sequence, 1);
    assert_eq!(rejection.reason(), ErrorReason::RecordTooLarge);
}

#[tokio::test]
async fn flush_waits_for_all_and_the_stream_goes_on() {
    let server = Scripted::start([Act::LoseAck]).await;
    let mut stream = Client::new(server.settings()).unwrap().stream();
    stream.flush().await.unwrap();
    for n in 0..10 {
        assert_eq!(stream.send(record(n)).await.unwrap(), n as u64);
    }
    timeout(LONG, stream.flush()).await.unwrap().unwrap();
    assert_eq!(stream.summary().acked, 10);
    server.assert_taken(10);
    // A record that is too large is no reason to end.
    let large = SyncRecord {
        payload: vec![0; 1_000_001].into(),
        ..record(10)
    };
    let error = stream.send(large).await.unwrap_err();
    assert!(
        matches!(error, ClientError::RecordTooLarge { .. }),
        "{error}"
    );
    stream.send(record(10)).await.unwrap();
    let summary = timeout(LONG, stream.close()).await.unwrap().unwrap();
    assert_eq!(summary.acked, 11);
    server.assert_taken(11);
}

#[tokio::test]
async fn the_halves_of_a_stream_work_in_two_tasks() {
    let server = Scripted::start([]).await;
    server.script.refuse(1, Refuse::ForGood);
    let (mut sender, mut verdicts) = Client::new(server.settings()).unwrap().stream().split();
    let listener = tokio::spawn(async move {
        let (mut acked, mut rejected) = (Vec::new(), Vec::new());
        while let Some(verdict) = verdicts.next().await {
            match verdict.unwrap() {
                Verdict::Acked(range) => acked.extend(range),
                Verdict::Rejected { sequence, .. } => rejected.push(sequence),
            }
        }
        (acked, rejected)
    });
    for n in 0..3 {
        sender.send(record(n)).await.unwrap();
    }
    timeout(LONG, sender.flush()).await.unwrap().unwrap();
    assert_eq!(sender.stats().acked + sender.stats().rejected, 3);
    sender.finish();
    let heard = timeout(LONG, listener).await.unwrap().unwrap();
    assert_eq!(heard, (vec![0, 2], vec![1]));
}

/// A window of two records: the third waits for a verdict, which the handle itself takes in.
#[tokio::test]
async fn a_full_window_waits_and_does_not_hang() {
    let server = Scripted::start([Act::LoseAck]).await;
    let settings = ClientSettings {
        window_records: 2,
        ..server.settings()
    };
    let summary = send_all(settings, RECORDS).await.unwrap();
    assert_eq!(summary.acked, 100);
    server.assert_taken(RECORDS);
}

#[tokio::test]
async fn ids_are_made_before_the_first_attempt() {
    let server = Scripted::start([Act::LoseAck, Act::LoseAck]).await;
    let client = Client::new(server.settings()).unwrap();
    let nameless = SyncRecord {
        payload: "x".into(),
        ..SyncRecord::default()
    };
    let summary = client.send_all(client::iter([nameless])).await.unwrap();
    assert_eq!(summary.acked, 1);
    server.seen(|seen| {
        let times: Vec<_> = seen.taken.values().copied().collect();
        assert_eq!(times, [3], "three attempts, one id");
        let id = seen.order[0].parse::<uuid::Uuid>().unwrap();
        assert_eq!(id.get_version_num(), 7);
    });
}
