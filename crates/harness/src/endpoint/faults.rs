//! What goes wrong at an endpoint, chosen by seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Something that goes wrong with one post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Its connection is ended before anything is read.
    Refuse,
    /// It is answered late, and well.
    Slow,
    /// 500, and nothing is done.
    Broken,
    /// 429 with `Retry-After: 0`, and nothing is done.
    Throttle,
    /// 503 with a date in `Retry-After`, and nothing is done.
    ThrottleByDate,
    /// 409, and nothing is done.
    InProgress,
    /// 422, and nothing is done.
    Unprocessable,
    /// Nothing is done, and nothing is answered.
    Hang,
    /// It is done, and nothing is answered.
    HangDone,
    /// Nothing is done, and the connection ends.
    Drop,
    /// It is done, and the connection ends.
    DropDone,
}

/// How often what goes wrong: shares of all posts (of all connections, for `Refuse`).
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Each fault with its share, from 0 to 1; together at most 1.
    pub shares: Vec<(Fault, f64)>,
}

/// Chooses.
#[derive(Debug)]
pub(super) struct Chooser {
    faults: Faults,
    seed: u64,
}

// === impl Faults ===

impl Faults {
    /// Every fault: those that pass with this share each, `Unprocessable`, which does not, with a
    /// tenth of it.
    #[must_use]
    pub fn all(share: f64) -> Self {
        let passing = [
            Fault::Refuse,
            Fault::Slow,
            Fault::Broken,
            Fault::Throttle,
            Fault::ThrottleByDate,
            Fault::InProgress,
            Fault::Hang,
            Fault::HangDone,
            Fault::Drop,
            Fault::DropDone,
        ];
        let passing = passing.into_iter().map(|fault| (fault, share));
        let last = (Fault::Unprocessable, share / 10.0);
        Self {
            shares: passing.chain([last]).collect(),
        }
    }
}

// === impl Chooser ===

impl Chooser {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, seed }
    }

    /// What befalls the post of `id` that comes after `before` others of it.
    pub(super) fn choose(&self, id: &str, before: u32) -> Option<Fault> {
        let of_posts = |(fault, _): &&(Fault, f64)| *fault != Fault::Refuse;
        self.roll(id, u64::from(before), of_posts)
    }

    /// Whether connection number `number` is refused.
    pub(super) fn refuses(&self, number: u64) -> bool {
        let of_connections = |(fault, _): &&(Fault, f64)| *fault == Fault::Refuse;
        self.roll("", number, of_connections).is_some()
    }

    fn roll(
        &self,
        name: &str,
        number: u64,
        among: impl Fn(&&(Fault, f64)) -> bool,
    ) -> Option<Fault> {
        let seed = xxh3_64_with_seed(name.as_bytes(), self.seed ^ number.rotate_left(32));
        let mut roll: f64 = StdRng::seed_from_u64(seed).random();
        for (fault, share) in self.faults.shares.iter().filter(among) {
            if roll < *share {
                return Some(*fault);
            }
            roll -= share;
        }
        None
    }
}
