//! What marks and commits together say about one record at one destination.
//!
//! In: the record's place and content, how far the group has committed, and what the dedupe store
//! has under its id. Out: a [`State`]. Promises: but for what stands below never wrong, whatever is
//! missing and however old the commit is, as long as it was read before the mark: it may only say
//! less.
//!
//! What it rests on: a commit covers what is settled and never moves back; a mark *done* or
//! *dead-lettered* states a fact and is set before the record's offset is committed, while the
//! store can be asked; what stands in the log before a record with the same key was judged before
//! it. So an older record's mark with another content, seen after the commit has passed this one,
//! is what this one was judged by.
//!
//! One thing no mark tells: that a record was settled while the store could not be asked, and its
//! own mark is not made yet, or never will be. If its id had been used for another content before,
//! that one's mark still stands, and the record is called a conflict although it was not judged by
//! it.

use cloudsync_dedupe::{Found, FoundState, LogPosition, Subject};

/// Where a record is on its way to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not settled, and nobody is known to write it.
    Pending,
    /// Not settled, and a consumer holds its id.
    InProgress,
    /// This record's effect is there.
    Delivered,
    /// Its effect is there, from the record at this place.
    Duplicate { of: LogPosition },
    /// It, or the same at another place, lies in the dead-letter topic.
    DeadLettered { at: LogPosition },
    /// It lies there because its id belongs to another content, of the record at this place.
    Conflict { with: LogPosition },
    /// Settled; more is not known.
    Settled,
}

// === impl State ===

impl State {
    /// Of `record`. `committed`: the next offset that the group reads of its partition, at some
    /// moment before the mark `found` was looked for.
    pub(super) fn of(record: &Subject, committed: Option<i64>, found: Option<Found>) -> Self {
        let here = record.position;
        let settled = committed.is_some_and(|next| here.offset < next);
        let is_mine = |found: &Found| found.fingerprint == record.fingerprint;
        match found {
            Some(mine) if is_mine(&mine) => match mine.state {
                FoundState::Done { position } if position == here => Self::Delivered,
                FoundState::DeadLettered { position } if position == here => {
                    Self::DeadLettered { at: position }
                }
                FoundState::InProgress if !settled => Self::InProgress,
                // What it will be judged by may be forgotten until then.
                _ if !settled => Self::Pending,
                FoundState::Done { position } if is_before(position, here) => {
                    Self::Duplicate { of: position }
                }
                FoundState::DeadLettered { position } if is_before(position, here) => {
                    Self::DeadLettered { at: position }
                }
                // Of the same at a later place, made when this one's own mark had ended.
                _ => Self::Settled,
            },
            Some(Found { state, .. }) if settled => match state {
                FoundState::Done { position } | FoundState::DeadLettered { position }
                    if is_before(position, here) =>
                {
                    Self::Conflict { with: position }
                }
                // Written after this one's own mark had ended.
                _ => Self::Settled,
            },
            None if settled => Self::Settled,
            _ => Self::Pending,
        }
    }

    /// Whether it stays so.
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }
}

fn is_before(position: LogPosition, here: LogPosition) -> bool {
    position.partition == here.partition && position.offset < here.offset
}

#[cfg(test)]
mod tests;
