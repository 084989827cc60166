//! What a field of a bucket holds.
//!
//! In: what is known of an id. Out: its bytes, and back. Promises: what is written is read again;
//! two answers about one id join to the later state: unknown < in progress < dead-lettered < done.
//!
//! ```text
//! P <fingerprint, 8> <token, 8> <deadline in ms of Redis' clock, decimal>   in progress
//! D <fingerprint, 8> <partition, LEB128> <offset, big-endian, trimmed>      done
//! X <fingerprint, 8> <partition, LEB128> <offset, big-endian, trimmed>      dead-lettered
//! ```

use crate::claim::{Claim, Found, FoundState, LogPosition, Subject, Token};
use cloudsync::identity::Fingerprint;
use std::time::Duration;

pub(super) const HELD: u8 = b'P';
pub(super) const DONE: u8 = b'D';
pub(super) const DEAD: u8 = b'X';

/// What a store knows of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) fingerprint: Fingerprint,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Until `deadline`, in milliseconds of Redis' clock.
    Held {
        token: Token,
        deadline: u64,
    },
    Dead {
        position: LogPosition,
    },
    Done {
        position: LogPosition,
    },
}

/// A mark's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

// === impl Mark ===

impl Mark {
    /// Kind, fingerprint, 5 bytes of partition, 8 of offset.
    const LONGEST: usize = 1 + 8 + 5 + 8;

    /// The mark `kind` ([`DONE`] or [`DEAD`]) of `subject`.
    pub(super) fn of(kind: u8, subject: &Subject) -> Self {
        let mut mark = Self {
            bytes: [0; Self::LONGEST],
            len: 0,
        };
        mark.push(kind);
        for byte in subject.fingerprint.0.to_be_bytes() {
            mark.push(byte);
        }
        let mut partition = subject.position.partition.cast_unsigned();
        while partition >= 0x80 {
            mark.push((partition & 0x7f) as u8 | 0x80);
            partition >>= 7;
        }
        mark.push((partition & 0x7f) as u8);
        let offset = subject.position.offset.cast_unsigned().to_be_bytes();
        for byte in offset.into_iter().skip_while(|byte| *byte == 0) {
            mark.push(byte);
        }
        mark
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }
}

// === impl Known ===

impl Known {
    /// Reads a field; `None` when it is none of ours.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (fingerprint, rest) = rest.split_first_chunk::<8>()?;
        let state = match *kind {
            HELD => {
                let (token, deadline) = rest.split_first_chunk::<8>()?;
                State::Held {
                    token: Token::from_bytes(*token),
                    deadline: std::str::from_utf8(deadline).ok()?.parse().ok()?,
                }
            }
            DONE => State::Done {
                position: read_position(rest)?,
            },
            DEAD => State::Dead {
                position: read_position(rest)?,
            },
            _ => return None,
        };
        Some(Self {
            fingerprint: Fingerprint(u64::from_be_bytes(*fingerprint)),
            state,
        })
    }

    /// Of two generations' answers the one that stands: the later state, else the newer.
    pub(super) fn join(newer: Option<Self>, older: Option<Self>) -> Option<Self> {
        match (newer, older) {
            (Some(newer), Some(older)) if older.rank() > newer.rank() => Some(older),
            (None, older) => older,
            (newer, _) => newer,
        }
    }

    /// Whether `subject`, which was redriven, makes it unknown.
    pub(super) fn is_reopened_by(&self, subject: &Subject) -> bool {
        match self.state {
            State::Dead { position } => {
                self.fingerprint == subject.fingerprint && subject.position.comes_after(position)
            }
            State::Held { .. } | State::Done { .. } => false,
        }
    }

    /// What stands there at `now`; `None` where a lease has ended.
    pub(super) fn found(&self, now: u64) -> Option<Found> {
        let state = match self.state {
            State::Held { deadline, .. } if deadline <= now => return None,
            State::Held { .. } => FoundState::InProgress,
            State::Done { position } => FoundState::Done { position },
            State::Dead { position } => FoundState::DeadLettered { position },
        };
        let fingerprint = self.fingerprint;
        Some(Found { fingerprint, state })
    }

    /// What a claim makes of it that was not granted at `now`.
    pub(super) fn refuse(&self, now: u64, subject: &Subject) -> Claim {
        match self.state {
            _ if self.fingerprint != subject.fingerprint => Claim::Conflict {
                stored: self.fingerprint,
            },
            State::Held { deadline, .. } => Claim::Busy {
                remaining: Duration::from_millis(deadline.saturating_sub(now).max(1)),
            },
            State::Done { position } => Claim::Done { position },
            State::Dead { position } => Claim::DeadLettered { position },
        }
    }

    /// Whether `token` holds it, ended or not.
    pub(super) fn is_held_by(&self, token: Token) -> bool {
        matches!(self.state, State::Held { token: holder, .. } if holder == token)
    }

    fn rank(&self) -> u8 {
        match self.state {
            State::Held { .. } => 0,
            State::Dead { .. } => 1,
            State::Done { .. } => 2,
        }
    }
}

