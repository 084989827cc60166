//! The comparison itself, of one id.
//!
//! In: everything that was found of an id: at either destination, in the log, among the dead
//! letters. Out: what is wrong with it. Pure. Promises: the order in which things were found does
//! not matter; what lies above the commits, or outside the times asked for, excuses and never
//! accuses; an id is missing at a destination at most once.

use super::entry::{ALTERED, Entry, IN_LOG_RANGE, SUSPECT, Voice};
use cloudsync::identity::Fingerprint;
use serde::{Deserialize, Serialize};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The destination shall have it and has not.
    Missing,
    /// The destination has it and shall not.
    Extra,
    /// It is not what was sent there.
    Altered,
    /// The id lies there more than once.
    Doubled,
    /// The destination has it not, since it was set aside. No difference.
    DeadLettered,
}

/// Something that is wrong with an id at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// The number of the destination.
    pub side: u8,
    /// What lies there; for what is missing, what shows that it should.
    pub entry: Entry,
    /// What should lie there, where something tells.
    pub right: Option<Entry>,
}

/// What is known of one id, sorted by who says it.
struct Known<'a> {
    sides: [Vec<&'a Entry>; 2],
    log: Vec<&'a Entry>,
    dead: Vec<&'a Entry>,
}

/// Judges all entries of one id.
pub fn judge(entries: &mut [Entry], find: &mut impl FnMut(Finding)) {
    entries
        .sort_unstable_by_key(|it| (it.voice(), it.place, it.offset, it.within, it.fingerprint.0));
    let of = |voice| {
        entries
            .iter()
            .filter(move |it| it.voice() == voice)
            .collect()
    };
    let known = Known {
        sides: [of(Voice::Side(0)), of(Voice::Side(1))],
        log: of(Voice::Log),
        dead: of(Voice::DeadLetter),
    };
    for side in [0, 1] {
        known.doubled(side, find);
        known.extra(side, find);
        if !known.altered(side, find) {
            known.missing(side, find);
        }
    }
}

// === impl Known ===

impl<'a> Known<'a> {
    fn at(&self, side: u8) -> &[&'a Entry] {
        &self.sides[usize::from(side & 1)]
    }

    fn doubled(&self, side: u8, find: &mut impl FnMut(Finding)) {
        // The first one is the effect; it may lie anywhere.
        for entry in self.at(side).iter().skip(1).filter(|it| it.counts()) {
            find(Finding {
                kind: Kind::Doubled,
                side,
                entry: **entry,
                right: None,
            });
        }
    }

    fn extra(&self, side: u8, find: &mut impl FnMut(Finding)) {
        for entry in self.at(side).iter().filter(|it| it.counts()) {
            if !entry.is_addressed_to(side) || self.is_made_up(entry) {
                find(Finding {
                    kind: Kind::Extra,
                    side,
                    entry: **entry,
                    right: None,
                });
            }
        }
    }

    /// The log has the place of `entry`, and nowhere such an id.
    fn is_made_up(&self, entry: &Entry) -> bool {
        entry.is(IN_LOG_RANGE) && self.log.is_empty()
    }

    /// Whether something there is not what was sent.
    fn altered(&self, side: u8, find: &mut impl FnMut(Finding)) -> bool {
        let (here, other) = (self.at(side), self.at(1 - side));
        let mut found = false;
        for entry in here.iter().filter(|it| it.counts() && it.is(ALTERED)) {
            found = true;
            find(Finding {
                kind: Kind::Altered,
                side,
                entry: **entry,
                right: self.right_for(side, entry),
            });
        }
        let mut sound = here.iter().filter(|it| !it.is(ALTERED));
        let Some(first) = sound.next().filter(|it| it.counts()) else {
            return found;
        };
        let has = |of: &[&Entry], fingerprint| {
            let mut sound = of.iter().filter(|it| !it.is(ALTERED));
            sound.any(|it| it.fingerprint == fingerprint)
        };
        let alike = here.iter().any(|it| has(other, it.fingerprint));
        let compared = other.iter().any(|it| !it.is(ALTERED)) && !alike;
        // With the log at hand it says what was sent; else two contents are one too many, and
        // nothing tells which.
        let suspect = |of: &[&Entry]| of.iter().all(|it| it.is(SUSPECT));
        // A content in an object that is not whole is the altered one of two.
        let compared = compared && (first.is(SUSPECT) || !suspect(other));
        let by_log = !self.log.is_empty() && !has(&self.log, first.fingerprint);
        if by_log || (compared && self.log.is_empty()) {
            found = true;
            find(Finding {
                kind: Kind::Altered,
                side,
                entry: **first,
                right: self.right_for(side, first),
            });
        }
        found
    }

    /// What should lie where `entry` lies: as the log has it, else as the other destination has a
    /// record that states no other content than it has; only where `entry` itself does state one,
    /// or the log was asked.
    fn right_for(&self, side: u8, entry: &Entry) -> Option<Entry> {
        let nearest = |of: &[&Entry]| {
            let sound = of.iter().filter(|it| !it.is(ALTERED));
            let nearest = sound.min_by_key(|it| it.offset.abs_diff(entry.offset));
            nearest.map(|it| **it)
        };
        if let Some(in_log) = nearest(&self.log) {
            let same = |it: &&&Entry| it.fingerprint == in_log.fingerprint && !it.is(ALTERED);
            let other = self.at(1 - side).iter().find(same);
            return Some(other.map_or(in_log, |it| **it));
        }
        entry
            .is(ALTERED | SUSPECT)
            .then(|| nearest(self.at(1 - side)))
            .flatten()
    }

    fn missing(&self, side: u8, find: &mut impl FnMut(Finding)) {
        let here = self.at(side);
        let wanted = |it: &&&Entry| it.counts() && it.is_addressed_to(side);
        let by_other = self.at(1 - side).iter().find(wanted);
        let by_other = by_other.filter(|it| here.is_empty() && !self.is_made_up(it));
        // Content by content: a re-used id is a record of its own, or a dead letter.
        let delivered = |fp: Fingerprint| here.iter().any(|it| it.fingerprint == fp);
        let by_log = self.log.iter().filter(wanted);
        let mut by_log = by_log.filter(|it| !delivered(it.fingerprint));
        let in_log = by_log
            .clone()
            .find(|it| !self.is_dead(side, it.fingerprint));
        let found = in_log.or_else(|| by_log.next()).or(by_other);
        let Some(shows) = found else { return };
        let kind = match self.is_dead(side, shows.fingerprint) {
            true => Kind::DeadLettered,
            false => Kind::Missing,
        };
        // A destination gives its line as it is; the log has to be asked for it once more.
        let same = |it: &&&Entry| it.fingerprint == shows.fingerprint && !it.is(ALTERED);
        let right = self.at(1 - side).iter().find(same).unwrap_or(shows);
        find(Finding {
            kind,
            side,
            entry: **shows,
            right: (!right.is(ALTERED)).then_some(**right),
        });
    }

    fn is_dead(&self, side: u8, fingerprint: Fingerprint) -> bool {
        let mut letters = self.dead.iter();
        letters.any(|it| it.fingerprint == fingerprint && it.is_addressed_to(side))
    }
}

#[cfg(test)]
mod tests;
