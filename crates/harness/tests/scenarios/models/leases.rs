//! `record` mode: two replicas, partitions that move, a store that forgets, a sink that loses
//! replies. Records are re-sends, conflicts or refused by the destination.
//!
//! A record's way in a replica: idle → claimed → written → complete (marked done); or, refused by
//! the destination or of another content than its id is known with: → set aside (in the
//! dead-letter topic) → complete.

use super::explore::{Explored, Label, Model, Step, explore};

const REPLICAS: usize = 2;

/// A record of the log: where, what id, which content, and whether the destination refuses it.
#[derive(Clone, Copy)]
struct Record {
    partition: usize,
    id: usize,
    content: u8,
    refused: bool,
}

const fn record(partition: usize, id: usize, content: u8) -> Record {
    Record {
        partition,
        id,
        content,
        refused: false,
    }
}

/// How often each fault may happen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    forgets: u8,
    early_ends: u8,
    moves: u8,
    lost_replies: u8,
    lost_claims: u8,
}

impl Budget {
    /// Faults that may each make one more effect.
    fn most(self) -> u8 {
        self.crashes + self.forgets + self.early_ends + self.lost_replies
    }
}

/// What is done otherwise than it should be.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Variant {
    /// The destination refuses a second create under one id, and tells another content.
    conditional: bool,
    offset_in_key: bool,
    busy_is_skipped: bool,
    commit_highest: bool,
    mark_first: bool,
    abort_written: bool,
    no_in_flight_map: bool,
    conflict_is_duplicate: bool,
}

