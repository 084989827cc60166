//! Random calls against a naive model: a list that is searched from its beginning.

use crate::embedded::quick_directory;
use cloudsync::identity::{Fingerprint, Id16};
use cloudsync_dedupe::{
    Claim, DedupeSettings, DedupeStore, EmbeddedStore, Lease, LogPosition, Lookup, MemoryStore,
    Subject, Token, memory::MemoryLimits, open,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::time::{Duration, UNIX_EPOCH};

const WINDOW: u64 = 100;
const LEASE: u64 = 30;

#[derive(Clone, Debug)]
enum Command {
    Lookup(Vec<Subject>),
    Claim(Token, Vec<Subject>),
    Complete(Vec<Subject>),
    Release(Token, Vec<Subject>),
    Renew(Token, Vec<Subject>),
    DeadLetter(Option<Token>, Vec<Subject>),
    Forget(Vec<Subject>),
    Pass(u64),
    /// The process ends, and another one opens the store.
    Reopen,
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Lookups(Vec<Lookup>),
    Claims(Vec<Claim>),
    Renewed(Vec<bool>),
    Nothing,
    Full,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Held {
        token: Token,
        until: u64,
    },
    Marked {
        position: LogPosition,
        done: bool,
        at: u64,
    },
}

/// Marks stand in the order of their time; `entries` is small enough to search.
struct Model {
    now: u64,
    capacity: usize,
    entries: Vec<(Id16, Fingerprint, State)>,
}

impl Model {
    fn of(capacity: usize) -> Self {
        Self {
            now: 0,
            capacity,
            entries: Vec::new(),
        }
    }

    fn find(&self, id: Id16) -> Option<(Fingerprint, State)> {
        let found = self.entries.iter().find(|(other, ..)| *other == id);
        found.map(|(_, fingerprint, state)| (*fingerprint, *state))
    }

    fn remove(&mut self, id: Id16) {
        self.entries.retain(|(other, ..)| *other != id);
    }

    fn expire(&mut self) {
        let now = self.now;
        self.entries.retain(
            |(_, _, state)| !matches!(state, State::Marked { at, .. } if now - at > WINDOW),
        );
    }

    /// Puts the state in, as the newest, if there is or can be made room.
    fn put(&mut self, subject: &Subject, state: State) -> bool {
        let known = self.find(subject.id).is_some();
        if !known && self.entries.len() == self.capacity {
            let now = self.now;
            self.entries.retain(
                |(_, _, state)| !matches!(state, State::Held { until, .. } if *until <= now),
            );
            if self.entries.len() == self.capacity {
                let marked = |(_, _, state): &(_, _, State)| matches!(state, State::Marked { .. });
                let Some(oldest) = self.entries.iter().position(marked) else {
                    return false;
                };
                self.entries.remove(oldest);
            }
        }
        let same_time = matches!(
            self.find(subject.id), Some((_, State::Marked { at, .. })) if at == self.now
        );
        if same_time {
            let entry = self
                .entries
                .iter_mut()
                .find(|(id, ..)| *id == subject.id)
                .unwrap();
            *entry = (subject.id, subject.fingerprint, state);
        } else {
            self.remove(subject.id);
            self.entries.push((subject.id, subject.fingerprint, state));
        }
        true
    }

    fn mark(&mut self, subject: &Subject, done: bool) -> bool {
        self.put(
            subject,
            State::Marked {
                position: subject.position,
                done,
                at: self.now,
            },
        )
    }

    fn lookup(&self, subject: &Subject) -> Lookup {
        match self.find(subject.id) {
            None => Lookup::Unknown,
            Some((_, State::Held { until, .. })) if until <= self.now => Lookup::Unknown,
            Some((stored, _)) if stored != subject.fingerprint => Lookup::Conflict { stored },
            Some((_, State::Held { .. })) => Lookup::InProgress,
            Some((
                _,
                State::Marked {
                    position,
                    done: true,
                    ..
                },
            )) => Lookup::Done { position },
            Some((_, State::Marked { position, .. })) => Lookup::DeadLettered { position },
        }
    }

    fn claim(&mut self, token: Token, subject: &Subject) -> Option<Claim> {
        let lease = Lease {
            length: Duration::from_secs(LEASE),
        };
        let claim = match self.find(subject.id) {
            None => Claim::Granted(lease),
            Some((stored, _)) if stored != subject.fingerprint => {
                return Some(Claim::Conflict { stored });
            }
            Some((
                _,
                State::Marked {
                    position,
                    done: true,
                    ..
                },
            )) => {
                return Some(Claim::Done { position });
            }
            Some((_, State::Marked { position, .. })) => {
                return Some(Claim::DeadLettered { position });
            }
            Some((_, State::Held { token: holder, .. })) if holder == token => Claim::Mine(lease),
            Some((
                _,
                State::Held {
                    token: holder,
                    until,
                },
            )) if until > self.now && !token.succeeds(holder) => {
                return Some(Claim::Busy {
                    remaining: Duration::from_secs(until - self.now),
                });
            }
            Some(_) => Claim::TakenOver(lease),
        };
        let held = State::Held {
            token,
            until: self.now + LEASE,
        };
        self.put(subject, held).then_some(claim)
    }

    fn holds(&self, token: Token, subject: &Subject) -> bool {
        let found = self.find(subject.id);
        matches!(found, Some((_, State::Held { token: holder, .. })) if holder == token)
    }

    fn renew(&mut self, token: Token, subject: &Subject) -> bool {
        let holds = self.holds(token, subject);
        holds
            && self.put(
                subject,
                State::Held {
                    token,
                    until: self.now + LEASE,
                },
            )
    }

    fn dead_letter(&mut self, token: Option<Token>, subject: &Subject) -> bool {
        let stands = match self.find(subject.id) {
            Some((_, State::Marked { done, .. })) => done,
            Some((_, State::Held { token: holder, .. })) => token.is_some_and(|t| t != holder),
            None => false,
        };
        stands || self.mark(subject, false)
    }

    fn claim_all(&mut self, token: Token, subjects: &[Subject]) -> Answer {
        let claims: Vec<_> = subjects.iter().map(|s| (s, self.claim(token, s))).collect();
        if claims.iter().all(|(_, claim)| claim.is_some()) {
            return Answer::Claims(claims.into_iter().filter_map(|(_, claim)| claim).collect());
        }
        for (subject, claim) in claims {
            if matches!(claim, Some(Claim::Granted(_))) && self.holds(token, subject) {
                self.remove(subject.id);
            }
        }
        Answer::Full
    }

    fn run(&mut self, command: &Command) -> Answer {
        // Nobody can tell when an ended mark goes, so here it goes at once.
        self.expire();
        let all = |fits: Vec<bool>| {
            if fits.into_iter().all(|fits| fits) {
                Answer::Nothing
            } else {
                Answer::Full
            }
        };
        match command {
            Command::Lookup(subjects) => {
                Answer::Lookups(subjects.iter().map(|s| self.lookup(s)).collect())
            }
            Command::Claim(token, subjects) => self.claim_all(*token, subjects),
            Command::Complete(subjects) => {
                all(subjects.iter().map(|s| self.mark(s, true)).collect())
            }
            Command::Release(token, subjects) => {
                for subject in subjects {
                    if self.holds(*token, subject) {
                        self.remove(subject.id);
                    }
                }
                Answer::Nothing
            }
            Command::Renew(token, subjects) => {
                Answer::Renewed(subjects.iter().map(|s| self.renew(*token, s)).collect())
            }
            Command::DeadLetter(token, subjects) => all(subjects
                .iter()
                .map(|s| self.dead_letter(*token, s))
                .collect()),
            Command::Forget(subjects) => {
                subjects.iter().for_each(|subject| self.remove(subject.id));
                Answer::Nothing
            }
            Command::Pass(seconds) => {
                self.now += seconds;
                Answer::Nothing
            }
            Command::Reopen => {
                self.entries
                    .retain(|(_, _, state)| matches!(state, State::Marked { .. }));
                Answer::Nothing
            }
        }
    }
}

async fn run(store: &dyn DedupeStore, command: &Command) -> Answer {
    let nothing = |result: Result<(), _>| result.map(|()| Answer::Nothing);
    let answer = match command {
        Command::Lookup(subjects) => store.lookup(subjects).await.map(Answer::Lookups),
        Command::Claim(token, subjects) => store.claim(*token, subjects).await.map(Answer::Claims),
        Command::Complete(subjects) => nothing(store.complete(subjects).await),
        Command::Release(token, subjects) => nothing(store.release(*token, subjects).await),
        Command::Renew(token, subjects) => store.renew(*token, subjects).await.map(Answer::Renewed),
        Command::DeadLetter(token, subjects) => nothing(store.dead_letter(*token, subjects).await),
        Command::Forget(subjects) => nothing(store.forget(subjects).await),
        Command::Pass(seconds) => {
            tokio::time::advance(Duration::from_secs(*seconds)).await;
            Ok(Answer::Nothing)
        }
        Command::Reopen => panic!("whoever runs this has the store"),
    };
    answer.unwrap_or(Answer::Full)
}

/// Four processes: two starts of one instance, and two without a name.
fn token() -> impl Strategy<Value = Token> {
    let bytes = [[0x80, 1], [0x80, 2], [0, 1], [0, 2]];
    prop::sample::select(
        bytes
            .map(|[name, start]| Token::from_bytes([name, 0, 0, 7, 0, 0, 0, start]))
            .to_vec(),
    )
}

fn subjects() -> impl Strategy<Value = Vec<Subject>> {
    let subject = (0u8..9, prop::bool::weighted(0.1), 0i64..50).prop_map(|(id, other, offset)| {
        let fingerprint = Fingerprint(u64::from(id) + if other { 100 } else { 0 });
        let position = LogPosition {
            partition: 0,
            offset,
        };
        Subject {
            id: Id16([id; 16]),
            fingerprint,
            shard: 0,
            position,
        }
    });
    prop::collection::vec(subject, 0..5)
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => subjects().prop_map(Command::Lookup),
        6 => (token(), subjects()).prop_map(|(t, s)| Command::Claim(t, s)),
        3 => subjects().prop_map(Command::Complete),
        2 => (token(), subjects()).prop_map(|(t, s)| Command::Release(t, s)),
        2 => (token(), subjects()).prop_map(|(t, s)| Command::Renew(t, s)),
        2 => (prop::option::of(token()), subjects()).prop_map(|(t, s)| Command::DeadLetter(t, s)),
        1 => subjects().prop_map(Command::Forget),
        4 => (0u64..60).prop_map(Command::Pass),
    ]
}

