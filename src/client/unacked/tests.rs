use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Push,
    Send(usize),
    /// Answers some of what is in flight; the numbers choose which are refused, and how.
    Answer(usize, Vec<u8>),
    Disconnect,
    Retry,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        3 => (1..5usize).prop_map(Step::Send),
        3 => (0..5usize, vec(0..8u8, 5)).prop_map(|(n, how)| Step::Answer(n, how)),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Retry),
    ];
    vec(step, 0..120)
}

/// A gateway that keeps the contract: it answers what it was sent, in order.
#[derive(Default)]
struct Gateway {
    on_stream: VecDeque<Bytes>,
    answered: u64,
    log: Vec<Bytes>,
}

impl Gateway {
    fn answer(&mut self, count: usize, how: &[u8]) -> SyncDataStreamResponse {
        let mut rejections = vec![];
        for how in how.iter().take(count.min(self.on_stream.len())) {
            let record = self.on_stream.pop_front().unwrap();
            match how {
                0 => rejections.push(Rejection {
                    index: self.answered,
                    ..Default::default()
                }),
                1 => rejections.push(Rejection {
                    index: self.answered,
                    retry_delay: Some(prost_types::Duration {
                        seconds: 1,
                        nanos: 0,
                    }),
                    ..Default::default()
                }),
                _ => self.log.push(record),
            }
            self.answered += 1;
        }
        let credit_count = self.answered + 8;
        let acked_count = self.answered;
        SyncDataStreamResponse {
            acked_count,
            credit_count,
            rejections,
            ..Default::default()
        }
    }
}

fn note(answered: Answered, verdicts: &mut BTreeMap<u64, bool>) {
    for verdict in answered.verdicts {
        let (sequences, acked) = match verdict {
            Verdict::Acked(range) => (range, true),
            Verdict::Rejected { sequence, .. } => (sequence..sequence + 1, false),
        };
        for sequence in sequences {
            assert!(
                verdicts.insert(sequence, acked).is_none(),
                "second verdict for {sequence}"
            );
        }
    }
}

proptest! {
    /// Whatever happens: one verdict a record, an acked one is in the log, and nothing is left.
    #[test]
    fn every_record_gets_one_true_verdict(steps in steps()) {
        let (mut unacked, mut gateway) = (Unacked::default(), Gateway::default());
        let (mut verdicts, mut pushed) = (BTreeMap::new(), 0u64);
        let name = |n: u64| Bytes::from(n.to_be_bytes().to_vec());
        let first = gateway.answer(0, &[]);
        note(unacked.answer(first).unwrap(), &mut verdicts);
        for step in steps {
            match step {
                Step::Push => { unacked.push(pushed, name(pushed)); pushed += 1; }
                Step::Send(most) => gateway.on_stream.extend(unacked.next_batch(most, 1_000, Instant::now())),
                Step::Answer(count, how) => {
                    let answer = gateway.answer(count, &how);
                    note(unacked.answer(answer).unwrap(), &mut verdicts);
                }
                Step::Disconnect => {
                    unacked.disconnected();
                    // What the gateway had read may be in the log without an answer.
                    let read = std::mem::take(&mut gateway.on_stream);
                    gateway.log.extend(read.into_iter().step_by(2));
                    gateway.answered = 0;
                    let first = gateway.answer(0, &[]);
                    note(unacked.answer(first).unwrap(), &mut verdicts);
                }
                Step::Retry => unacked.retry_now(),
            }
            prop_assert_eq!(unacked.len() as u64 + verdicts.len() as u64, pushed);
        }
        while unacked.len() > 0 {
            unacked.retry_now();
            gateway.on_stream.extend(unacked.next_batch(100, 1_000, Instant::now()));
            let answer = gateway.answer(5, &[9; 5]);
            note(unacked.answer(answer).unwrap(), &mut verdicts);
        }
        for (sequence, acked) in verdicts {
            prop_assert!(!acked || gateway.log.contains(&name(sequence)), "{} acked, not in log", sequence);
        }
    }
}

#[test]
fn after_a_lost_connection_the_order_is_kept() {
    let mut unacked = Unacked::default();
    for n in 0..4u64 {
        unacked.push(n, Bytes::from(vec![u8::try_from(n).unwrap()]));
    }
    let credit = SyncDataStreamResponse {
        credit_count: 2,
        ..Default::default()
    };
    unacked.answer(credit.clone()).unwrap();
    assert_eq!(
        unacked.next_batch(9, 1_000, Instant::now()).len(),
        2,
        "held to the credit"
    );
    unacked.disconnected();
    unacked
        .answer(SyncDataStreamResponse {
            credit_count: 9,
            ..credit
        })
        .unwrap();
    let again: Vec<u8> = unacked
        .next_batch(9, 1_000, Instant::now())
        .iter()
        .map(|b| b[0])
        .collect();
    assert_eq!((again, unacked.resent), (vec![0, 1, 2, 3], 2));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_an_error() {
    let answer = SyncDataStreamResponse {
        acked_count: 1,
        ..Default::default()
    };
    assert!(Unacked::default().answer(answer).is_err());
}

#[test]
fn a_refusal_of_what_is_not_under_way_breaks_the_contract() {
    let refusal = |index| Rejection {
        index,
        ..Rejection::default()
    };
    for (indices, fine) in [
        (vec![0, 1], true),
        (vec![1, 0], true),
        (vec![2], false),
        (vec![1, 1], false),
    ] {
        let mut unacked = Unacked::default();
        let grant = SyncDataStreamResponse {
            credit_count: 9,
            ..SyncDataStreamResponse::default()
        };
        unacked.answer(grant).unwrap();
        unacked.push(0, Bytes::from_static(b"a"));
        unacked.push(1, Bytes::from_static(b"b"));
        unacked.next_batch(9, 1_000, Instant::now());
        let answer = SyncDataStreamResponse {
            acked_count: 2,
            rejections: indices.iter().copied().map(refusal).collect(),
            ..SyncDataStreamResponse::default()
        };
        assert_eq!(unacked.answer(answer).is_ok(), fine, "{indices:?}");
    }
}
