//! What is asked of a dedupe store, and what it answers.
//!
//! In: a [`Subject`] for each record (which effect, which content, where in the log) and the
//! [`Token`] of the asking process. Out: one [`Lookup`] or [`Claim`] for each subject. What an
//! answer promises are the laws of [`DedupeStore`](crate::DedupeStore).

use cloudsync::identity::{Fingerprint, Id16};
use cloudsync::partition::murmur2;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// One record, as a store sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Which effect the record names. Alone it decides which entry of the store is meant.
    pub id: Id16,
    /// What the record says; another one under the same id is a conflict.
    pub fingerprint: Fingerprint,
    /// The part of the store that the id lies in, by [`shard_of`]. Equal for equal ids.
    pub shard: u32,
    /// Where in the log the record stands. Kept with a mark, so that a redelivery (the same
    /// position again) and a duplicate (another position) are told apart.
    pub position: LogPosition,
}

/// A place in the topic that a destination reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPosition {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// The shard of a record among `shards` (at least 1; 0 counts as 1): murmur2 of `partition_key`,
/// its key, else its request id. Partitions a multiple of `shards` keep each partition in one.
#[must_use]
pub fn shard_of(partition_key: &[u8], shards: u32) -> u32 {
    // The same positive half that decides the partition: only then does a partition lie in one.
    (murmur2(partition_key) & 0x7fff_ffff) % shards.max(1)
}

/// What is known of an id, without changing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing, or a lease that has ended.
    Unknown,
    /// Somebody holds a lease on it.
    InProgress,
    /// Its effect is at the destination.
    Done {
        /// Where in the log the record stands that made the effect.
        position: LogPosition,
    },
    /// It lies in the dead-letter topic.
    DeadLettered {
        /// Where in the log the record stands that was dead-lettered.
        position: LogPosition,
    },
    /// The id is known with another content, in whatever state.
    Conflict {
        /// The fingerprint under which it is known.
        stored: Fingerprint,
    },
}

/// What a store has under an id, whatever content somebody has in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The content under which the id is known.
    pub fingerprint: Fingerprint,
    /// What is known of it.
    pub state: FoundState,
}

/// The states of an id that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundState {
    /// Somebody holds a lease on it, which has not ended.
    InProgress,
    /// Its effect is at the destination.
    Done {
        /// Where in the log the record stands that made the effect.
        position: LogPosition,
    },
    /// It lies in the dead-letter topic.
    DeadLettered {
        /// Where in the log the record stands that was dead-lettered.
        position: LogPosition,
    },
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a claim that was granted is held until it is completed, released or its lease ends"]
pub enum Claim {
    /// It was unknown and is mine now: write.
    Granted(Lease),
    /// It was mine already (an answer was lost, or this is a retry); the lease begins anew: write.
    Mine(Lease),
    /// Its holder's lease has ended, or the holder was this instance before a restart; it is mine
    /// now: write, knowing that the effect may exist.
    TakenOver(Lease),
    /// Its effect is at the destination: settle as duplicate or redelivery.
    Done {
        /// Where in the log the record stands that made the effect.
        position: LogPosition,
    },
    /// It lies in the dead-letter topic: settle.
    DeadLettered {
        /// Where in the log the record stands that was dead-lettered.
        position: LogPosition,
    },
    /// The id is known with another content: dead-letter as `id_conflict`.
    Conflict {
        /// The fingerprint under which it is known.
        stored: Fingerprint,
    },
    /// Another holds it: park, and claim again. Never skip it, never settle it.
    Busy {
        /// How long its lease runs at most, if the holder does not renew it.
        remaining: Duration,
    },
}

/// A claim that was granted, with an end. It is no lock: it ends by itself, and whoever held it
/// may still be writing then. It saves work; the destination decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long it runs, counted by the store from when it answered.
    pub length: Duration,
}

/// Who holds a claim: one process, from its start to its end. 8 bytes in every store.
///
/// The first four name the instance, the others this start of it. A process with a configured
/// instance id takes over at once what an earlier start of it held; without one all bytes are
/// random, and nothing is taken before its lease has ended. The first bit tells the two apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; 8]);