fn clock() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

fn limits(capacity: usize) -> MemoryLimits {
    MemoryLimits {
        max_entries: capacity as u64,
        max_memory: None,
        window: Duration::from_secs(WINDOW),
        lease: Duration::from_secs(LEASE),
        // When ended leases go is the store's business; here only when it is full.
        cleanup_interval: Duration::from_secs(1_000_000),
    }
}

/// Random calls against the store of `settings`, whose clock nobody moves: no lease ends and no
/// mark. Each case is a destination of its own.
pub(crate) fn untimed(settings: &DedupeSettings) {
    let settings = DedupeSettings {
        window: Duration::from_secs(100 * LEASE),
        lease: Duration::from_secs(LEASE),
        ..settings.clone()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let command = command().prop_filter("time", |command| !matches!(command, Command::Pass(_)));
    let commands = prop::collection::vec(command, 1..40);
    let case = std::cell::Cell::new(0);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(100)
    };
    let run = TestRunner::new(config).run(&commands, |commands| {
        case.set(case.get() + 1);
        let store = open(&settings, &format!("case-{}", case.get())).unwrap();
        runtime.block_on(async {
            let mut model = Model::of(usize::MAX);
            for (at, command) in commands.iter().enumerate() {
                let (found, expected) = (run(&*store, command).await, model.run(command));
                let (found, expected) = (found.rounded(), expected.rounded());
                prop_assert_eq!(found, expected, "command {}: {:?}", at, command);
            }
            Ok(())
        })
    });
    run.unwrap();
}

