//! The layout `buckets`: a hash for each destination, shard and generation of the window.
//!
//! In: calls of [`DedupeStore`]. Out: their answers. Promises, beyond the laws: claims, releases,
//! renewals and dead letters are decided by a script at once for up to 256 ids; look-ups and
//! marks of done are plain commands. Every call goes by the generation of Redis' clock at that
//! very call: a script reads the clock itself, plain commands are sent with `TIME` in one
//! pipeline and repeated where the assumed generation was another one.
//!
//! A mark is seen in its generation and the next, so it is remembered for one to two windows. A
//! hash that can be seen no more is unlinked with the next call of its shard; where there is
//! none, it ends by itself ten minutes later.

use super::clock::Generations;
use super::counts::Counts;
use super::fault::{Fault, Kind};
use super::held::{Connected, Held, Scripts};
use super::link::Request;
use super::plan::{Part, plan};
use super::raw::Step;
use super::repeats::claim_all;
use crate::claim::{Claim, Found, FoundState, Lookup, Subject, Token};
use crate::settings::DedupeSettings;
use crate::store::{DedupeStore, Health, Stats, StoreError};
use async_trait::async_trait;
use hold::Hold;
use redis::{Cmd, Script, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod claims;
mod hold;
mod look;
mod marks;

/// How often a call may find that it assumed a wrong generation.
const GUESSES: usize = 4;
/// Memory of an id in Redis 7, by an upper estimate: entry, field, mark, and its part of a table
/// that has just doubled.
const ID_BYTES: u64 = 120;

/// The [`DedupeStore`] of one destination in hashes of Redis.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) held: Held,
    generations: Generations,
    window: Duration,
    lease: Duration,
    claim: Source,
    hold: Source,
    /// For each shard the newest generation that its server told, and whether older hashes are
    /// still to be unlinked: `generation * 2 + due`.
    newest: Box<[AtomicU64]>,
    counts: Counts,
}

/// A script of ours.
#[derive(Debug)]
struct Source {
    text: &'static str,
    digest: String,
}

/// A part and the generation that was assumed for it.
struct Asked {
    part: Part,
    generation: u64,
}

// === impl Source ===

impl Source {
    fn new(text: &'static str) -> Self {
        let digest = Script::new(text).get_hash().to_owned();
        Self { text, digest }
    }

    /// A call of the script with `keys`; arguments are to follow.
    fn call(&self, scripts: Scripts, keys: &[String], arguments: usize, bytes: usize) -> Cmd {
        let text = keys.iter().map(String::len).sum::<usize>() + bytes + 128;
        let mut call = Cmd::with_capacity(3 + keys.len() + arguments, text);
        match scripts {
            Scripts::Known => call.arg("EVALSHA").arg(&self.digest),
            Scripts::Whole => call.arg("EVAL").arg(self.text),
        };
        call.arg(keys.len());
        for key in keys {
            call.arg(key);
        }
        call
    }
}

// === impl Buckets ===

impl Buckets {
    pub(super) fn new(held: Held, settings: &DedupeSettings) -> Self {
        let shards = held.names.shards();
        Self {
            held,
            generations: Generations::new(settings.window),
            window: settings.window,
            lease: settings.lease,
            claim: Source::new(include_str!("buckets/claim.lua")),
            hold: Source::new(include_str!("buckets/hold.lua")),
            newest: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            counts: Counts::default(),
        }
    }