struct Leases {
    log: Vec<Record>,
    partitions: usize,
    faults: Budget,
    variant: Variant,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Local {
    Idle,
    Claimed,
    Written,
    /// To be set aside: refused (`true`: by the destination, under our lease) or a conflict.
    Aside(bool),
    /// In the dead-letter topic, not marked.
    SetAside,
    Complete,
    Skipped,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Known {
    Nothing,
    Held {
        by: usize,
        boot: u8,
        ended: bool,
        content: u8,
    },
    DeadLettered {
        content: u8,
    },
    Done {
        content: u8,
    },
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    owner: [usize; 2],
    has: [[bool; 2]; REPLICAS],
    committed: [usize; 2],
    local: [[Local; 4]; REPLICAS],
    alive: [bool; REPLICAS],
    boot: [u8; REPLICAS],
    store: [Known; 4],
    /// Effects by id and content.
    effects: [[u8; 2]; 2],
    /// Which records lie in the dead-letter topic.
    dead: [bool; 4],
    left: Budget,
}

// === impl Leases ===

impl Leases {
    fn key(&self, at: usize) -> usize {
        match self.variant.offset_in_key {
            true => at,
            false => self.log[at].id,
        }
    }

    /// The places of a partition's records in the log, in order.
    fn of(&self, partition: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.log.len()).filter(move |at| self.log[*at].partition == partition)
    }

    fn busy(local: Local) -> bool {
        matches!(
            local,
            Local::Claimed | Local::Written | Local::Aside(_) | Local::SetAside
        )
    }

    fn assign(&self, state: &mut State, replica: usize, partition: usize) {
        state.has[replica][partition] = true;
        for (offset, at) in self.of(partition).enumerate() {
            let done = offset < state.committed[partition];
            state.local[replica][at] = if done { Local::Complete } else { Local::Idle };
        }
    }

    /// Whether `at` may be claimed now: the first of its id in its partition, and nothing of its
    /// id under way in this process.
    fn may_begin(&self, state: &State, replica: usize, at: usize) -> bool {
        let local = &state.local[replica];
        let me = self.log[at];
        let mut others = (0..self.log.len()).filter(|it| *it != at && self.log[*it].id == me.id);
        others.all(|other| {
            let first = self.log[other].partition == me.partition && other < at;
            let waits = first && !matches!(local[other], Local::Complete | Local::Skipped);
            let under_way = !self.variant.no_in_flight_map && Self::busy(local[other]);
            !waits && !under_way
        })
    }

    fn claim(&self, state: &State, replica: usize, at: usize, steps: &mut Vec<Step<State>>) {
        let (key, me) = (self.key(at), self.log[at]);
        let mut next = state.clone();
        let content = match state.store[key] {
            Known::Nothing => me.content,
            Known::Held { content, .. }
            | Known::DeadLettered { content }
            | Known::Done { content } => content,
        };
        let label = |what| Label(what, replica, at);
        if content != me.content {
            let duplicate = self.variant.conflict_is_duplicate;
            next.local[replica][at] = if duplicate {
                Local::Complete
            } else {
                Local::Aside(false)
            };
            return steps.push(on(next, label("conflict")));
        }
        let mine = |by, boot| by == replica && boot == state.boot[replica];
        match state.store[key] {
            Known::Done { .. } | Known::DeadLettered { .. } => {
                next.local[replica][at] = Local::Complete;
                return steps.push(on(next, label("duplicate")));
            }
            Known::Held {
                by,
                boot,
                ended: false,
                ..
            } if !mine(by, boot) => {
                if self.variant.busy_is_skipped {
                    next.local[replica][at] = Local::Skipped;
                    steps.push(on(next, label("skip")));
                }
                return;
            }
            Known::Nothing | Known::Held { .. } => {}
        }
        let boot = state.boot[replica];
        next.store[key] = match self.variant.mark_first {
            true => Known::Done { content },
            false => Known::Held {
                by: replica,
                boot,
                ended: false,
                content,
            },
        };
        if next.left.lost_claims > 0 {
            let mut lost = next.clone();
            lost.left.lost_claims -= 1;
            steps.push(fault(lost, label("claim, answer lost")));
        }
        next.local[replica][at] = Local::Claimed;
        steps.push(on(next, label("claim")));
    }

    fn write(&self, state: &State, replica: usize, at: usize, steps: &mut Vec<Step<State>>) {
        let me = self.log[at];
        let label = |what| Label(what, replica, at);
        let mut next = state.clone();
        if me.refused {
            next.local[replica][at] = Local::Aside(true);
            return steps.push(on(next, label("refused")));
        }
        let there = state.effects[me.id];
        let other = there[1 - usize::from(me.content)] > 0;
        if self.variant.conditional && other {
            next.local[replica][at] = Local::Aside(true);
            return steps.push(on(next, label("another lies there")));
        }
        let effects = &mut next.effects[me.id][usize::from(me.content)];
        if !(self.variant.conditional && *effects > 0) {
            // More than all faults together can explain; beyond that no number says more.
            *effects = (*effects + 1).min(self.faults.most() + 2);
        }
        if next.left.lost_replies > 0 {
            let mut lost = next.clone();
            lost.left.lost_replies -= 1;
            steps.push(fault(lost, label("write, reply lost")));
        }
        next.local[replica][at] = Local::Written;
        steps.push(on(next, label("write")));
    }

    /// What the record at `at` does next in a replica.
    fn walk(&self, state: &State, replica: usize, at: usize, steps: &mut Vec<Step<State>>) {
        let (key, me) = (self.key(at), self.log[at]);
        let label = |what| Label(what, replica, at);
        let mut next = state.clone();
        match state.local[replica][at] {
            Local::Idle => {
                if state.has[replica][me.partition] && self.may_begin(state, replica, at) {
                    self.claim(state, replica, at, steps);
                }
            }
            Local::Claimed => self.write(state, replica, at, steps),
            Local::Written => {
                next.store[key] = Known::Done {
                    content: me.content,
                };
                next.local[replica][at] = Local::Complete;
                steps.push(on(next, label("mark")));
            }
            Local::Aside(claimed) => {
                next.dead[at] = true;
                let marks = claimed && me.refused;
                next.local[replica][at] = if marks {
                    Local::SetAside
                } else {
                    Local::Complete
                };
                // A conflict found at the destination gives its lease back.
                if claimed && !marks {
                    release(&mut next, key, replica);
                }
                steps.push(on(next, label("dead-letter")));
            }
            Local::SetAside => {
                let held = matches!(state.store[key],
                    Known::Held { by, boot, .. } if by == replica && boot == state.boot[replica]);
                if held || state.store[key] == Known::Nothing {
                    next.store[key] = Known::DeadLettered {
                        content: me.content,
                    };
                }
                next.local[replica][at] = Local::Complete;
                steps.push(on(next, label("mark dead-lettered")));
            }
            Local::Complete | Local::Skipped => {}
        }
    }

    fn commit(&self, state: &State, replica: usize, partition: usize) -> Option<State> {
        let from = state.committed[partition];
        let complete = |at: usize| state.local[replica][at] == Local::Complete;
        let offsets = self.of(partition).enumerate().skip(from);
        let to = match self.variant.commit_highest {
            true => offsets
                .filter(|(_, at)| complete(*at))
                .map(|(offset, _)| offset + 1)
                .last(),
            false => offsets
                .take_while(|(_, at)| complete(*at))
                .map(|(offset, _)| offset + 1)
                .last(),
        };
        let mut next = state.clone();
        next.committed[partition] = to?;
        Some(next)
    }

    /// The replica learns that the partition is another's: what was not begun is given up.
    fn lose(&self, state: &State, replica: usize, partition: usize) -> State {
        let mut next = state.clone();
        next.has[replica][partition] = false;
        for at in self.of(partition) {
            let local = state.local[replica][at];
            if local == Local::Claimed {
                release(&mut next, self.key(at), replica);
            }
            let goes_on = matches!(local, Local::Written | Local::Aside(_) | Local::SetAside);
            if !goes_on || self.variant.abort_written {
                next.local[replica][at] = Local::Idle;
            }
        }
        next
    }

    fn of_replica(&self, state: &State, replica: usize, steps: &mut Vec<Step<State>>) {
        let mut next = state.clone();
        if !state.alive[replica] {
            next.alive[replica] = true;
            next.boot[replica] += 1;
            for partition in (0..self.partitions).filter(|it| state.owner[*it] == replica) {
                self.assign(&mut next, replica, partition);
            }
            return steps.push(on(next, Label("restart", replica, 0)));
        }
        (0..self.log.len()).for_each(|at| self.walk(state, replica, at, steps));
        for partition in (0..self.partitions).filter(|it| state.has[replica][*it]) {
            if state.owner[partition] != replica {
                let lost = self.lose(state, replica, partition);
                steps.push(on(lost, Label("learn of the loss", replica, partition)));
            } else if let Some(next) = self.commit(state, replica, partition) {
                steps.push(on(next, Label("commit", replica, partition)));
            }
        }
        if state.left.crashes > 0 {
            next.left.crashes -= 1;
            next.alive[replica] = false;
            next.local[replica] = [Local::Idle; 4];
            next.has[replica] = [false; 2];
            steps.push(fault(next, Label("crash", replica, 0)));
        }
    }

    fn moves(&self, state: &State, steps: &mut Vec<Step<State>>) {
        for partition in 0..self.partitions {
            let owner = state.owner[partition];
            let to = 1 - owner;
            // Work of an earlier assignment is ended before a new one begins.
            let drained = !self.of(partition).any(|at| Self::busy(state.local[to][at]));
            let dead = !state.alive[owner];
            if !state.alive[to] || !drained || !(dead || state.left.moves > 0) {
                continue;
            }
            let mut next = state.clone();
            next.left.moves -= u8::from(!dead);
            next.owner[partition] = to;
            self.assign(&mut next, to, partition);
            let label = Label("move to", to, partition);
            steps.push(Step {
                state: next,
                progress: dead,
                label,
            });
        }
    }

    fn of_store(&self, state: &State, steps: &mut Vec<Step<State>>) {
        for (key, known) in state.store.into_iter().enumerate() {
            if let Known::Held {
                by,
                boot,
                ended: false,
                content,
            } = known
            {
                let works = |at: usize| self.key(at) == key && Self::busy(state.local[by][at]);
                let pursued =
                    state.alive[by] && state.boot[by] == boot && (0..self.log.len()).any(works);
                if pursued && state.left.early_ends == 0 {
                    continue;
                }
                let mut next = state.clone();
                next.left.early_ends -= u8::from(pursued);
                next.store[key] = Known::Held {
                    by,
                    boot,
                    ended: true,
                    content,
                };
                let label = Label("lease ends", by, key);
                steps.push(Step {
                    state: next,
                    progress: !pursued,
                    label,
                });
            }
        }
        if state.left.forgets > 0 && state.store.iter().any(|it| *it != Known::Nothing) {
            for forgotten in 1_usize..16 {
                let mut next = state.clone();
                next.left.forgets -= 1;
                let gone = (0..4).filter(|key| forgotten >> key & 1 == 1);
                gone.for_each(|key| next.store[key] = Known::Nothing);
                steps.push(fault(next, Label("forget", 0, forgotten)));
            }
        }
    }
}

fn on(state: State, label: Label) -> Step<State> {
    Step {
        state,
        progress: true,
        label,
    }
}

fn fault(state: State, label: Label) -> Step<State> {
    Step {
        state,
        progress: false,
        label,
    }
}

/// Gives up what `replica` holds of `key`, and nothing else.
fn release(state: &mut State, key: usize, replica: usize) {
    if matches!(state.store[key], Known::Held { by, boot, .. }
        if by == replica && boot == state.boot[replica])
    {
        state.store[key] = Known::Nothing;
    }
}

impl Model for Leases {
    type State = State;

