//! A chain, followed from segment to segment.
//!
//! In: where each segment starts and ends, in order. Out: the gaps, also behind the last one, the
//! segments that are damaged and those that should not be there. Pure. Promises: below what the
//! group has committed no offset is passed over; above it nothing is said to be missing.

use super::judge::Kind;
use super::work::Fault;
use crate::chain::ChainName;

/// Follows a chain from segment to segment.
pub(super) struct Follow {
    side: u8,
    place: u32,
    chain: ChainName,
    /// What the group has committed: below it there is no gap.
    committed: Option<i64>,
    /// Where the segment before ends.
    end: Option<i64>,
    /// A segment of which nothing says where it ends, until the next one does.
    open: Option<Fault>,
}

impl Follow {
    pub(super) fn new(side: u8, place: u32, chain: ChainName, committed: Option<i64>) -> Self {
        Self {
            side,
            place,
            chain,
            committed,
            end: None,
            open: None,
        }
    }

    fn fault(&self, kind: Kind, start: i64, end: Option<i64>, why: String) -> Fault {
        Fault {
            side: self.side,
            kind,
            name: self.chain.segment(start).to_string(),
            place: Some(self.place),
            start,
            end,
            why,
        }
    }

    /// The next segment, in order of their names: where it starts and ends, or what is wrong with it.
    pub(super) fn segment(
        &mut self,
        start: i64,
        end: Option<i64>,
        wrong: Option<String>,
        find: &mut dyn FnMut(Fault),
    ) {
        if let Some(mut open) = self.open.take() {
            open.end = Some(start);
            find(open);
            self.end = Some(start);
        }
        match self.end {
            Some(before) if start > before => self.gap(before, start, find),
            Some(before) if start < before => {
                let why = format!("the segment before it ends at {before}");
                find(self.fault(Kind::Extra, start, None, why));
                return;
            }
            _ => {}
        }
        if self.is_settled(start) || wrong.is_none() {
            self.open = wrong.map(|why| self.fault(Kind::Altered, start, None, why));
            self.end = end.or(Some(start));
            return;
        }
        // Nothing was ever committed there, so no segment should lie there.
        find(self.fault(Kind::Extra, start, None, wrong.unwrap_or_default()));
    }

    fn gap(&self, start: i64, end: i64, find: &mut dyn FnMut(Fault)) {
        if self.is_settled(start) {
            let why = format!("no segment covers offsets {start} to {}", end - 1);
            // A group that reads again may not have come to the segment behind.
            let end = self.committed.map_or(end, |committed| end.min(committed));
            find(self.fault(Kind::Missing, start, Some(end), why));
        }
    }

    /// There are no more.
    pub(super) fn end(mut self, find: &mut dyn FnMut(Fault)) {
        if let Some(mut open) = self.open.take() {
            open.end = self.committed.filter(|committed| *committed > open.start);
            self.end = open.end;
            find(open);
        }
        if let (Some(before), Some(committed)) = (self.end, self.committed)
            && before < committed
        {
            self.gap(before, committed, find);
        }
    }

    fn is_settled(&self, offset: i64) -> bool {
        self.committed.is_none_or(|committed| offset < committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, start and end of what is found in a chain of segments `(start, end)`; no end: damaged.
    fn faults(
        segments: &[(i64, Option<i64>)],
        committed: Option<i64>,
    ) -> Vec<(Kind, i64, Option<i64>)> {
        let chain = ChainName {
            topic: "t".into(),
            log: "l".into(),
            partition: 0,
        };
        let mut found = Vec::new();
        let mut find = |it: Fault| found.push((it.kind, it.start, it.end));
        let mut follow = Follow::new(0, 0, chain, committed);
        for (start, end) in segments {
            let wrong = end.is_none().then(|| "damaged".to_owned());
            follow.segment(*start, *end, wrong, &mut find);
        }
        follow.end(&mut find);
        found
    }

    #[test]
    fn what_no_sound_segment_covers_is_found() {
        let whole = [(0, Some(5)), (5, Some(9)), (9, Some(12))];
        assert_eq!(faults(&whole, Some(12)), []);
        assert_eq!(faults(&whole, None), []);
        // A group that reads again: what lies ahead of it is no fault, and no gap.
        assert_eq!(faults(&[(0, Some(5)), (9, Some(12))], Some(5)), []);
        let gap = [(0, Some(5)), (9, Some(12))];
        assert_eq!(faults(&gap, Some(12)), [(Kind::Missing, 5, Some(9))]);
        assert_eq!(faults(&gap, None), [(Kind::Missing, 5, Some(9))]);
        // The last one is missing; of an older log nothing tells that.
        let short = [(0, Some(5))];
        assert_eq!(faults(&short, Some(12)), [(Kind::Missing, 5, Some(12))]);
        assert_eq!(faults(&short, None), []);
        // Damaged: in the middle, as the last one, where nothing was committed.
        let damaged = [(0, Some(5)), (5, None), (9, Some(12))];
        assert_eq!(faults(&damaged, Some(12)), [(Kind::Altered, 5, Some(9))]);
        let last = [(0, Some(5)), (5, None)];
        assert_eq!(faults(&last, Some(12)), [(Kind::Altered, 5, Some(12))]);
        assert_eq!(faults(&last, None), [(Kind::Altered, 5, None)]);
        assert_eq!(faults(&last, Some(5)), [(Kind::Extra, 5, None)]);
        // Over another one.
        let over = [(0, Some(5)), (3, Some(4)), (5, Some(9))];
        assert_eq!(faults(&over, Some(9)), [(Kind::Extra, 3, None)]);
    }
}
