//! The lanes of one partition: records of one key strictly one after another, others beside them.
//!
//! In: jobs, each with its lane, in the order of the log. Out: the next job that may be worked on.
//! Pure. Promises: of a lane at most one job is out at a time, and jobs leave it in the order in
//! which they came; a job that waits holds its own lane and no other.

use std::collections::{BTreeSet, VecDeque};
use tokio::time::Instant;

/// Lanes of a partition. Keys that share one by chance wait for each other.
pub const LANES: usize = 64;

/// The lanes, and the jobs in them.
#[derive(Debug)]
pub struct Lanes<Job> {
    lanes: Vec<Lane<Job>>,
    ready: VecDeque<usize>,
    timers: BTreeSet<(Instant, usize)>,
    jobs: usize,
}

#[derive(Debug)]
struct Lane<Job> {
    queue: VecDeque<Job>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing in it.
    Idle,
    /// Its first job may go.
    Ready,
    /// Its first job is out.
    Out,
    /// Its first job may go then.
    Waiting(Instant),
}

// === impl Lanes ===

impl<Job> Default for Lanes<Job> {
    fn default() -> Self {
        let lane = || Lane {
            queue: VecDeque::new(),
            state: State::Idle,
        };
        Self {
            lanes: (0..LANES).map(|_| lane()).collect(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            jobs: 0,
        }
    }
}

impl<Job> Lanes<Job> {
    /// Jobs in all lanes, those that are out included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs
    }

    /// Whether there is no job.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs == 0
    }

    /// Adds `job` behind all others of its lane (modulo [`LANES`]).
    pub fn push(&mut self, lane: usize, job: Job) {
        let lane = lane % LANES;
        self.jobs += 1;
        self.lanes[lane].queue.push_back(job);
        if self.lanes[lane].state == State::Idle {
            self.lanes[lane].state = State::Ready;
            self.ready.push_back(lane);
        }
    }

    /// Takes out the first job of a lane that may go, and says which lane. It is out until
    /// [`done`](Self::done) or [`back`](Self::back).
    pub fn next(&mut self, now: Instant) -> Option<(usize, Job)> {
        while let Some((until, lane)) = self.timers.first().copied()
            && until <= now
        {
            self.timers.pop_first();
            self.lanes[lane].state = State::Ready;
            self.ready.push_back(lane);
        }
        let lane = self.ready.pop_front()?;
        let job = self.lanes[lane].queue.pop_front()?;
        self.lanes[lane].state = State::Out;
        Some((lane, job))
    }

    /// The job that is out of `lane` is finished.
    pub fn done(&mut self, lane: usize) {
        self.jobs -= 1;
        if self.lanes[lane].queue.is_empty() {
            self.lanes[lane].state = State::Idle;
        } else {
            self.lanes[lane].state = State::Ready;
            self.ready.push_back(lane);
        }
    }

    /// The job that is out of `lane` comes back in front of it, to go not before `until`; without
    /// it, as the very next one.
    pub fn back(&mut self, lane: usize, job: Job, until: Option<Instant>) {
        self.lanes[lane].queue.push_front(job);
        match until {
            Some(until) => {
                self.lanes[lane].state = State::Waiting(until);
                self.timers.insert((until, lane));
            }
            None => {
                self.lanes[lane].state = State::Ready;
                self.ready.push_front(lane);
            }
        }
    }

    /// If the first job of `lane` waits, it may go now.
    pub fn wake(&mut self, lane: usize) {
        if let State::Waiting(until) = self.lanes[lane].state {
            self.timers.remove(&(until, lane));
            self.lanes[lane].state = State::Ready;
            self.ready.push_back(lane);
        }
    }

    /// When the next waiting job may go; `None` while none waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Next,
        /// Of the jobs that are out, this one (modulo their number) is finished.
        Done(usize),
        Back(usize, Option<u64>),
        Wake(usize),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0usize..5).prop_map(Step::Push),
            6 => Just(Step::Next),
            3 => any::<usize>().prop_map(Step::Done),
            3 => (any::<usize>(), prop::option::of(0u64..100)).prop_map(|(n, t)| Step::Back(n, t)),
            1 => (0usize..5).prop_map(Step::Wake),
            2 => (0u64..50).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Against lists: what each lane still holds in order, and from when its first may go.
        #[test]
        fn one_job_of_a_lane_at_a_time_in_order_and_none_lost(
            steps in prop::collection::vec(step(), 1..200)
        ) {
            let (mut lanes, mut now) = (Lanes::default(), Instant::now());
            let mut expected: HashMap<usize, VecDeque<usize>> = HashMap::new();
            let mut not_before: HashMap<usize, Instant> = HashMap::new();
            let mut out: Vec<(usize, usize)> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(lane) => {
                        lanes.push(lane, number);
                        expected.entry(lane).or_default().push_back(number);
                    }
                    Step::Next => {
                        let may = |(lane, jobs): (&usize, &VecDeque<usize>)| {
                            !jobs.is_empty()
                                && out.iter().all(|(other, _)| other != lane)
                                && not_before.get(lane).is_none_or(|until| *until <= now)
                        };
                        let any = expected.iter().any(may);
                        let next = lanes.next(now);
                        prop_assert_eq!(next.is_some(), any);
                        if let Some((lane, job)) = next {
                            prop_assert!(may((&lane, &expected[&lane])), "lane {}", lane);
                            prop_assert_eq!(Some(&job), expected[&lane].front());
                            not_before.remove(&lane);
                            out.push((lane, job));
                        }
                    }
                    Step::Done(at) if !out.is_empty() => {
                        let (lane, job) = out.remove(at % out.len());
                        lanes.done(lane);
                        prop_assert_eq!(expected.entry(lane).or_default().pop_front(), Some(job));
                    }
                    Step::Back(at, wait) if !out.is_empty() => {
                        let (lane, job) = out.remove(at % out.len());
                        let until = wait.map(|ms| now + Duration::from_millis(ms));
                        lanes.back(lane, job, until);
                        if let Some(until) = until {
                            not_before.insert(lane, until);
                        }
                    }
                    Step::Done(_) | Step::Back(..) => {}
                    Step::Wake(lane) => {
                        lanes.wake(lane);
                        not_before.remove(&lane);
                    }
                    Step::Pass(ms) => now += Duration::from_millis(ms),
                }
                let left: usize = expected.values().map(VecDeque::len).sum();
                prop_assert_eq!(lanes.len(), left);
                let soonest = not_before.values().min().copied();
                prop_assert!(lanes.next_due() == soonest || soonest.is_none_or(|at| at <= now));
            }
        }
    }
}
