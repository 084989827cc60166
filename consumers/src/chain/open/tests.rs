//! The chain, driven by a model of everything around it: two workers of which one may be a
//! zombie, a destination, a dedupe store, a committed offset; crashes, moves, late commits and a
//! store that forgets, in any order. The state machine and the comparison are the real ones.

use super::*;
use crate::chain::adopt::{Adoption, Whose};
use crate::chain::reader::raw_lines;
use crate::chain::segment::seal_frame;
use bytes::Bytes;
use cloudsync::SyncRecord;
use cloudsync_dedupe::LogPosition;
use cloudsync_kafka::PolledRecord;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// How the workers keep the rules; each one broken is a test of the model itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    Kept,
    CommitBeforeTheAnswer,
    CommitOffTheBoundary,
    MarkBeforeWrite,
    SeenForgottenAtClose,
    AckTakenInDuringALookUp,
    MarkAllThatAFoundSegmentCovers,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(usize, usize),
    Judge(usize),
    Close(usize),
    Create(usize),
    Mark(usize),
    Learn(usize),
    Commit(usize),
    Crash(usize),
    Learns(usize),
    MoveTo(usize),
    Amnesia,
}

#[derive(Debug)]
struct Worker {
    chain: Chain,
    asked: Option<(Vec<Polled>, Vec<Option<Lookup>>)>,
    upload: Upload,
    settled: i64,
}

#[derive(Debug)]
enum Upload {
    None,
    Closed(Arc<ClosedSegment>, Vec<u8>),
    Created(Arc<ClosedSegment>, bool),
    Found(Bytes, Bytes),
}

#[derive(Debug)]
struct World {
    rules: Rules,
    log: Vec<Polled>,
    segments: BTreeMap<i64, Bytes>,
    dead_letters: BTreeSet<i64>,
    store: HashMap<Id16, (Fingerprint, i64)>,
    committed: i64,
    owner: usize,
    workers: [Option<Worker>; 2],
    forgot: bool,
    late_commits: u32,
}

fn name() -> ChainName {
    ChainName {
        topic: "t".into(),
        log: "l".into(),
        partition: 0,
    }
}

/// A log of one letter a record: `a` to `z` are ids, the same in upper case is that id with
/// another payload, `!` is undecodable, `-` is for another destination. Offsets have gaps at `.`.
fn log_of(letters: &str) -> Vec<Polled> {
    let records = letters
        .chars()
        .enumerate()
        .filter(|(_, letter)| *letter != '.');
    let record = |(offset, letter): (usize, char)| {
        let record = SyncRecord {
            request_id: letter.to_ascii_lowercase().to_string(),
            payload: letter.to_string().into_bytes().into(),
            destinations: if letter == '-' {
                vec!["other".into()]
            } else {
                vec![]
            },
            ..SyncRecord::default()
        };
        let value = if letter == '!' {
            b"!".to_vec()
        } else {
            record.encode_to_vec()
        };
        let offset = i64::try_from(offset).unwrap();
        let record = PolledRecord {
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(value.into()),
            headers: None,
        };
        Polled::parse(record, "aws", 12)
    };
    records.map(record).collect()
}

fn limits() -> Limits {
    Limits {
        bytes: u64::MAX,
        offsets: i64::MAX,
        interval: Duration::ZERO,
    }
}

impl Worker {
    fn at(position: i64) -> Self {
        Self {
            chain: Chain::new(name(), limits(), position, Vec::new()),
            asked: None,
            upload: Upload::None,
            settled: position,
        }
    }
}

impl World {
    fn new(letters: &str, rules: Rules) -> Self {
        Self {
            rules,
            log: log_of(letters),
            segments: BTreeMap::new(),
            dead_letters: BTreeSet::new(),
            store: HashMap::new(),
            committed: 0,
            owner: 0,
            workers: [Some(Worker::at(0)), None],
            forgot: false,
            late_commits: 2,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask(i, count) => self.ask(i, count),
            Step::Judge(i) => self.judge(i),
            Step::Close(i) => self.close(i),
            Step::Create(i) => self.create(i),
            Step::Mark(i) => self.mark(i),
            Step::Learn(i) => self.learn(i),
            Step::Commit(i) => self.commit(i),
            Step::Crash(i) => {
                self.workers[i] = (self.owner == i).then(|| Worker::at(self.committed));
            }
            Step::Learns(i) if self.owner != i => self.workers[i] = None,
            Step::MoveTo(i) if self.owner != i => {
                // The one before goes on as long as it has not learnt of it.
                self.owner = i;
                self.workers[i] = Some(Worker::at(self.committed));
            }
            Step::Amnesia => {
                self.forgot |= !self.store.is_empty();
                self.store.clear();
            }
            Step::Learns(_) | Step::MoveTo(_) => {}
        }
    }