    fn start(&self) -> State {
        let mut state = State {
            owner: [0, self.partitions - 1],
            has: [[false; 2]; REPLICAS],
            committed: [0; 2],
            local: [[Local::Idle; 4]; REPLICAS],
            alive: [true; REPLICAS],
            boot: [0; REPLICAS],
            store: [Known::Nothing; 4],
            effects: [[0; 2]; 2],
            dead: [false; 4],
            left: self.faults,
        };
        for partition in 0..self.partitions {
            self.assign(&mut state, partition, partition);
        }
        state
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        (0..REPLICAS).for_each(|replica| self.of_replica(state, replica, steps));
        self.moves(state, steps);
        self.of_store(state, steps);
    }

    fn broken(&self, state: &State) -> Vec<&'static str> {
        let mut broken = Vec::new();
        for partition in 0..self.partitions {
            for at in self.of(partition).take(state.committed[partition]) {
                let me = self.log[at];
                // Its effect is there, or it is set aside, or one that says the same is.
                let same =
                    |it: usize| self.log[it].id == me.id && self.log[it].content == me.content;
                let aside = (0..self.log.len()).any(|it| state.dead[it] && same(it));
                if state.effects[me.id][usize::from(me.content)] == 0 && !aside {
                    broken.push("lost");
                }
            }
        }
        for at in 0..self.log.len() {
            let me = self.log[at];
            if state.store[self.key(at)]
                == (Known::Done {
                    content: me.content,
                })
                && state.effects[me.id][usize::from(me.content)] == 0
            {
                broken.push("done without effect");
            }
        }
        let happened = self.faults.most() - state.left.most();
        let most = state.effects.iter().flatten().max().copied().unwrap_or(0);
        if most > 1 + happened {
            broken.push("more effects than faults explain");
        }
        if self.variant.conditional && state.effects.iter().any(|it| it[0] + it[1] > 1) {
            broken.push("two effects of an id");
        }
        broken
    }

