//! The dedupe store: what a destination's consumers know of ids, across restarts, moves of
//! partitions and replicas.
//!
//! In: batches of [`Subject`]s. Out: one answer for each. Promises: the laws of [`DedupeStore`].

use crate::claim::{Claim, Found, Lookup, Subject, Token};
use async_trait::async_trait;
use std::fmt::Debug;
use std::time::Duration;

/// What the consumers of **one** destination know of ids.
///
/// An id is in one of four states, which only ever grow, until the window or the size limit makes
/// it unknown again: *unknown* < *in progress* (P: a token and a deadline) < *dead-lettered* (X) <
/// *done* (D). Every call takes a batch and costs one round trip. No loss depends on a store: it
/// may forget everything at any moment, and only duplicates come of it.
///
/// # Laws
/// Each has a conformance test of its name, which every store passes.
///
/// 1. `one_answer_per_subject_in_order`: answers stand as the subjects do. An id that stands
///    twice in a call is treated as if its subjects came in two calls, one after the other.
/// 2. `lookup_changes_nothing`, nor does `inspect`, which tells of each id what a look-up would.
/// 3. `an_unknown_id_is_granted_to_one`: of all claims of an unknown id one is granted; the
///    others are busy while its lease runs, and told for how long at most.
/// 4. `my_own_claim_is_mine_again`: a claim repeated with the same token is mine, and its lease
///    begins anew. So every call is safe to repeat after a lost answer.
/// 5. `an_ended_lease_is_taken_over`: by whoever claims next, and not before it has ended (a store
///    that an ended lease leaves nothing in answers granted). While it runs, a store never forgets
///    it, however full it is. A look-up does not see an ended one.
/// 6. `an_earlier_start_of_my_instance_is_taken_over_at_once`, by [`Token::succeeds`].
/// 7. `done_absorbs`: `complete` makes done of every state, needs no token and no claim, may be
///    repeated, and nothing but [`forget`](Self::forget), window and size undoes it: neither
///    `release`, `renew` nor `dead_letter`. It states a fact (the effect exists), so a late one is
///    as true as an early one. The mark keeps the position of its subject.
/// 8. `only_the_holder_releases`: `release` makes unknown what this token holds in progress, and
///    touches nothing else.
/// 9. `only_the_holder_renews`: `renew` lets the lease begin anew and answers `true` where this
///    token still holds it; else `false`, and the record must be claimed again before a write.
/// 10. `dead_letter_marks_all_but_done`: X over unknown and over what this token holds; with no
///     token (nothing was claimed) also over what anybody holds; never over D. What another token
///     holds stays: its holder's outcome decides.
/// 11. `another_fingerprint_is_a_conflict` in every state but unknown, and changes nothing.
/// 12. `marks_are_kept_for_the_window`: D and X are remembered for at least the window from their
///     marking (a size limit may shorten it, and then [`Stats`] says so), and not for ever.
/// 13. `forgotten_ids_are_unknown`: after `forget`, whatever they were.
/// 14. `only_an_earlier_dead_letter_is_reopened`: `reopen` makes unknown what is dead-lettered with
///     the same fingerprint from an earlier place ([`Found::is_reopened_by`]), so that a record
///     that was redriven can be claimed. It touches nothing else: not its own dead letter, not a
///     later one, not what somebody holds, nothing done.
///
/// An `Err` leaves open what the call has done; repeat it, or go on as if the store knew nothing.
/// Dropping a call's future is the same. Marks of a call that answered `Ok` hold from then on.
#[async_trait]
pub trait DedupeStore: Debug + Send + Sync {
    /// What is known of each subject.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be asked.
    async fn lookup(&self, subjects: &[Subject]) -> Result<Vec<Lookup>, StoreError>;

    /// What stands under each subject's id, whatever its content, and where a look-up would find
    /// nothing, `None`. For those who look on: it changes nothing, and counts in no statistics.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be asked.
    async fn inspect(&self, subjects: &[Subject]) -> Result<Vec<Option<Found>>, StoreError>;

    /// Claims each subject for `token`, for one lease from now.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be asked or has no room left but for what is held.
    async fn claim(&self, token: Token, subjects: &[Subject]) -> Result<Vec<Claim>, StoreError>;

    /// Marks each subject done. Call it only after the destination has confirmed the effect.
    ///
    /// # Errors
    /// [`StoreError`], when the marks may not hold.
    async fn complete(&self, subjects: &[Subject]) -> Result<(), StoreError>;

    /// Gives up what `token` holds of the subjects.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be told; the leases end by themselves then.
    async fn release(&self, token: Token, subjects: &[Subject]) -> Result<(), StoreError>;

