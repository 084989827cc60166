//! `batch` mode: two replicas, one partition, segments under the offset that they start at.
//!
//! A replica reads ahead: it asks the store about a record, judges it when the answer is in hand,
//! closes its open segment, creates it (or finds another's there and goes on behind it), marks the
//! ids written in it, and commits its end. A zombie does the same until it learns that it is one.

use super::explore::{Explored, Label, Model, Step, explore};
use std::collections::BTreeMap;

/// How often each fault may happen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    forgets: u8,
    moves: u8,
    late_commits: u8,
}

/// What is done otherwise than it should be.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Variant {
    /// Duplicates settle at once, so a commit may stand inside of a segment.
    commit_off_the_chain: bool,
    /// An id of the open segment does not count as seen.
    no_open_set: bool,
    /// An id is forgotten as soon as it is marked, though an earlier look-up is still to be judged.
    no_grace: bool,
    /// Marked before the segment is created.
    mark_first: bool,
    /// What lies behind a segment that was found is asked and judged anew.
    ask_again: bool,
}

struct Chain {
    /// The id of each record.
    log: Vec<u8>,
    faults: Budget,
    variant: Variant,
}

/// Ids or offsets, a bit each.
type Set = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Segment {
    start: u8,
    end: u8,
    /// The offsets written.
    written: Set,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Replica {
    alive: bool,
    has: bool,
    /// The open segment: where it starts, how many offsets it covers, which it will write.
    start: u8,
    covered: u8,
    writes: Set,
    /// On its way to the destination.
    uploading: Option<Segment>,
    /// Created or found, and to be marked: its end, and its ids.
    marking: Option<(u8, Set)>,
    /// The answer about the next record.
    looked: Option<bool>,
    /// Marked since that was asked.
    grace: Set,
    /// Where a commit may stand.
    boundary: u8,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    replicas: [Replica; 2],
    owner: usize,
    committed: u8,
    chain: BTreeMap<u8, Segment>,
    done: Set,
    left: Budget,
}

/// Takes what happens: its name, whether by itself, the replica after it, and what else changes.
type Put<'a> = dyn FnMut(&'static str, bool, Replica, &dyn Fn(&mut State)) + 'a;

// === impl Replica ===

impl Replica {
    fn at(start: u8, alive: bool, has: bool) -> Self {
        Self {
            alive,
            has,
            start,
            covered: 0,
            writes: 0,
            uploading: None,
            marking: None,
            looked: None,
            grace: 0,
            boundary: start,
        }
    }

    fn next(&self) -> u8 {
        self.start + self.covered
    }
}

// === impl Chain ===

fn bit(at: u8) -> Set {
    1 << at
}

impl Chain {
    fn ids(&self, offsets: Set) -> Set {
        let at = |offset: &usize| offsets >> offset & 1 == 1;
        let ids = (0..self.log.len())
            .filter(at)
            .map(|offset| bit(self.log[offset]));
        ids.fold(0, |all, id| all | id)
    }

    fn judge(&self, me: &Replica, seen: bool) -> Replica {
        let (mut next, id) = (me.clone(), self.log[usize::from(me.next())]);
        let of_open = if self.variant.no_open_set {
            0
        } else {
            self.ids(me.writes)
        };
        let of_upload = me.uploading.map_or(0, |it| self.ids(it.written));
        let of_marking = me.marking.map_or(0, |(_, ids)| ids);
        let known = of_open | of_upload | of_marking | me.grace;
        let duplicate = seen || known & bit(id) != 0;
        if !duplicate {
            next.writes |= bit(me.next());
        } else if self.variant.commit_off_the_chain && me.boundary == me.next() {
            next.boundary += 1;
        }
        next.covered += 1;
        (next.looked, next.grace) = (None, 0);
        next
    }

    fn close(me: &Replica) -> Replica {
        let mut next = me.clone();
        let end = me.next();
        let (start, written) = (me.start, me.writes);
        next.uploading = Some(Segment {
            start,
            end,
            written,
        });
        (next.start, next.covered, next.writes) = (end, 0, 0);
        next
    }