    fn is_done(&self, state: &State) -> bool {
        (0..self.partitions).all(|it| state.committed[it] == self.of(it).count())
    }
}

// === the runs ===

/// A, B, and A once more: in one partition, or the last one in another.
fn again(partition: usize) -> Vec<Record> {
    vec![record(0, 0, 0), record(0, 1, 0), record(partition, 0, 0)]
}

/// A, A with another content, and B, which the destination refuses, twice.
fn conflict_and_refusal() -> Vec<Record> {
    let refused = Record {
        refused: true,
        ..record(0, 1, 0)
    };
    vec![record(0, 0, 0), record(0, 0, 1), refused, refused]
}

fn run(log: Vec<Record>, faults: Budget, variant: Variant) -> Explored {
    let partitions = log.iter().map(|it| it.partition + 1).max().unwrap();
    explore(&Leases {
        log,
        partitions,
        faults,
        variant,
    })
}

const ALL: Budget = Budget {
    crashes: 1,
    forgets: 1,
    early_ends: 1,
    moves: 1,
    lost_replies: 1,
    lost_claims: 1,
};

fn only_moves(moves: u8) -> Budget {
    Budget {
        moves,
        ..Budget::default()
    }
}

#[test]
fn leases_lose_nothing_and_double_no_more_than_faults_explain() {
    let crash_and_move = Budget {
        crashes: 1,
        moves: 1,
        lost_claims: 1,
        ..Budget::default()
    };
    let dying = Budget {
        early_ends: 0,
        lost_claims: 0,
        ..ALL
    };
    let waiting = Budget {
        crashes: 0,
        forgets: 0,
        ..ALL
    };
    for (what, log, faults) in [
        ("A B A, moves only", again(0), only_moves(3)),
        ("A B | A, moves only", again(1), only_moves(3)),
        ("A B A, crash, wipe, move, lost reply", again(0), dying),
        ("A B | A, crash, wipe, move, lost reply", again(1), dying),
        ("A B A, early end, move, lost answers", again(0), waiting),
        ("A B | A, early end, move, lost answers", again(1), waiting),
        (
            "conflict and refusal, crash, move, lost claim",
            conflict_and_refusal(),
            crash_and_move,
        ),
    ] {
        for conditional in [false, true] {
            let variant = Variant {
                conditional,
                ..Variant::default()
            };
            let explored = run(log.clone(), faults, variant);
            println!("leases, {what}, conditional {conditional}: {explored}");
            assert!(explored.is_clean(), "{what}: {explored}");
        }
    }
}

