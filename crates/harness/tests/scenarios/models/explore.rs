//! Every reachable state of a model, breadth first, so that what is found first is short.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;

/// Most states of one run: a model that grows beyond is a mistake of its budgets.
const MOST: usize = 3_000_000;

/// A protocol, small enough to be looked at whole.
pub(super) trait Model {
    type State: Clone + Eq + Hash;

    fn start(&self) -> Self::State;

    /// Everything that can happen next.
    fn steps(&self, state: &Self::State, steps: &mut Vec<Step<Self::State>>);

    /// The promises that `state` breaks.
    fn broken(&self, state: &Self::State) -> Vec<&'static str>;

    /// Whether all work is done.
    fn is_done(&self, state: &Self::State) -> bool;
}

/// Something that happens.
pub(super) struct Step<S> {
    pub(super) state: S,
    /// It happens by itself sooner or later; a fault need not happen.
    pub(super) progress: bool,
    pub(super) label: Label,
}

/// What happens, to whom, with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(pub(super) &'static str, pub(super) usize, pub(super) usize);

/// What was found.
pub(super) struct Explored {
    pub(super) states: usize,
    /// The first way to break each promise, step by step.
    pub(super) broken: BTreeMap<&'static str, Vec<String>>,
    /// States from which the work cannot be done any more, whatever happens.
    pub(super) stuck: usize,
}

// === impl Explored ===

impl Explored {
    pub(super) fn is_clean(&self) -> bool {
        self.broken.is_empty() && self.stuck == 0
    }

    pub(super) fn breaks(&self, promise: &str) -> bool {
        self.broken.contains_key(promise)
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states", self.states)?;
        if self.is_clean() {
            return write!(f, ", clean");
        }
        for (promise, way) in &self.broken {
            write!(f, "; {promise}: {}", way.join(", "))?;
        }
        write!(f, "; stuck in {} states", self.stuck)
    }
}

/// Looks at every state that `model` can come to.
pub(super) fn explore<M: Model>(model: &M) -> Explored {
    let start = model.start();
    let mut numbers = HashMap::from([(start.clone(), 0_u32)]);
    let mut states = vec![start];
    let mut from: Vec<(u32, Label)> = vec![(0, Label("start", 0, 0))];
    let mut progress: Vec<(u32, u32)> = Vec::new();
    let mut broken = BTreeMap::new();
    let (mut steps, mut at) = (Vec::new(), 0);
    while at < states.len() {
        let state = states[at].clone();
        let here = u32::try_from(at).unwrap();
        for promise in model.broken(&state) {
            broken.entry(promise).or_insert_with(|| way(&from, at));
        }
        model.steps(&state, &mut steps);
        for step in steps.drain(..) {
            let next = u32::try_from(states.len()).unwrap();
            let number = *numbers.entry(step.state.clone()).or_insert(next);
            if number == next {
                states.push(step.state);
                from.push((here, step.label));
            }
            if step.progress {
                progress.push((number, here));
            }
        }
        at += 1;
        assert!(states.len() < MOST, "the model is too big");
    }
    Explored {
        stuck: stuck(model, &states, progress),
        states: states.len(),
        broken,
    }
}

fn way(from: &[(u32, Label)], at: usize) -> Vec<String> {
    let (mut way, mut at) = (Vec::new(), at);
    while at != 0 {
        let (before, Label(what, who, with)) = from[at];
        way.push(format!("{what} {who}:{with}"));
        at = before as usize;
    }
    way.reverse();
    way
}

/// States from which no way of progress leads to the end. `progress` has steps as (to, from).
fn stuck<M: Model>(model: &M, states: &[M::State], mut progress: Vec<(u32, u32)>) -> usize {
    progress.sort_unstable();
    let mut ends = vec![false; states.len()];
    let done = states
        .iter()
        .enumerate()
        .filter(|(_, it)| model.is_done(it));
    let mut open: Vec<u32> = done.map(|(at, _)| u32::try_from(at).unwrap()).collect();
    open.iter().for_each(|at| ends[*at as usize] = true);
    while let Some(to) = open.pop() {
        let first = progress.partition_point(|(end, _)| *end < to);
        for (_, before) in progress[first..].iter().take_while(|(end, _)| *end == to) {
            if !std::mem::replace(&mut ends[*before as usize], true) {
                open.push(*before);
            }
        }
    }
    ends.iter().filter(|ends| !**ends).count()
}