    /// Sends the commands that `command` makes for each part of the subjects at `places`, each
    /// part with the generation that holds now as far as this process can tell.
    async fn ask(
        &self,
        subjects: &[Subject],
        places: &[usize],
        commands: impl Fn(&Connected, Scripts, &Asked) -> Vec<Cmd> + Send + Sync,
    ) -> Result<Vec<(Asked, Vec<Value>)>, StoreError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let make = |connected: &Connected, scripts| {
            let asked = self.assumed(subjects, places.iter().copied(), connected.parts);
            let requests = asked.iter().map(|asked| {
                let shard = asked.part.shard;
                let mut commands = commands(connected, scripts, asked);
                commands.extend(self.sweep(shard, connected.parts));
                Request::of_shard(&self.held.names, shard, commands)
            });
            (requests.collect(), asked)
        };
        let (answers, asked) = self.held.send(make).await?;
        Ok(asked.into_iter().zip(answers).collect())
    }

    /// The parts of the subjects at `places`, each with the generation that holds now as far as
    /// this process can tell.
    fn assumed(
        &self,
        subjects: &[Subject],
        places: impl Iterator<Item = usize>,
        parts: u16,
    ) -> Vec<Asked> {
        let parts = plan(subjects, places, parts).into_iter();
        let asked = parts.map(|part| {
            let generation = self.generations.of(self.held.clocks.now(part.shard));
            Asked { part, generation }
        });
        asked.collect()
    }

    /// The commands of `step`, for somebody who sends them without the store.
    pub(super) fn commands(&self, step: Step, subjects: &[Subject], parts: u16) -> Vec<Cmd> {
        let asked = self.assumed(subjects, 0..subjects.len(), parts);
        let of_part = |asked: &Asked| match step {
            Step::Lookup => self.look_commands(subjects, parts, asked),
            Step::Claim(token) => {
                vec![self.claim_command(token, subjects, parts, Scripts::Known, asked)]
            }
            Step::Complete => marks::timed(self.done_commands(subjects, parts, asked)),
        };
        asked.iter().flat_map(of_part).collect()
    }

    /// What unlinks the hashes of `shard` that can be seen no more, once a generation.
    fn sweep(&self, shard: u32, parts: u16) -> Option<Cmd> {
        let newest = self.newest(shard);
        let due = newest.fetch_and(!1, Ordering::Relaxed);
        if due & 1 == 0 {
            return None;
        }
        let ended = (due / 2).checked_sub(2)?;
        let mut unlink = Cmd::new();
        unlink.arg("UNLINK");
        for part in 0..parts.min(256) {
            let part = u8::try_from(part).unwrap_or(0);
            unlink.arg(self.held.names.bucket(shard, ended, part, parts));
        }
        Some(unlink)
    }

    fn newest(&self, shard: u32) -> &AtomicU64 {
        let at = usize::try_from(shard).unwrap_or(0);
        self.newest.get(at).unwrap_or(&self.newest[0])
    }

    /// The generation of `time`, which the server of `shard` told.
    fn told(&self, shard: u32, time: u64) -> u64 {
        self.held.clocks.told(shard, time);
        let generation = self.generations.of(time);
        let seen = generation.saturating_mul(2).saturating_add(1);
        let newest = self.newest(shard);
        if newest.load(Ordering::Relaxed) / 2 < generation {
            newest.fetch_max(seen, Ordering::Relaxed);
        }
        generation
    }

    /// The keys of the generations g-2 to g+1, for each group of a part.
    fn keys_around(&self, asked: &Asked, parts: u16) -> Vec<String> {
        let shard = asked.part.shard;
        let first = asked.generation.saturating_sub(2);
        let of_group = |sub: u8| {
            let name = move |n: u64| self.held.names.bucket(shard, first + n, sub, parts);
            (0..4).map(name)
        };
        let groups = asked.part.groups.iter();
        groups.flat_map(|group| of_group(group.sub)).collect()
    }

    fn fault(&self, fault: Fault) -> StoreError {
        self.held.error(fault)
    }

    fn restless(&self) -> StoreError {
        let text = "its clock was in another generation at each of several attempts";
        self.fault(Fault::new(Kind::Unable, text))
    }
}

/// Runs through the groups of a part: the sub-hash, and the places of its subjects.
fn groups(part: &Part) -> impl Iterator<Item = (u8, &[usize])> {
    let mut rest = part.places.as_slice();
    part.groups.iter().filter_map(move |group| {
        let (places, after) = rest.split_at_checked(group.len)?;
        rest = after;
        Some((group.sub, places))
    })
}

/// The subjects at `places`.
fn at<'a>(subjects: &'a [Subject], places: &'a [usize]) -> impl Iterator<Item = &'a Subject> {
    places.iter().filter_map(|place| subjects.get(*place))
}

/// The ids and the fingerprints of the subjects at `places`, one after the other.
fn blobs(subjects: &[Subject], places: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let mut ids = Vec::with_capacity(places.len() * 16);
    let mut prints = Vec::with_capacity(places.len() * 8);
    for subject in at(subjects, places) {
        ids.extend_from_slice(&subject.id.0);
        prints.extend_from_slice(&subject.fingerprint.0.to_be_bytes());
    }
    (ids, prints)
}

#[async_trait]
impl DedupeStore for Buckets {
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError> {
        let found = self.look(subjects).await?;
        let lookups = found.into_iter().zip(subjects);
        let lookups: Vec<Lookup> = lookups.map(|(found, s)| Lookup::of(found, s)).collect();
        self.counts.looked_up(subjects, &lookups);
        Ok(lookups)
    }