/// That the promise is broken by the variant that `change` makes.
fn breaks(
    promise: &str,
    what: &str,
    log: Vec<Record>,
    faults: Budget,
    change: impl Fn(&mut Variant),
) {
    let mut variant = Variant::default();
    change(&mut variant);
    let explored = run(log, faults, variant);
    println!("leases, wrong, {what}: {explored}");
    assert!(explored.breaks(promise), "{what}: {explored}");
}

#[test]
fn each_wrong_lease_is_found_out() {
    let crash = Budget {
        crashes: 1,
        moves: 1,
        ..Budget::default()
    };
    let loses = |what, log, change: fn(&mut Variant)| breaks("lost", what, log, crash, change);
    loses("the highest is committed", again(0), |it| {
        it.commit_highest = true
    });
    loses("marked before the write", again(0), |it| {
        it.mark_first = true
    });
    loses(
        "a conflict counts as duplicate",
        conflict_and_refusal(),
        |it| {
            it.conflict_is_duplicate = true;
        },
    );
    let doubles = |what, log, moves, change: fn(&mut Variant)| {
        let promise = "more effects than faults explain";
        breaks(promise, what, log, only_moves(moves), change);
    };
    doubles("offset in the key", again(0), 0, |it| {
        it.offset_in_key = true
    });
    doubles("aborted between write and mark", again(0), 2, |it| {
        it.abort_written = true
    });
    doubles("no map of what is in flight", again(1), 3, |it| {
        it.no_in_flight_map = true
    });
}

/// A record that is skipped because another holds it is never settled, so its partition ends there.
#[test]
fn a_busy_record_that_is_skipped_stops_its_partition() {
    let faults = Budget {
        crashes: 1,
        moves: 1,
        ..Budget::default()
    };
    let variant = Variant {
        busy_is_skipped: true,
        ..Variant::default()
    };
    let explored = run(again(0), faults, variant);
    println!("leases, wrong, busy is skipped: {explored}");
    assert!(explored.stuck > 0, "{explored}");
}
