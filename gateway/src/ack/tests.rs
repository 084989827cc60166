use super::*;
use cloudsync_kafka::ProduceBatch;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a test stream sends: a judged submission (`true`: this record is refused), or one that is
/// too large as a whole.
#[derive(Clone, Debug)]
enum Sent {
    Judged(Vec<bool>),
    TooMany(u64),
}

fn a_submission() -> impl Strategy<Value = Sent> {
    prop_oneof![
        4 => vec(proptest::bool::weighted(0.3), 0..40).prop_map(Sent::Judged),
        1 => (1_001u64..5_000).prop_map(Sent::TooMany),
    ]
}

fn refusal() -> Refusal {
    Refusal::permanent(ErrorReason::BatchSize, "too many")
}

fn ack_of(refused: &[bool]) -> Ack {
    let mut ack = Ack {
        count: refused.len() as u64,
        ..Ack::default()
    };
    for (index, refused) in (0u64..).zip(refused) {
        if *refused {
            ack.rejections
                .push(rejection(index, format!("id-{index}"), &refusal()));
        } else {
            ack.assigned.push(AssignedRequestId {
                index,
                request_id: format!("id-{index}"),
            });
        }
    }
    ack
}

/// A client that believes every answer and checks it against the answers before.
#[derive(Default)]
struct Client {
    acked: u64,
    credit: u64,
    named: BTreeMap<u64, bool>,
}

impl Client {
    fn hear(&mut self, answer: &SyncDataStreamResponse) {
        assert!(answer.acked_count >= self.acked && answer.credit_count >= self.credit);
        let rejected = answer
            .rejections
            .iter()
            .map(|rejection| (rejection.index, true));
        let assigned = answer
            .assigned_request_ids
            .iter()
            .map(|id| (id.index, false));
        let before = self.named.len();
        self.named.extend(rejected.chain(assigned));
        let new = answer.rejections.len() + answer.assigned_request_ids.len();
        assert_eq!(self.named.len(), before + new, "a record was named twice");
        assert!(new < 2 * MAX_BATCH_RECORDS);
        self.acked = answer.acked_count;
        self.credit = answer.credit_count;
        // In these streams every record is named, so the names are dense up to the count.
        assert_eq!(
            self.named.len() as u64,
            self.acked,
            "the count passed an unnamed record"
        );
    }
}

proptest! {
    /// However the verdicts come in, and whenever answers are taken between them.
    #[test]
    fn any_order_of_verdicts_is_told_in_order(
        sent in vec(a_submission(), 1..30),
        order in vec(any::<prop::sample::Index>(), 60),
        takes in vec(0usize..4, 60),
    ) {
        let mut acks = StreamAcks::new();
        let mut client = Client::default();
        let mut open = Vec::new();
        let mut expected = Vec::new();
        for submission in &sent {
            match submission {
                Sent::Judged(refused) => {
                    open.push((acks.open(refused.len() as u64), ack_of(refused)));
                    expected.extend(refused.iter().copied());
                }
                Sent::TooMany(count) => {
                    acks.refuse_all(*count, refusal());
                    expected.extend((0..*count).map(|_| true));
                }
            }
        }
        for (pick, takes) in order.iter().zip(&takes) {
            if !open.is_empty() {
                let (slot, ack) = open.swap_remove(pick.index(open.len()));
                acks.close(slot, ack);
            }
            for _ in 0..*takes {
                acks.next_answer().iter().for_each(|answer| client.hear(answer));
            }
        }
        while let Some(answer) = acks.next_answer() {
            client.hear(&answer);
        }
        prop_assert_eq!(client.acked, expected.len() as u64);
        prop_assert_eq!(client.credit, client.acked + STREAM_WINDOW);
        let told: Vec<bool> = client.named.into_values().collect();
        prop_assert_eq!(told, expected);
        prop_assert!(acks.has_room());
    }
}

#[test]
fn the_first_answer_grants_credit_and_an_empty_batch_is_answered() {
    let mut acks = StreamAcks::new();
    let first = acks.next_answer().unwrap();
    assert_eq!((first.acked_count, first.credit_count), (0, STREAM_WINDOW));
    assert_eq!(acks.next_answer(), None);
    let slot = acks.open(0);
    acks.close(slot, Ack::default());
    assert_eq!(acks.next_answer(), Some(first));
    assert_eq!(acks.next_answer(), None);
}

#[test]
fn a_stream_is_not_read_beyond_its_window() {
    let mut acks = StreamAcks::new();
    let mut slots = Vec::new();
    while acks.has_room() {
        slots.push(acks.open(1_000));
    }
    assert_eq!(slots.len(), 17);
    acks.close(
        slots[1],
        Ack {
            count: 1_000,
            ..Ack::default()
        },
    );
    // A verdict that is not told yet makes no room.
    assert!(!acks.has_room());
    acks.close(
        slots[0],
        Ack {
            count: 1_000,
            ..Ack::default()
        },
    );
    acks.next_answer().unwrap();
    let answer = acks.next_answer();
    assert_eq!(answer, None);
    assert!(acks.has_room());
    let mut small = StreamAcks::new();
    (0..64).for_each(|_| {
        small.open(1);
    });
    assert!(!small.has_room());
}

#[test]
fn a_record_without_an_answer_of_the_log_is_not_accepted() {
    let record = |index: u32| crate::validate::Record {
        index,
        partition: 0,
        key: 0..0,
        value: 0..0,
        assigned_id: Some(format!("id-{index}")),
    };
    let batch = Batch {
        count: 3,
        records: vec![record(2), record(0), record(1)],
        to_produce: ProduceBatch::default(),
        effects: vec![],
        known: vec![],
        refused: vec![],
    };
    let refused = ProduceError::Refused {
        reason: "no".into(),
    };
    let ack = Ack::of(&batch, &[Ok(None), Err(refused)]);
    assert_eq!((ack.count, ack.accepted()), (3, 1));
    assert_eq!(
        ack.assigned,
        [AssignedRequestId {
            index: 2,
            request_id: "id-2".into()
        }]
    );
    let reasons: Vec<_> = ack
        .rejections
        .iter()
        .map(|r| (r.index, r.reason()))
        .collect();
    assert_eq!(
        reasons,
        [(0, ErrorReason::Internal), (1, ErrorReason::LogUnavailable)]
    );
    assert!(ack.rejections[0].retry_delay.is_none() && ack.rejections[1].retry_delay.is_some());
}
