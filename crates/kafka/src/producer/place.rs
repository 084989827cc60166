//! Where an acknowledged record lies, if the log has said so.
//!
//! In: the offsets of librdkafka's delivery reports, in their order. Out: the true offset, or none.
//! A log that is sent a batch which it has, and no longer knows where, acknowledges it without an
//! offset. librdkafka reports such a batch at -1, 0, 1 and so on, as if the missing offset, -1,
//! were that of its first record.

use parking_lot::Mutex;

/// Tells true offsets from those that librdkafka has counted up from a missing one.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// For each partition whose last acknowledged batch had no offset: what would come next if
    /// the batch went on. At most one entry a partition.
    missing: Mutex<Vec<Missing>>,
}

#[derive(Debug)]
struct Missing {
    topic: String,
    partition: i32,
    next: i64,
}

// === impl Places ===

impl Places {
    /// The offset of a record that was reported at `reported`, in the partition that `of` names.
    ///
    /// A true offset is never taken for a missing one: a batch of n records that the log had
    /// before fills n offsets, so what comes after it lies at n or behind, and librdkafka counts
    /// to n - 2.
    pub(super) fn offset<'a>(
        &self,
        reported: i64,
        of: impl FnOnce() -> (&'a str, i32),
    ) -> Option<i64> {
        let mut missing = self.missing.lock();
        if reported >= 0 && missing.is_empty() {
            return Some(reported);
        }
        let (topic, partition) = of();
        let known = missing
            .iter()
            .position(|one| one.partition == partition && one.topic == topic);
        match known.and_then(|at| missing.get_mut(at)) {
            Some(one) if reported < 0 || reported == one.next => {
                one.next = reported + 1;
                return None;
            }
            None if reported < 0 => {
                missing.push(Missing {
                    topic: topic.to_owned(),
                    partition,
                    next: reported + 1,
                });
                return None;
            }
            Some(_) | None => {}
        }
        if let Some(at) = known {
            missing.swap_remove(at);
        }
        Some(reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        /// Batches of two partitions, in any order, some of them sent a second time (`true`) and
        /// acknowledged without an offset.
        #[test]
        fn only_true_offsets_are_told(batches in vec((0..2i32, 1..5i64, any::<bool>()), 0..40)) {
            let places = Places::default();
            let mut ends = [0, 0];
            for (partition, records, again) in batches {
                let end = &mut ends[usize::try_from(partition).unwrap()];
                for record in 0..records {
                    let reported = if again { record - 1 } else { *end + record };
                    let told = places.offset(reported, || ("data-topic", partition));
                    prop_assert_eq!(told, (!again).then_some(reported));
                }
                *end += records;
            }
            prop_assert!(places.missing.lock().len() <= 2);
        }
    }
}