fn read_position(bytes: &[u8]) -> Option<LogPosition> {
    let (mut partition, mut offset) = (0u32, 0u64);
    let ends = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    for byte in bytes.get(..=ends)?.iter().rev() {
        partition = (partition << 7) | u32::from(byte & 0x7f);
    }
    let rest = bytes.get(ends + 1..).filter(|rest| rest.len() <= 8)?;
    for byte in rest {
        offset = (offset << 8) | u64::from(*byte);
    }
    Some(LogPosition {
        partition: partition.cast_signed(),
        offset: offset.cast_signed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::identity::Id16;
    use proptest::prelude::*;

    fn known() -> impl Strategy<Value = Known> {
        let place = (any::<i32>(), any::<i64>());
        (any::<u64>(), 0u8..3, any::<[u8; 8]>(), place).prop_map(|(fp, kind, token, place)| {
            let (partition, offset) = place;
            let position = LogPosition { partition, offset };
            let (token, deadline) = (Token::from_bytes(token), offset.unsigned_abs());
            let state = match kind {
                0 => State::Held { token, deadline },
                1 => State::Dead { position },
                _ => State::Done { position },
            };
            let fingerprint = Fingerprint(fp);
            Known { fingerprint, state }
        })
    }

    proptest! {
        #[test]
        fn marks_are_read_again(fp: u64, partition: i32, offset: i64, done: bool) {
            let position = LogPosition { partition, offset };
            let fingerprint = Fingerprint(fp);
            let subject = Subject { id: Id16([0; 16]), fingerprint, shard: 0, position };
            let mark = Mark::of(if done { DONE } else { DEAD }, &subject);
            let state = if done { State::Done { position } } else { State::Dead { position } };
            prop_assert_eq!(Known::read(mark.bytes()), Some(Known { fingerprint, state }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Known::read(&bytes);
        }

        #[test]
        fn the_later_state_stands(a in prop::option::of(known()), b in prop::option::of(known()), c in prop::option::of(known())) {
            let join = Known::join;
            prop_assert_eq!(join(a, a), a);
            prop_assert_eq!(join(a, join(b, c)), join(join(a, b), c));
            let rank = |known: Option<Known>| known.map(|known| known.rank());
            prop_assert_eq!(rank(join(a, b)), rank(a).max(rank(b)));
        }
    }

    #[test]
    fn an_ordinary_mark_is_small() {
        let position = LogPosition {
            partition: 11,
            offset: 1_000_000_000,
        };
        let (id, fingerprint) = (Id16([0; 16]), Fingerprint(u64::MAX));
        let subject = Subject {
            id,
            fingerprint,
            shard: 0,
            position,
        };
        assert_eq!(Mark::of(DONE, &subject).bytes().len(), 14);
    }
}