const NAMED: u8 = 0x80;

// === impl LogPosition ===

impl LogPosition {
    /// Whether it lies behind `other`, or in another partition, where nothing tells which came
    /// first.
    #[must_use]
    pub fn comes_after(self, other: Self) -> bool {
        self.partition != other.partition || self.offset > other.offset
    }
}

// === impl Found ===

impl Found {
    /// Whether it is a dead letter from an earlier place than `subject`, with the same content.
    #[must_use]
    pub fn is_reopened_by(&self, subject: &Subject) -> bool {
        match self.state {
            FoundState::DeadLettered { position } => {
                self.fingerprint == subject.fingerprint && subject.position.comes_after(position)
            }
            FoundState::InProgress | FoundState::Done { .. } => false,
        }
    }
}

// === impl Lease ===

impl Lease {
    /// The last moment at which the holder may rely on it: counted from before the claim was
    /// sent, so a slow answer shortens the lease and never lengthens it.
    #[must_use]
    pub fn deadline(&self, before_sending: Instant) -> Instant {
        before_sending + self.length
    }
}

// === impl Lookup ===

impl Lookup {
    /// What `found` means for `subject`, under whose id it stands.
    #[must_use]
    pub fn of(found: Option<Found>, subject: &Subject) -> Self {
        let Some(found) = found else {
            return Self::Unknown;
        };
        match found.state {
            _ if found.fingerprint != subject.fingerprint => Self::Conflict {
                stored: found.fingerprint,
            },
            FoundState::InProgress => Self::InProgress,
            FoundState::Done { position } => Self::Done { position },
            FoundState::DeadLettered { position } => Self::DeadLettered { position },
        }
    }
}

// === impl Claim ===

impl Claim {
    /// The lease, if the id is mine to write now.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        match self {
            Self::Granted(lease) | Self::Mine(lease) | Self::TakenOver(lease) => Some(*lease),
            Self::Done { .. }
            | Self::DeadLettered { .. }
            | Self::Conflict { .. }
            | Self::Busy { .. } => None,
        }
    }
}

// === impl Token ===

impl Token {
    /// The token of a process that has no configured instance id.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes: [u8; 8] = rand::random();
        bytes[0] &= !NAMED;
        Self(bytes)
    }

    /// The token of a new start of the instance `instance_id`. At most one process of that name
    /// may run at a time; the log's static membership sees to it.
    #[must_use]
    pub fn of_instance(instance_id: &str) -> Self {
        let mut bytes: [u8; 8] = rand::random();
        bytes[..4].copy_from_slice(&murmur2(instance_id.as_bytes()).to_be_bytes());
        bytes[0] |= NAMED;
        Self(bytes)
    }

    /// Whether `holder` is an earlier start of this very instance, whose claims nobody pursues.
    #[must_use]
    pub fn succeeds(&self, holder: Self) -> bool {
        self.0[0] & NAMED != 0 && self.0[..4] == holder.0[..4] && self.0 != holder.0
    }

    /// As it lies in a store.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// From what lies in a store.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:016x})", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::partition::partition_of;

    #[test]
    fn only_a_later_start_of_the_same_instance_succeeds() {
        let (first, second) = (Token::of_instance("sync-1"), Token::of_instance("sync-1"));
        assert!(second.succeeds(first) && first.succeeds(second));
        assert!(!first.succeeds(first));
        assert!(!Token::of_instance("sync-2").succeeds(first));
        let anonymous = Token::random();
        assert!(!anonymous.succeeds(first) && !first.succeeds(anonymous));
        let mut twin = anonymous.to_bytes();
        twin[7] ^= 1;
        assert!(
            !Token::from_bytes(twin).succeeds(anonymous),
            "nothing of a random token is a name"
        );
    }

    #[test]
    fn a_partition_lies_in_one_shard() {
        for n in 0..1_000u32 {
            let key = n.to_string();
            let partition = partition_of(key.as_bytes(), 24).cast_unsigned();
            assert_eq!(partition % 12, shard_of(key.as_bytes(), 12));
        }
        assert_eq!(shard_of(b"key", 0), 0);
    }
}
