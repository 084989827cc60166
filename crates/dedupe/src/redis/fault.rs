//! What went wrong with Redis, and what to do about it.
//!
//! In: an error of the client or an answer of the server. Out: a [`Fault`]: retryable or not,
//! and whether the connection is of further use. Promises: every sentence names what was said
//! and holds no credentials (neither the client nor the server repeats them).

use crate::store::StoreError;
use redis::{ErrorKind, RedisError, Value};

/// Why a call got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection has ended, or leads to the wrong server: connect anew and repeat at once.
    Lost,
    /// No answer in time; the connection may be dead. What was sent may have been done.
    Late,
    /// The server is there and cannot serve now.
    Unable,
    /// Somebody has to change something. A new connection is tried next time.
    Refused,
    /// The same, and what has to be changed are the settings, here or there: it is laid out for
    /// others, or would drop ids.
    Unfit,
    /// The server does not know the script of that digest: send it whole.
    NoScript,
}

// === impl Fault ===

impl Fault {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { kind, reason }
    }

    /// An answer that no Redis should give.
    pub(super) fn unreadable(what: &str) -> Self {
        let reason = format!("{what} is not what this version of the program writes");
        Self::new(Kind::Refused, reason)
    }

    /// The first error among `answers`.
    pub(super) fn among(answers: &[Value]) -> Option<Self> {
        let error = answers.iter().find_map(|answer| match answer {
            Value::ServerError(error) => Some(error),
            _ => None,
        })?;
        let details = error.details().unwrap_or_default();
        Some(Self::said(error.code(), details))
    }

    /// The server said the error `code`, and `details`.
    fn said(code: &str, details: &str) -> Self {
        let kind = match code {
            "NOSCRIPT" => Kind::NoScript,
            // Not the master, or not the master of this slot, any more.
            "READONLY" | "MOVED" | "ASK" | "CLUSTERDOWN" | "MASTERDOWN" | "UNBLOCKED" => Kind::Lost,
            "LOADING" | "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "TRYAGAIN" | "EXECABORT" => {
                Kind::Unable
            }
            _ if details.contains("max number of clients") => Kind::Unable,
            _ => Kind::Refused,
        };
        let hint = match code {
            "OOM" => {
                "; raise maxmemory, shorten dedupe.window, or wait until marks end: the dedupe \
                 store must not evict"
            }
            "NOPERM" => "; docs/dedupe-redis.md has the rights that are needed",
            "ERR" if details.contains("syntax error") => {
                "; Redis 7.0 or later, or Valkey, is needed"
            }
            _ => "",
        };
        Self::new(kind, format!("{code} {details}{hint}"))
    }

    /// As a caller of the store hears it.
    pub(super) fn into_error(self, store: &str) -> StoreError {
        let (store, reason) = (store.to_owned(), self.reason);
        match self.kind {
            Kind::Refused => StoreError::Refused { store, reason },
            Kind::Unfit => StoreError::Unfit { store, reason },
            Kind::Lost | Kind::Late | Kind::Unable | Kind::NoScript => {
                StoreError::Unavailable { store, reason }
            }
        }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        // What the server said, alone, in a pipeline or about a part of a transaction.
        let said = error.clone().into_server_errors();
        if let Some((_, first)) = said.as_ref().and_then(|errors| errors.first()) {
            return Self::said(first.code(), first.details().unwrap_or_default());
        }
        let kind = match error.kind() {
            ErrorKind::Io if error.is_timeout() => Kind::Late,
            ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::RESP3NotSupported => Kind::Refused,
            _ if names_trust(&error.to_string()) => Kind::Refused,
            _ => Kind::Lost,
        };
        let reason = match kind {
            Kind::Late => {
                let text = "no answer in time (dedupe.redis_response_timeout, \
                            dedupe.redis_connect_timeout)";
                text.to_owned()
            }
            _ => error.to_string(),
        };
        Self::new(kind, reason)
    }
}

/// Whether `text` is about a password, rights or a certificate. By its words, since the client
/// wraps what one of several servers said, and what TLS says, in an error of another kind.
pub(super) fn names_trust(text: &str) -> bool {
    let words = [
        "AuthenticationFailed",
        "WRONGPASS",
        "NOAUTH",
        "NOPERM",
        "ertificate",
    ];
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_decides_what_is_done() {
        let kind = |code, details| Fault::said(code, details).kind;
        assert_eq!(
            kind("READONLY", "You can't write against a read only replica."),
            Kind::Lost
        );
        assert_eq!(
            kind("OOM", "command not allowed when used memory > 'maxmemory'."),
            Kind::Unable
        );
        assert_eq!(kind("NOAUTH", "Authentication required."), Kind::Refused);
        assert_eq!(kind("WRONGTYPE", "Operation against a key"), Kind::Refused);
        assert_eq!(kind("ERR", "max number of clients reached"), Kind::Unable);
        assert_eq!(kind("NOSCRIPT", "No matching script."), Kind::NoScript);
        let text = Fault::said("OOM", "x")
            .into_error("redis://h:1/0 of aws")
            .to_string();
        assert!(
            text.starts_with(
                "dedupe store redis://h:1/0 of aws is unavailable: OOM x; raise maxmemory"
            ),
            "{text}"
        );
    }
}
