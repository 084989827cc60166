//! Faults in words that say what would do, where the loader does not know it: which words a setting
//! may be, what an address looks like, how a variable is spelt.

use super::{Key, Kind, keys};
use cloudsync_runtime::settings::{Fault, Origin, PREFIX};

/// What the loader says where an address is none.
const NO_ADDRESS: &str = "invalid socket address";

/// Puts each of `faults` into such words, where it is one of those.
pub(in crate::settings) fn in_plain_words(faults: &mut [Fault]) {
    for fault in faults {
        let named = keys().find(|key| key.is(&fault.key));
        match named.map(|key| key.kind) {
            Some(Kind::Choice(words)) => {
                if let Some((_, word)) = fault.reason.split_once("variant constructor ") {
                    fault.reason = format!("{word:?} is none of: {}", words.join(", "));
                }
            }
            Some(Kind::Address) if fault.reason.contains(NO_ADDRESS) => {
                fault.reason = "it must be an IP address and a port, such as 127.0.0.1:9000; a \
                                name such as localhost is not looked up"
                    .to_owned();
            }
            _ => {}
        }
        if let (None, Origin::Environment(name)) = (named, &fault.origin)
            && let Some(meant) = meant_by(name)
        {
            fault.reason = format!(
                "there is no such setting; two underscores stand between a section and its key: \
                 {meant}"
            );
        }
    }
}

/// The variable of a setting that somebody meant who joined its parts with one underscore.
fn meant_by(name: &str) -> Option<String> {
    let given = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let given = given.replace("__", "_");
    let parts = keys().find_map(|key| key.parts(&given))?;
    let meant = format!("{PREFIX}{}", parts.join("__").to_ascii_uppercase());
    (meant != name).then_some(meant)
}

// === impl Key ===

impl Key {
    /// Section, key and what lies between them, if `joined` is all of it with single underscores.
    fn parts(&self, joined: &str) -> Option<Vec<String>> {
        let plain = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
        let Some((before, behind)) = self.key.split_once(".*.") else {
            return (self.key.replace('.', "_") == joined).then(|| plain(self.key));
        };
        let name = joined.strip_prefix(before)?.strip_prefix('_')?;
        let name = name.strip_suffix(behind)?.strip_suffix('_')?;
        let named = !name.is_empty();
        named.then(|| vec![before.to_owned(), name.to_owned(), behind.to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_too_few_underscores_is_recognised() {
        for (given, meant) in [
            ("GATEWAY_LISTEN", "GATEWAY__LISTEN"),
            ("KAFKA_DLQ_TOPIC", "KAFKA__DLQ_TOPIC"),
            ("DESTINATIONS_AWS_URL", "DESTINATIONS__AWS__URL"),
            (
                "DESTINATIONS__AWS_FLUSH_BYTES",
                "DESTINATIONS__AWS__FLUSH_BYTES",
            ),
        ] {
            let found = meant_by(&format!("{PREFIX}{given}"));
            assert_eq!(found, Some(format!("{PREFIX}{meant}")));
        }
        for none in ["GATEWAY__LISTEN", "GATEWAY_LISTN", "DESTINATIONS__URL", "X"] {
            assert_eq!(meant_by(&format!("{PREFIX}{none}")), None, "{none}");
        }
    }
}