    /// Lets the leases that `token` holds on the subjects begin anew: `true` where it did.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be told; the leases run on as they were.
    async fn renew(&self, token: Token, subjects: &[Subject]) -> Result<Vec<bool>, StoreError>;

    /// Marks each subject dead-lettered. Call it only after the dead-letter topic has it, and
    /// never for an id conflict: that id belongs to another record.
    ///
    /// # Errors
    /// [`StoreError`], when the marks may not hold.
    async fn dead_letter(
        &self,
        token: Option<Token>,
        subjects: &[Subject],
    ) -> Result<(), StoreError>;

    /// Makes each subject unknown that lies in the dead-letter topic from an earlier place with the
    /// same content. For a record that was redriven, before it is claimed; repeat it at will.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be told.
    async fn reopen(&self, subjects: &[Subject]) -> Result<(), StoreError>;

    /// Makes each subject unknown, whatever is known of it. For operators, not for the walk.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be told.
    async fn forget(&self, subjects: &[Subject]) -> Result<(), StoreError>;

    /// What the store holds and has done since it was opened.
    ///
    /// # Errors
    /// [`StoreError`], when the store cannot be asked.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Whether the store can be asked and fits the settings. Calls ask this themselves; a start
    /// asks it first, to say at once what would be refused for ever.
    ///
    /// # Errors
    /// [`StoreError`]: what a call would say now.
    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How long a caller waits for an answer: longer than the store itself takes for one, so that
    /// the store ends a call that hangs, and knows of it.
    fn patience(&self) -> Duration {
        Duration::from_secs(3)
    }

    /// Where the store keeps `subject`, for somebody who looks with the store's own tools; `None`
    /// where there are none. Asks nobody.
    fn place_of(&self, subject: &Subject) -> Option<String> {
        let _of_all = subject;
        None
    }

    /// What befell the store since it was opened. Asks nobody, so it may be read before each call.
    fn health(&self) -> Health {
        Health::default()
    }
}

/// What befell a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// How often it was found to have forgotten what it was told. Whenever this grows, holders
    /// of forgotten leases may still be writing: a destination that recognises no duplicate
    /// waits for one lease before it claims again.
    pub memory_losses: u64,
}

/// What a store holds, and what it has done since this process opened it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Ids it knows something of (ended marks may count until the next clean-up; an id may count
    /// twice while a new generation of a shared store begins). 0 where counting would take a walk
    /// through all of them.
    pub entries: u64,
    /// Of these, the ids in progress; 0 where a shared store does not tell them apart.
    pub in_progress: u64,
    /// Memory that the entries take, in bytes: an upper estimate.
    pub bytes: u64,
    /// Most entries it may hold; `None` where another system decides.
    pub max_entries: Option<u64>,
    /// For how long it is told to remember marks.
    pub window: Duration,
    /// Age of the oldest mark it holds, `None` without marks. Once the store has run for longer
    /// than `window`, a shorter one means that the size limit decides what it remembers.
    pub effective_window: Option<Duration>,
    /// Marks dropped before their window ended, because the store was full.
    pub evicted: u64,
    /// Marks dropped because their window had ended.
    pub expired: u64,
    /// How long the last clean-up took.
    pub last_cleanup: Option<Duration>,
    /// Ids asked by `lookup`.
    pub lookups: u64,
    /// Claims answered with a lease, by whatever way.
    pub granted: u64,
    /// Of these, the ones taken over from another holder.
    pub taken_over: u64,
    /// Claims answered busy.
    pub busy: u64,
    /// Look-ups and claims that met a mark at another position: the id was sent again.
    pub duplicates: u64,
    /// Look-ups and claims that met a mark at their own position: the log was read again.
    pub redeliveries: u64,
    /// Look-ups and claims that met another fingerprint.
    pub conflicts: u64,
    /// Leases renewed.
    pub renewed: u64,
    /// Marks set, done and dead-lettered.
    pub marked: u64,
    /// As [`Health::memory_losses`].
    pub memory_losses: u64,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not now; the same call may work later.
    #[error("dedupe store {store} is unavailable: {reason}")]
    Unavailable {
        /// Which store, without credentials.
        store: String,
        /// What it said.
        reason: String,
    },
    /// Not like this: repeating it does not help, somebody has to change something.
    #[error("dedupe store {store} refuses: {reason}")]
    Refused {
        /// Which store, without credentials.
        store: String,
        /// What it said.
        reason: String,
    },
    /// Not with these settings: it is laid out for others, or would drop ids. Nobody should go on
    /// without it as if it were away.
    #[error("dedupe store {store} does not fit: {reason}")]
    Unfit {
        /// Which store, without credentials.
        store: String,
        /// What does not fit, and the way out.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may work later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } | Self::Unfit { .. } => false,
        }
    }
}
