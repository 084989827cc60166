//! What the key of an id holds in the layout `keys`, for people.
//!
//! In: what is known of an id. Out: a line of text, and back. Promises: what is written is read
//! again.
//!
//! ```text
//! locked token=8f3a5c0012ab34cd fp=00000000deadbeef        the lock; ends with its lease (PTTL)
//! done fp=00000000deadbeef at=7/81234                      the processed mark; ends with the window
//! dead-lettered fp=00000000deadbeef at=7/81234             the same, in the dead-letter topic
//! ```

use crate::claim::{LogPosition, Subject, Token};
use crate::redis::value::{Known, State};
use cloudsync::identity::Fingerprint;

/// The lock of `token` on `subject`.
pub(super) fn locked(token: Token, subject: &Subject) -> String {
    let token = u64::from_be_bytes(token.to_bytes());
    format!(
        "locked token={token:016x} fp={:016x}",
        subject.fingerprint.0
    )
}

/// The mark of `subject`, done or dead-lettered.
pub(super) fn marked(done: bool, subject: &Subject) -> String {
    let word = if done { "done" } else { "dead-lettered" };
    let LogPosition { partition, offset } = subject.position;
    format!(
        "{word} fp={:016x} at={partition}/{offset}",
        subject.fingerprint.0
    )
}

/// Reads the text of a key. Its lease is the key's own time to live, so no deadline stands here.
pub(super) fn read(text: &[u8]) -> Option<Known> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let kind = words.next()?;
    let mut word = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
    let hex = |digits: &str| {
        u64::from_str_radix(digits, 16)
            .ok()
            .filter(|_| digits.len() == 16)
    };
    let holder = match kind {
        "locked" => Some(Token::from_bytes(hex(word("token")?)?.to_be_bytes())),
        _ => None,
    };
    let fingerprint = Fingerprint(hex(word("fp")?)?);
    let state = match (kind, holder) {
        (_, Some(token)) => State::Held {
            token,
            deadline: u64::MAX,
        },
        ("done", _) => State::Done {
            position: position(word("at")?)?,
        },
        ("dead-lettered", _) => State::Dead {
            position: position(word("at")?)?,
        },
        _ => return None,
    };
    words
        .next()
        .is_none()
        .then_some(Known { fingerprint, state })
}

fn position(text: &str) -> Option<LogPosition> {
    let (partition, offset) = text.split_once('/')?;
    Some(LogPosition {
        partition: partition.parse().ok()?,
        offset: offset.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::identity::Id16;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(fp: u64, token: [u8; 8], partition: i32, offset: i64, done: bool) {
            let position = LogPosition { partition, offset };
            let (fingerprint, token) = (Fingerprint(fp), Token::from_bytes(token));
            let subject = Subject { id: Id16([0; 16]), fingerprint, shard: 0, position };
            let state = State::Held { token, deadline: u64::MAX };
            prop_assert_eq!(read(locked(token, &subject).as_bytes()), Some(Known { fingerprint, state }));
            let state = if done { State::Done { position } } else { State::Dead { position } };
            prop_assert_eq!(read(marked(done, &subject).as_bytes()), Some(Known { fingerprint, state }));
        }

        #[test]
        fn any_text_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&text);
        }
    }
}