    fn ask(&mut self, i: usize, count: usize) {
        let Some(worker) = &mut self.workers[i] else {
            return;
        };
        let at = worker.chain.position();
        let batch: Vec<_> = self
            .log
            .iter()
            .filter(|r| r.offset() >= at)
            .take(count)
            .cloned()
            .collect();
        if worker.asked.is_some() || batch.is_empty() {
            return;
        }
        let answer = |polled: &Polled| match &polled.content {
            Content::Record {
                named,
                addressed: true,
            } => Some(match self.store.get(&named.id) {
                None => Lookup::Unknown,
                Some((stored, _)) if *stored != named.fingerprint => {
                    Lookup::Conflict { stored: *stored }
                }
                Some((_, offset)) => Lookup::Done {
                    position: LogPosition {
                        partition: 0,
                        offset: *offset,
                    },
                },
            }),
            _ => None,
        };
        let answers = batch.iter().map(answer).collect();
        worker.asked = Some((batch, answers));
    }

    fn judge(&mut self, i: usize) {
        let Some(worker) = &mut self.workers[i] else {
            return;
        };
        let Some((batch, answers)) = worker.asked.take() else {
            return;
        };
        let fit = worker
            .chain
            .fits(batch.iter().map(|r| (r.offset(), r.bytes())));
        for (polled, answer) in batch.iter().zip(answers).take(fit) {
            // A broken driver may have moved the chain on meanwhile.
            if polled.offset() >= worker.chain.position() {
                worker.chain.take(polled, answer, Instant::now());
            }
        }
    }

    fn close(&mut self, i: usize) {
        let Some(worker) = &mut self.workers[i] else {
            return;
        };
        if worker.asked.is_some() {
            return;
        }
        if let Some((segment, lines)) = worker.chain.close() {
            if self.rules == Rules::SeenForgottenAtClose {
                worker.chain.forget(&segment.subjects());
            }
            if self.rules == Rules::CommitBeforeTheAnswer {
                worker.settled = segment.end;
            }
            worker.upload = Upload::Closed(segment, lines.frame().unwrap());
        }
    }

    fn create(&mut self, i: usize) {
        let Some(worker) = &mut self.workers[i] else {
            return;
        };
        let Upload::Closed(segment, frame) = &worker.upload else {
            return;
        };
        let ours = seal_frame(&segment.header(), frame).unwrap();
        if let Some(theirs) = self.segments.get(&segment.name.start) {
            worker.upload = Upload::Found(ours, theirs.clone());
            return;
        }
        self.dead_letters
            .extend(segment.faults.iter().map(|fault| fault.record.offset));
        self.segments.insert(segment.name.start, ours);
        worker.upload = Upload::Created(Arc::clone(segment), false);
    }

    fn mark(&mut self, i: usize) {
        let Some(worker) = &mut self.workers[i] else {
            return;
        };
        let segment = match &mut worker.upload {
            Upload::Created(segment, marked) => {
                *marked = true;
                segment
            }
            Upload::Closed(segment, _) if self.rules == Rules::MarkBeforeWrite => segment,
            _ => return,
        };
        for subject in segment.subjects() {
            self.store
                .insert(subject.id, (subject.fingerprint, subject.position.offset));
        }
    }