    /// The segment is there already: its ids are marked, and the walk goes on behind its end.
    fn adopt(&self, me: &Replica, mine: Segment, found: Segment) -> Replica {
        let mut next = me.clone();
        let range = (found.start..found.end).fold(0, |all, offset| all | bit(offset));
        next.uploading = None;
        next.marking = Some((found.end, self.ids(found.written)));
        let read = me.next();
        let keeps = !self.variant.ask_again && found.end < read;
        let behind = !range & (mine.written | me.writes);
        next.start = found.end;
        next.covered = if keeps { read - found.end } else { 0 };
        next.writes = if keeps { behind } else { 0 };
        if self.variant.ask_again || found.end > read {
            (next.looked, next.grace) = (None, 0);
        }
        next
    }

    /// Reading on: the next record is asked about, then judged; the open segment closes.
    fn read(&self, state: &State, who: usize, put: &mut Put<'_>) {
        let me = &state.replicas[who];
        match me.looked {
            None => {
                if let Some(id) = self.log.get(usize::from(me.next())) {
                    let mut asked = me.clone();
                    asked.looked = Some(state.done & bit(*id) != 0);
                    put("look up", true, asked, &|_| {});
                }
            }
            Some(seen) => put("judge", true, self.judge(me, seen), &|_| {}),
        }
        if me.uploading.is_none() && me.marking.is_none() && me.covered > 0 {
            let ids = if self.variant.mark_first {
                self.ids(me.writes)
            } else {
                0
            };
            put("close", true, Self::close(me), &|next| next.done |= ids);
        }
    }

    /// What was closed is created, or found there; then it is marked.
    fn write(&self, state: &State, who: usize, put: &mut Put<'_>) {
        let me = &state.replicas[who];
        if let (Some(mine), None) = (me.uploading, me.marking) {
            if let Some(found) = state.chain.get(&mine.start) {
                put("adopt", true, self.adopt(me, mine, *found), &|_| {});
            } else {
                let mut created = me.clone();
                created.uploading = None;
                created.marking = Some((mine.end, self.ids(mine.written)));
                put("create", true, created, &|next| {
                    next.chain.insert(mine.start, mine);
                });
            }
        }
        if let Some((end, ids)) = me.marking {
            let mut marked = me.clone();
            marked.marking = None;
            marked.boundary = marked.boundary.max(end);
            if me.looked.is_some() && !self.variant.no_grace {
                marked.grace |= ids;
            }
            put("mark", true, marked, &|next| next.done |= ids);
        }
    }

    fn of_replica(&self, state: &State, who: usize, steps: &mut Vec<Step<State>>) {
        let me = &state.replicas[who];
        let mut put = |what, progress, changed, change: &dyn Fn(&mut State)| {
            let mut next = state.clone();
            next.replicas[who] = changed;
            change(&mut next);
            let label = Label(what, who, usize::from(me.next()));
            steps.push(Step {
                state: next,
                progress,
                label,
            });
        };
        if !me.alive {
            let back = Replica::at(state.committed, true, state.owner == who);
            return put("restart", true, back, &|_| {});
        }
        if !me.has {
            return;
        }
        self.read(state, who, &mut put);
        self.write(state, who, &mut put);
        if state.owner == who && me.boundary > state.committed {
            put("commit", true, me.clone(), &|next| {
                next.committed = me.boundary
            });
        }
        if state.owner != who {
            if state.left.late_commits > 0 && me.boundary != state.committed {
                put("late commit", false, me.clone(), &|next| {
                    next.committed = me.boundary;
                    next.left.late_commits -= 1;
                });
            }
            put(
                "learn of the loss",
                true,
                Replica::at(0, true, false),
                &|_| {},
            );
        }
        if state.left.crashes > 0 {
            let gone = Replica::at(0, false, false);
            put("crash", false, gone, &|next| next.left.crashes -= 1);
        }
    }
}

impl Model for Chain {
    type State = State;