impl Answer {
    /// Without how long a lease still runs.
    fn rounded(mut self) -> Self {
        if let Self::Claims(claims) = &mut self {
            for claim in claims {
                if let Claim::Busy { remaining } = claim {
                    *remaining = Duration::ZERO;
                }
            }
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_memory_store_does_what_the_model_does(
        commands in prop::collection::vec(command(), 1..60)
    ) {
        clock().block_on(async {
            let capacity = 6;
            let store = MemoryStore::new("aws", limits(capacity));
            let mut model = Model::of(capacity);
            for (at, command) in commands.iter().enumerate() {
                // The order of marks of one moment is the store's business.
                tokio::time::advance(Duration::from_secs(1)).await;
                model.now += 1;
                let (found, expected) = (run(&store, command).await, model.run(command));
                prop_assert_eq!(found, expected, "command {}: {:?}", at, command);
            }
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Without a limit: what was dropped for a claim that ended with its process is there again.
    #[test]
    fn the_embedded_store_does_what_the_model_does_through_restarts(
        commands in prop::collection::vec(
            prop_oneof![9 => command(), 1 => Just(Command::Reopen)],
            1..60
        )
    ) {
        let directory = quick_directory();
        clock().block_on(async {
            let began = tokio::time::Instant::now();
            let capacity = 1_000;
            let open = || {
                let wall = move || UNIX_EPOCH + Duration::from_secs(1 << 30) + began.elapsed();
                let (path, limits) = (directory.path(), limits(capacity));
                Some(EmbeddedStore::open_with_clock(path, "aws", limits, wall).unwrap())
            };
            let mut store = open();
            let mut model = Model::of(capacity);
            for (at, command) in commands.iter().enumerate() {
                tokio::time::advance(Duration::from_secs(1)).await;
                model.now += 1;
                let expected = model.run(command);
                if let Command::Reopen = command {
                    drop(store.take());
                    store = open();
                    continue;
                }
                let found = run(store.as_ref().unwrap(), command).await;
                prop_assert_eq!(found, expected, "command {}: {:?}", at, command);
            }
            Ok(())
        })?;
    }
}