    fn learn(&mut self, i: usize) {
        let Some(worker) = &mut self.workers[i] else {
            return;
        };
        // The rule that keeps ids seen: nothing is taken in while an answer is to be judged.
        if worker.asked.is_some() && self.rules != Rules::AckTakenInDuringALookUp {
            return;
        }
        match mem::replace(&mut worker.upload, Upload::None) {
            Upload::Created(segment, true) => {
                worker.chain.forget(&segment.subjects());
                worker.chain.created();
                worker.settled = segment.end;
            }
            Upload::Found(ours, theirs) => {
                worker.asked = None;
                let segment = Arc::clone(worker.chain.in_flight().unwrap());
                let found = Found::read(&segment.name, &theirs, 12).unwrap();
                let mut adoption = Adoption::begin(found, worker.chain.in_hand());
                let from = worker.chain.position();
                for polled in self.log.iter().filter(|r| r.offset() >= from) {
                    let what = match &polled.content {
                        Content::Record { named, .. } => What::Named(*named),
                        Content::Undecodable { hash, .. } => What::Undecodable(*hash),
                    };
                    adoption.observe(polled.offset(), what);
                }
                assert_eq!(adoption.verdict(None), Whose::Ours, "one log, one chain");
                let found = adoption.into_found();
                let end = found.header.end;
                worker
                    .chain
                    .go_on_behind(&found, &raw_lines(&ours).unwrap(), Instant::now())
                    .unwrap();
                // What is left must not wait for a record that may never come.
                let left = worker.chain.in_hand().next().is_some();
                assert_eq!(worker.chain.deadline().is_some(), left);
                let mut marks = found.subjects();
                if self.rules == Rules::MarkAllThatAFoundSegmentCovers {
                    let covered = segment.entries.iter().filter(|entry| entry.offset < end);
                    marks.extend(covered.filter_map(|entry| entry.subject(0)));
                }
                for subject in marks {
                    self.store
                        .insert(subject.id, (subject.fingerprint, subject.position.offset));
                }
                worker.chain.forget(&found.subjects());
                worker.settled = end;
            }
            other => worker.upload = other,
        }
    }

    fn commit(&mut self, i: usize) {
        let Some(worker) = &self.workers[i] else {
            return;
        };
        let settled = match self.rules {
            Rules::CommitOffTheBoundary => {
                let duplicate = |entry: &&Entry| !matches!(entry.verdict, Verdict::Written);
                let in_hand = worker.chain.in_hand().take_while(duplicate);
                in_hand
                    .last()
                    .map_or(worker.settled, |entry| entry.offset + 1)
            }
            _ => worker.settled,
        };
        if self.owner == i {
            self.committed = self.committed.max(settled);
        } else if self.late_commits > 0 {
            // The broker takes it, wherever it points.
            self.late_commits -= 1;
            self.committed = settled;
        }
    }

    /// What is wrong, if anything.
    fn violation(&self) -> Option<String> {
        let mut offsets: BTreeMap<i64, u32> = BTreeMap::new();
        let mut ids: HashMap<Id16, u32> = HashMap::new();
        let mut names: BTreeSet<(Id16, Fingerprint)> = BTreeSet::new();
        let mut covered = 0;
        for (start, object) in &self.segments {
            let found = Found::read(&name().segment(*start), object, 12).unwrap();
            if *start != covered {
                return Some(format!("gap or overlap at {start}"));
            }
            covered = found.header.end;
            for line in &found.lines {
                *offsets.entry(line.offset).or_default() += 1;
                *ids.entry(line.named.id).or_default() += 1;
                names.insert((line.named.id, line.named.fingerprint));
            }
        }
        if offsets.values().any(|count| *count > 1) {
            return Some("log record doubled".into());
        }
        if !self.forgot && ids.values().any(|count| *count > 1) {
            return Some("id doubled".into());
        }
        let delivered_too = |offset: &i64| {
            self.log
                .iter()
                .filter(|polled| polled.offset() == *offset)
                .any(|polled| {
                    matches!(&polled.content, Content::Record { named, .. }
                    if names.contains(&(named.id, named.fingerprint)))
                })
        };
        if !self.forgot && self.dead_letters.iter().any(delivered_too) {
            return Some("what was delivered was dead-lettered too".into());
        }
        let settled = self
            .log
            .iter()
            .filter(|polled| polled.offset() < self.committed);
        for polled in settled {
            let reached = self.dead_letters.contains(&polled.offset())
                || match &polled.content {
                    Content::Record { named, addressed } => {
                        !addressed || names.contains(&(named.id, named.fingerprint))
                    }
                    Content::Undecodable { .. } => false,
                };
            if !reached {
                return Some(format!("offset {} lost", polled.offset()));
            }
        }
        None
    }