    fn start(&self) -> State {
        State {
            replicas: [Replica::at(0, true, true), Replica::at(0, true, false)],
            owner: 0,
            committed: 0,
            chain: BTreeMap::new(),
            done: 0,
            left: self.faults,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        self.of_replica(state, 0, steps);
        self.of_replica(state, 1, steps);
        let to = 1 - state.owner;
        let dead = !state.replicas[state.owner].alive;
        if state.replicas[to].alive && (dead || state.left.moves > 0) {
            let mut next = state.clone();
            next.owner = to;
            next.replicas[to] = Replica::at(state.committed, true, true);
            next.left.moves -= u8::from(!dead);
            let label = Label("move to", to, 0);
            steps.push(Step {
                state: next,
                progress: dead,
                label,
            });
        }
        if state.left.forgets > 0 && state.done != 0 {
            let mut next = state.clone();
            (next.done, next.left.forgets) = (0, state.left.forgets - 1);
            let label = Label("forget", 0, 0);
            steps.push(Step {
                state: next,
                progress: false,
                label,
            });
        }
    }

    fn broken(&self, state: &State) -> Vec<&'static str> {
        let (mut broken, mut records, mut ids) = (Vec::new(), 0, 0);
        for segment in state.chain.values() {
            if records & segment.written != 0 {
                broken.push("a record of the log is doubled");
            }
            records |= segment.written;
            for offset in (0..self.log.len()).filter(|it| segment.written >> it & 1 == 1) {
                // A store that has forgotten an id cannot tell that it was there.
                let remembers = state.left.forgets == self.faults.forgets;
                if ids & bit(self.log[offset]) != 0 && remembers {
                    broken.push("an id is doubled");
                }
                ids |= bit(self.log[offset]);
            }
        }
        let committed = &self.log[..usize::from(state.committed)];
        if committed.iter().any(|id| ids & bit(*id) == 0) {
            broken.push("lost");
        }
        broken
    }

    fn is_done(&self, state: &State) -> bool {
        usize::from(state.committed) == self.log.len()
    }
}

// === the runs ===

fn run(log: &str, faults: Budget, variant: Variant) -> Explored {
    let log = log.bytes().map(|id| id - b'A').collect();
    explore(&Chain {
        log,
        faults,
        variant,
    })
}

const FAULTS: Budget = Budget {
    crashes: 1,
    forgets: 0,
    moves: 1,
    late_commits: 1,
};

const MOVES: Budget = Budget {
    crashes: 0,
    forgets: 0,
    moves: 1,
    late_commits: 0,
};

#[test]
fn a_chain_loses_nothing_and_writes_each_record_once() {
    let forgets = Budget {
        forgets: 1,
        late_commits: 0,
        ..FAULTS
    };
    let ask_again = Variant {
        ask_again: true,
        ..Variant::default()
    };
    for (log, faults, variant) in [
        ("AABA", MOVES, Variant::default()),
        ("ABAC", MOVES, Variant::default()),
        ("AAB", FAULTS, Variant::default()),
        ("ABA", FAULTS, Variant::default()),
        ("ABA", forgets, Variant::default()),
        ("ABA", FAULTS, ask_again),
    ] {
        let explored = run(log, faults, variant);
        println!("chain, {log}: {explored}");
        assert!(explored.is_clean(), "{log}: {explored}");
    }
}

#[test]
fn each_wrong_chain_is_found_out() {
    let none = Variant::default();
    let crash = Budget {
        crashes: 1,
        ..MOVES
    };
    let doubled = "an id is doubled";
    for (what, log, faults, variant, promise) in [
        (
            "a commit off the chain's boundaries",
            "AABC",
            MOVES,
            Variant {
                commit_off_the_chain: true,
                ..none
            },
            "a record of the log is doubled",
        ),
        (
            "no set of the open segment",
            "ABA",
            MOVES,
            Variant {
                no_open_set: true,
                ..none
            },
            doubled,
        ),
        (
            "no grace for look-ups under way",
            "ABA",
            MOVES,
            Variant {
                no_grace: true,
                ..none
            },
            doubled,
        ),
        (
            "marked before it is created",
            "ABA",
            crash,
            Variant {
                mark_first: true,
                ..none
            },
            "lost",
        ),
    ] {
        let explored = run(log, faults, variant);
        println!("chain, wrong, {what}: {explored}");
        assert!(explored.breaks(promise), "{what}: {explored}");
    }
}
