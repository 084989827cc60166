//! What a partition remembers of idempotent producers.
//!
//! In: headers of batches, in log order. Out: whether the next one is new, a repeat of one of the
//! last five, or out of order. It promises the answers Kafka gives
//! (<https://cwiki.apache.org/confluence/display/KAFKA/KIP-98>), and the same ones after a reopen.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::batch::BatchHeader;
use super::index::{Fields, put};

/// Batches remembered per producer: as many as a producer may have in flight.
const REMEMBERED: usize = 5;
/// Producers remembered per partition; beyond it the one silent for longest is forgotten.
const MAX_PRODUCERS: usize = 10_000;

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerStates {
    highest_id: Option<i64>,
    by_id: HashMap<i64, Producer>,
    /// Last offset of each producer → its id: oldest first.
    by_age: BTreeMap<i64, i64>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Remembered>,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    last_offset: i64,
}

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append it.
    New,
    /// It is in the log already, from this offset on.
    Repeat { base_offset: i64 },
    /// Its epoch is older than the last one seen.
    OldEpoch,
    /// A batch before it is missing, or it is an old one no longer remembered.
    OutOfOrder,
}

impl ProducerStates {
    /// Judges a batch that is about to be appended.
    pub(crate) fn judge(&self, batch: &BatchHeader) -> Verdict {
        if batch.producer_id < 0 {
            return Verdict::New;
        }
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            return Verdict::New;
        };
        if batch.producer_epoch < producer.epoch {
            return Verdict::OldEpoch;
        }
        if batch.producer_epoch > producer.epoch {
            return if batch.base_sequence == 0 {
                Verdict::New
            } else {
                Verdict::OutOfOrder
            };
        }
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        let repeat = producer
            .batches
            .iter()
            .find(|known| known.first_sequence == first && known.last_sequence == last);
        if let Some(known) = repeat {
            return Verdict::Repeat {
                base_offset: known.base_offset,
            };
        }
        let expected = producer
            .batches
            .back()
            .map(|known| following(known.last_sequence));
        if expected.is_none_or(|expected| expected == first) {
            Verdict::New
        } else {
            Verdict::OutOfOrder
        }
    }

    /// The highest producer id ever met, also one that is forgotten; -1 for none.
    pub(crate) fn highest_id(&self) -> i64 {
        self.highest_id.unwrap_or(-1)
    }

    /// Writes what is remembered, oldest producer first.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        let count = i64::try_from(self.by_age.len()).unwrap_or(i64::MAX);
        put(out, &[self.highest_id(), count]);
        for id in self.by_age.values() {
            let Some(producer) = self.by_id.get(id) else {
                continue;
            };
            let batches = i64::try_from(producer.batches.len()).unwrap_or(i64::MAX);
            put(out, &[*id, i64::from(producer.epoch), batches]);
            for batch in &producer.batches {
                let (first, last) = (batch.first_sequence, batch.last_sequence);
                let sequences = [i64::from(first), i64::from(last)];
                put(out, &sequences);
                put(out, &[batch.base_offset, batch.last_offset]);
            }
        }
    }

    /// Reads what [`ProducerStates::save`] wrote.
    pub(super) fn restore(fields: &mut Fields<'_>) -> Option<Self> {
        let [highest_id, producers] = fields.numbers()?;
        let mut states = Self {
            highest_id: Some(highest_id).filter(|id| *id >= 0),
            ..Self::default()
        };
        for _ in 0..producers {
            let [id, epoch, count] = fields.numbers()?;
            let mut batches = VecDeque::new();
            for _ in 0..count {
                let [first, last, base_offset, last_offset] = fields.numbers()?;
                batches.push_back(Remembered {
                    first_sequence: i32::try_from(first).ok()?,
                    last_sequence: i32::try_from(last).ok()?,
                    base_offset,
                    last_offset,
                });
            }
            states.by_age.insert(batches.back()?.last_offset, id);
            let epoch = i16::try_from(epoch).ok()?;
            states.by_id.insert(id, Producer { epoch, batches });
        }
        Some(states)
    }

    /// Takes note of a batch that stands in the log at `batch.base_offset`.
    pub(crate) fn record(&mut self, batch: &BatchHeader) {
        if batch.producer_id < 0 {
            return;
        }
        self.highest_id = self.highest_id.max(Some(batch.producer_id));
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                batches: VecDeque::new(),
            });
        if let Some(last) = producer.batches.back() {
            self.by_age.remove(&last.last_offset);
        }
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.batches.push_back(Remembered {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
        });
        if producer.batches.len() > REMEMBERED {
            producer.batches.pop_front();
        }
        self.by_age.insert(batch.last_offset(), batch.producer_id);
        if self.by_id.len() > MAX_PRODUCERS
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_id.remove(&oldest);
        }
    }
}

fn following(sequence: i32) -> i32 {
    sequence.wrapping_add(1) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::tests::batch;

    fn header(producer: (i64, i16, i32), count: i32, base_offset: i64) -> BatchHeader {
        let mut header = BatchHeader::parse(&batch(producer, count, 0, b"r")).unwrap();
        header.base_offset = base_offset;
        header
    }

    #[test]
    fn sequences_are_followed_across_epochs_and_the_wrap() {
        let mut states = ProducerStates::default();
        states.record(&header((9, 0, i32::MAX - 1), 2, 100));
        let next = header((9, 0, 0), 3, 0);
        assert_eq!(states.judge(&next), Verdict::New, "the sequence wraps to 0");
        states.record(&header((9, 0, 0), 3, 102));
        assert_eq!(states.judge(&next), Verdict::Repeat { base_offset: 102 });
        assert_eq!(states.judge(&header((9, 0, 4), 1, 0)), Verdict::OutOfOrder);
        assert_eq!(states.judge(&header((9, 0, 3), 1, 0)), Verdict::New);
        assert_eq!(states.judge(&header((9, 1, 3), 1, 0)), Verdict::OutOfOrder);
        assert_eq!(states.judge(&header((9, 1, 0), 1, 0)), Verdict::New);
        states.record(&header((9, 1, 0), 1, 105));
        assert_eq!(states.judge(&header((9, 0, 3), 1, 0)), Verdict::OldEpoch);
    }

    #[test]
    fn only_the_last_five_are_repeats_and_the_silent_are_forgotten() {
        let mut states = ProducerStates::default();
        for sequence in 0..6 {
            states.record(&header((1, 0, sequence), 1, i64::from(sequence)));
        }
        assert_eq!(states.judge(&header((1, 0, 0), 1, 0)), Verdict::OutOfOrder);
        assert_eq!(
            states.judge(&header((1, 0, 1), 1, 0)),
            Verdict::Repeat { base_offset: 1 }
        );
        for id in 2..=i64::try_from(MAX_PRODUCERS).unwrap() + 1 {
            states.record(&header((id, 0, 0), 1, 100 + id));
        }
        assert_eq!(states.by_id.len(), MAX_PRODUCERS);
        assert_eq!(
            states.judge(&header((1, 0, 9), 1, 0)),
            Verdict::New,
            "forgotten"
        );
    }
}