    /// Nothing goes wrong any more: the owner starts anew and works to the end.
    fn finish(&mut self) {
        let i = self.owner;
        self.workers = [None, None];
        self.workers[i] = Some(Worker::at(self.committed));
        for _ in 0..self.log.len() * 2 + 2 {
            for step in [
                Step::Ask(i, 2),
                Step::Judge(i),
                Step::Close(i),
                Step::Create(i),
                Step::Mark(i),
                Step::Learn(i),
                Step::Commit(i),
            ] {
                self.step(step);
            }
        }
    }

    /// Runs `steps`, then to the end. Out: the first violation, with the steps up to it.
    fn run(mut self, steps: &[Step]) -> Option<String> {
        for (at, step) in steps.iter().enumerate() {
            self.step(*step);
            if let Some(why) = self.violation() {
                return Some(format!("{why} after {:?}", &steps[..=at]));
            }
        }
        self.finish();
        if let Some(why) = self.violation() {
            return Some(format!("{why} at the end of {steps:?}"));
        }
        let last = self.log.last().map_or(0, Polled::offset);
        (self.committed != last + 1).then(|| format!("stuck at {} after {steps:?}", self.committed))
    }
}

fn a_step(kind: u32, i: usize, count: usize) -> Step {
    match kind {
        0..=2 => Step::Ask(i, count),
        3..=5 => Step::Judge(i),
        6 | 7 => Step::Close(i),
        8 | 9 => Step::Create(i),
        10 | 11 => Step::Mark(i),
        12 | 13 => Step::Learn(i),
        14 => Step::Commit(i),
        15 => Step::Crash(i),
        16 => Step::Learns(i),
        17 | 18 => Step::MoveTo(i),
        _ => Step::Amnesia,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_doubled_whatever_fails(
        letters in "[abcA!.-]{1,7}[abB]",
        steps in vec((0u32..19, 0usize..2, 1usize..4), 0..60),
    ) {
        let steps: Vec<_> = steps.into_iter().map(|(k, i, n)| a_step(k, i, n)).collect();
        prop_assert_eq!(World::new(&letters, Rules::Kept).run(&steps), None);
    }

    /// Then an id sent again may be doubled; a log record never.
    #[test]
    fn a_store_that_forgets_loses_nothing_and_doubles_no_log_record(
        letters in "[abcA!.-]{1,7}[abB]",
        steps in vec((0u32..20, 0usize..2, 1usize..4), 0..60),
    ) {
        let steps: Vec<_> = steps.into_iter().map(|(k, i, n)| a_step(k, i, n)).collect();
        prop_assert_eq!(World::new(&letters, Rules::Kept).run(&steps), None);
    }
}

#[test]
fn an_answer_from_before_the_mark_is_not_judged_after_it() {
    let steps = [
        Step::Ask(0, 1),
        Step::Judge(0),
        Step::Close(0),
        Step::Ask(0, 1),
        Step::Create(0),
        Step::Mark(0),
        Step::Learn(0),
        Step::Judge(0),
        Step::Close(0),
        Step::Create(0),
    ];
    assert_eq!(World::new("aa", Rules::Kept).run(&steps), None);
    let broken = World::new("aa", Rules::AckTakenInDuringALookUp).run(&steps);
    assert!(broken.is_some_and(|why| why.starts_with("id doubled")));
}

/// A model that finds nothing proves nothing: each rule broken is noticed.
#[test]
fn each_broken_rule_is_noticed() {
    for rules in [
        Rules::CommitBeforeTheAnswer,
        Rules::CommitOffTheBoundary,
        Rules::MarkBeforeWrite,
        Rules::SeenForgottenAtClose,
        Rules::AckTakenInDuringALookUp,
        Rules::MarkAllThatAFoundSegmentCovers,
    ] {
        let mut random = StdRng::seed_from_u64(7);
        let noticed = (0..100_000).find_map(|_| {
            let letters: String = (0..random.random_range(2..6))
                .map(|_| ['a', 'b', 'A'][random.random_range(0..3)])
                .collect();
            // Half the runs without a store that forgets, and few faults: then every rule shows.
            let kinds = random.random_range(19..=20);
            let steps: Vec<_> = (0..random.random_range(8..50))
                .map(|_| {
                    let quiet = random.random_bool(0.9);
                    let kind = random.random_range(0..if quiet { 15 } else { kinds });
                    let i = usize::from(random.random_bool(0.2));
                    a_step(kind, i, random.random_range(1..3))
                })
                .collect();
            World::new(&letters, rules).run(&steps)
        });
        assert!(noticed.is_some(), "{rules:?} was not noticed");
    }
}

#[test]
fn a_segment_closes_at_its_bytes_its_offsets_or_its_time() {
    let now = Instant::now();
    let log = log_of("abcdefgh");
    let sizes = || log.iter().map(|r| (r.offset(), r.bytes()));
    let at = |bytes, offsets, ms| {
        let interval = Duration::from_millis(ms);
        Chain::new(
            name(),
            Limits {
                bytes,
                offsets,
                interval,
            },
            0,
            Vec::new(),
        )
    };
    let one = log[0].bytes();
    assert_eq!(at(one * 3, 100, 250).fits(sizes()), 3);
    assert_eq!(at(one * 100, 5, 250).fits(sizes()), 5);
    let mut chain = at(one * 100, 100, 250);
    assert_eq!((chain.deadline(), chain.close().is_none()), (None, true));
    chain.take(&log[0], None, now);
    assert!(!chain.is_due(now));
    assert!(chain.is_due(now + Duration::from_millis(250)));
    chain.close().unwrap();
    chain.take(&log[1], None, now);
    assert!(chain.close().is_none(), "one upload at a time");
}

#[test]
fn an_open_segment_ends_where_the_next_listed_one_starts() {
    let log = log_of("ab..ef");
    let mut chain = Chain::new(name(), limits(), 0, vec![0, 3, 9]);
    let fit = chain.fits(log.iter().map(|r| (r.offset(), r.bytes())));
    assert_eq!(fit, 2);
    for polled in &log[..fit] {
        chain.take(polled, Some(Lookup::Unknown), Instant::now());
    }
    assert!(!chain.is_full());
    assert_eq!(
        chain.fits(log[fit..].iter().map(|r| (r.offset(), r.bytes()))),
        0
    );
    assert!(chain.is_full());
    let (segment, _) = chain.close().unwrap();
    assert_eq!(
        (segment.name.start, segment.end, segment.entries.len()),
        (0, 3, 2)
    );
    assert!(
        chain.is_full(),
        "nothing is taken behind a cut that is not answered"
    );
    chain.created();
    assert!(!chain.is_full());
    assert_eq!(
        chain.fits(log[fit..].iter().map(|r| (r.offset(), r.bytes()))),
        2
    );
}

/// A segment found in the place of one that was cut may end before the cut: what follows it still
/// ends where the next listed one starts, or that one's records would lie there twice.
#[test]
fn a_shorter_segment_found_does_not_forget_where_the_next_one_starts() {
    let log = log_of("abcdef");
    let take = |chain: &mut Chain, records: &[Polled]| {
        let fit = chain.fits(records.iter().map(|r| (r.offset(), r.bytes())));
        for polled in &records[..fit] {
            chain.take(polled, Some(Lookup::Unknown), Instant::now());
        }
        fit
    };
    let mut theirs = Chain::new(name(), limits(), 0, vec![]);
    take(&mut theirs, &log[..2]);
    let (segment, lines) = theirs.close().unwrap();
    let object = seal_frame(&segment.header(), &lines.frame().unwrap()).unwrap();
    let found = Found::read(&segment.name, &object, 12).unwrap();

    let mut chain = Chain::new(name(), limits(), 0, vec![0, 4]);
    assert_eq!(take(&mut chain, &log), 4);
    assert_eq!(take(&mut chain, &log[4..]), 0);
    let (segment, lines) = chain.close().unwrap();
    assert_eq!(segment.end, 4);
    assert!(chain.is_full());
    let ours = lines.text().unwrap();
    chain.go_on_behind(&found, &ours, Instant::now()).unwrap();
    assert_eq!((chain.position(), chain.is_full()), (4, false));
    assert_eq!(take(&mut chain, &log[4..]), 0);
    let (segment, _) = chain.close().unwrap();
    assert_eq!((segment.name.start, segment.end), (2, 4));
}
