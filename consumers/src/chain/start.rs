//! Where a chain goes on when its partition becomes ours.
//!
//! In: what the group committed, where the reading starts, and (where the commit says nothing of
//! a chain) which segments lie at the destination. Out: a [`Start`]. Pure; whoever asks does the
//! listing. Promises: a committed offset counts as a chain boundary only if it was committed as
//! one, for this very destination; and no record is passed over because of a segment that has not
//! been compared with the log.

/// What the committed offset says of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is a boundary of this chain: go on there.
    Boundary(i64),
    /// It was committed for another mode or URL, as it says.
    Changed(String),
    /// Nothing: list the chain.
    Unknown,
}

/// Where a chain goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At an offset, with segments ahead that bound what is filled up to them.
    At {
        /// First offset of the next segment.
        position: i64,
        /// Starts of listed segments behind it, in order.
        ahead: Vec<i64>,
    },
    /// The reading starts inside the segment that starts here: compare it, and go on behind it.
    Inside {
        /// Start of that segment.
        segment: i64,
        /// Starts of listed segments behind it, in order.
        ahead: Vec<i64>,
    },
}

/// What `committed` (offset and metadata) says to a destination whose commits carry `ours`.
#[must_use]
pub fn of_commit(committed: Option<(i64, &str)>, ours: &str) -> Commit {
    match committed {
        Some((offset, metadata)) if metadata == ours => Commit::Boundary(offset),
        Some((_, metadata)) if is_from_cloudsync(metadata) => Commit::Changed(metadata.to_owned()),
        Some(_) | None => Commit::Unknown,
    }
}

/// Whether `metadata` is what some destination's commits carry: a mode and 16 hex digits.
fn is_from_cloudsync(metadata: &str) -> bool {
    metadata.split_once(' ').is_some_and(|(mode, hash)| {
        let mode = matches!(mode, "batch" | "record");
        mode && hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// What is wrong, and the ways out, where `destination`, whose commits carry `ours`, found a commit
/// that says `found`.
#[must_use]
pub fn changed(destination: &str, found: &str, ours: &str) -> String {
    let mode = |metadata: &str| metadata.split(' ').next().unwrap_or_default().to_owned();
    let what = match (mode(found), mode(ours)) {
        (before, now) if before != now => format!("mode {before} (now it is {now})"),
        _ => "url".to_owned(),
    };
    format!(
        "the group has read this partition for another {what}: the settings were changed, or \
         another consumer of the group has other ones; give all of them the same \
         destinations.{destination}.url and mode, or the new place a group of its own \
         (destinations.{destination}.group), which begins at the start of the log"
    )
}

/// The listed segment that the reading may start inside of: the last one that starts below it.
#[must_use]
pub fn before(listed: &[i64], reading: i64) -> Option<i64> {
    listed
        .iter()
        .copied()
        .filter(|start| *start < reading)
        .max()
}

/// Where the chain goes on when the commit says nothing. `reading`: where the reading starts;
/// `listed`: the starts of all segments; `last_end`: the end of the one [`before`] it.
#[must_use]
pub fn of_listing(reading: i64, listed: &[i64], last_end: Option<i64>) -> Start {
    let mut ahead: Vec<i64> = listed
        .iter()
        .copied()
        .filter(|start| *start >= reading)
        .collect();
    ahead.sort_unstable();
    match (before(listed, reading), last_end) {
        (Some(segment), Some(end)) if end > reading => Start::Inside { segment, ahead },
        _ => Start::At {
            position: reading,
            ahead,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "batch 00112233445566ff";

    #[test]
    fn only_our_own_commit_is_a_boundary() {
        assert_eq!(of_commit(Some((7, OURS)), OURS), Commit::Boundary(7));
        for other in ["record 00112233445566ff", "batch 00112233445566fe"] {
            let found = Commit::Changed(other.into());
            assert_eq!(of_commit(Some((7, other)), OURS), found);
        }
        let why = changed("aws", "batch 00112233445566fe", OURS);
        assert!(
            why.contains("another url: ") && why.contains("destinations.aws.group"),
            "{why}"
        );
        let why = changed("aws", "record 00112233445566ff", OURS);
        assert!(!why.contains("  "), "{why}");
        assert!(
            why.contains("another mode record (now it is batch): "),
            "{why}"
        );
        for unknown in [
            None,
            Some((7, "")),
            Some((7, "batch")),
            Some((7, "batch 7")),
        ] {
            assert_eq!(of_commit(unknown, OURS), Commit::Unknown);
        }
    }

    #[test]
    fn a_listing_says_inside_of_which_segment_and_what_lies_ahead() {
        let at = |position, ahead: &[i64]| Start::At {
            position,
            ahead: ahead.to_vec(),
        };
        assert_eq!(of_listing(0, &[], None), at(0, &[]));
        // At a start: nothing is taken on trust, the segment there is found and compared.
        assert_eq!(of_listing(10, &[20, 10, 0], Some(10)), at(10, &[10, 20]));
        // In a gap: filled up to the next segment.
        assert_eq!(of_listing(15, &[0, 20], Some(10)), at(15, &[20]));
        let inside = Start::Inside {
            segment: 10,
            ahead: vec![20],
        };
        assert_eq!(of_listing(15, &[0, 10, 20], Some(20)), inside);
    }
}
