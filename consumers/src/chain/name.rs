//! Where a segment lies: `<topic>/<log id>/p07/<start, 20 digits>.ndjson.zst`.
//!
//! In: a place in a chain. Out: its name, and back. Promises: the order of the names of a chain
//! is the order of its segments, and what parses formats to the same text.

use std::fmt;
use std::sync::Arc;

/// A partition of one log, at a destination: the chain that its segments form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName {
    /// The topic.
    pub topic: Arc<str>,
    /// The log id: the cluster id of the Kafka that has the topic.
    pub log: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// One segment of a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Its chain.
    pub chain: ChainName,
    /// The first offset that it covers.
    pub start: i64,
}

const SUFFIX: &str = ".ndjson.zst";

// === impl ChainName ===

impl ChainName {
    /// What the names of all segments of this chain begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}/{}/p{:02}/", self.topic, self.log, self.partition)
    }

    /// The segment of this chain that starts at `start`.
    #[must_use]
    pub fn segment(&self, start: i64) -> SegmentName {
        SegmentName {
            chain: self.clone(),
            start,
        }
    }
}

// === impl SegmentName ===

impl SegmentName {
    /// The segment that `name` names; `None` if it names none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let (topic, log) = (parts.next()?, parts.next()?);
        let partition = parts.next()?.strip_prefix('p')?.parse().ok()?;
        let start = parts.next()?.strip_suffix(SUFFIX)?.parse().ok()?;
        let chain = ChainName {
            topic: topic.into(),
            log: log.into(),
            partition,
        };
        let parsed = Self { chain, start };
        // One spelling only: a copy under another one is not taken for the segment.
        (parts.next().is_none() && parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:020}{SUFFIX}", self.chain.prefix(), self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_looks_as_the_format_says() {
        let name = "data-topic/5L6g3nShT-eMCtK--X86sw/p07/00000000000000032768.ndjson.zst";
        let parsed = SegmentName::parse(name).unwrap();
        assert_eq!((parsed.chain.partition, parsed.start), (7, 32_768));
        assert_eq!(parsed.to_string(), name);
        for other in [
            "data-topic/l/p7/00000000000000032768.ndjson.zst",
            "data-topic/l/p07/32768.ndjson.zst",
            "data-topic/l/p07/00000000000000032768.ndjson.zst#1",
            "data-topic/l/p07/x/00000000000000032768.ndjson.zst",
            "cloudsync-destination.json",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn names_come_back_and_sort_by_start(
            partition in 0..200i32, a in 0..i64::MAX, b in 0..i64::MAX
        ) {
            let chain = ChainName { topic: "t".into(), log: "l".into(), partition };
            let (first, second) = (chain.segment(a), chain.segment(b));
            prop_assert_eq!(SegmentName::parse(&first.to_string()), Some(first.clone()));
            prop_assert_eq!(a.cmp(&b), first.to_string().cmp(&second.to_string()));
        }
    }
}