    async fn inspect(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError> {
        self.look(subjects).await
    }

    async fn claim(&self, token: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError> {
        let claims = claim_all(subjects, |places| {
            self.claim_firsts(token, subjects, places)
        })
        .await?;
        self.counts.claimed(subjects, &claims);
        Ok(claims)
    }

    async fn complete(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.write(subjects, |connected, asked| {
            self.done_commands(subjects, connected.parts, asked)
        })
        .await?;
        self.counts.marked(subjects.len());
        Ok(())
    }

    async fn release(&self, token: Token, subjects: &[Subject]) -> Result<(), StoreError> {
        self.hold(Hold::Release(token), subjects).await?;
        Ok(())
    }

    async fn renew(&self, token: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError> {
        let renewed = self.hold(Hold::Renew(token), subjects).await?;
        self.counts.renewed(&renewed);
        Ok(renewed)
    }

    async fn dead_letter(
        &self,
        token: Option<Token>,
        subjects: &[Subject],
    ) -> Result<(), StoreError> {
        let marked = self.hold(Hold::DeadLetter(token), subjects).await?;
        self.counts
            .marked(marked.iter().filter(|marked| **marked).count());
        Ok(())
    }

    async fn reopen(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        // Only the script knows what stands there when it takes it away; which of the marks are
        // earlier is read here, where their form is known, and cannot change but to a later one.
        let found = self.look(subjects).await?;
        let dead = |(found, subject): (Option<Found>, &Subject)| match found?.state {
            FoundState::DeadLettered { position } if found?.is_reopened_by(subject) => {
                Some(Subject {
                    position,
                    ..*subject
                })
            }
            _ => None,
        };
        let marks: Vec<Subject> = found.into_iter().zip(subjects).filter_map(dead).collect();
        self.hold(Hold::Reopen, &marks).await?;
        Ok(())
    }

    async fn forget(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        self.write(subjects, |connected, asked| {
            self.forget_commands(subjects, connected.parts, asked)
        })
        .await
    }

    async fn stats(&self) -> Result<Stats, StoreError> {
        self.ready().await?;
        let make = |connected: &Connected, _| {
            let names = &self.held.names;
            let of_shard = |shard| {
                let newest = self.generations.of(self.held.clocks.now(shard));
                let mut commands = Vec::new();
                for generation in [newest, newest.saturating_sub(1)] {
                    for part in 0..connected.parts.min(256) {
                        let part = u8::try_from(part).unwrap_or(0);
                        let key = names.bucket(shard, generation, part, connected.parts);
                        let mut len = redis::cmd("HLEN");
                        len.arg(key);
                        commands.push(len);
                    }
                }
                Request::of_shard(names, shard, commands)
            };
            ((0..names.shards()).map(of_shard).collect(), ())
        };
        let (answers, ()) = self.held.send(make).await?;
        let entries = answers.iter().flatten().map(|answer| match answer {
            Value::Int(len) => u64::try_from(*len).unwrap_or(0),
            _ => 0,
        });
        let entries = entries.sum::<u64>();
        let mut stats = Stats {
            entries,
            bytes: entries.saturating_mul(ID_BYTES),
            window: self.window,
            memory_losses: self.held.losses(),
            ..Stats::default()
        };
        self.counts.fill(&mut stats);
        Ok(stats)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.held.ready().await
    }

    /// The hash of now and the one before, and the field as redis-cli takes it in double quotes.
    fn place_of(&self, subject: &Subject) -> Option<String> {
        let generation = self.generations.of(self.held.clocks.now(subject.shard));
        let parts = self.held.parts();
        let places = plan(std::slice::from_ref(subject), std::iter::once(0), parts);
        let sub = places.first()?.groups.first()?.sub;
        let names = &self.held.names;
        let key = |generation| names.bucket(subject.shard, generation, sub, parts);
        let (now, before) = (key(generation), key(generation.saturating_sub(1)));
        let field = subject.id.0.iter().map(|byte| format!("\\x{byte:02x}"));
        let field = field.collect::<String>();
        Some(format!("{now} or {before}, field \"{field}\""))
    }

    fn health(&self) -> Health {
        self.held.health()
    }

    fn patience(&self) -> Duration {
        self.held.patience()
    }
}
