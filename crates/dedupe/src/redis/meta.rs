//! How a namespace is laid out, for everybody who uses it.
//!
//! In: the settings, and what stands under `<namespace>:meta`. Out: the number of parts of a
//! shard, or a refusal with the way out. Promises: two processes never use one namespace in
//! different layouts, windows, shards or parts, in which they would not find each other's ids.

use super::fault::{Fault, Kind};
use crate::settings::{DedupeSettings, Layout};
use std::fmt;

/// Most ids of one hash: above that, ending it stops the server for too long.
const IDS_OF_A_HASH: u64 = 1_000_000;
/// Parts of a shard: as many as a byte of an id tells apart.
const MAX_PARTS: u16 = 256;

/// What the meta says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    layout: Layout,
    /// In milliseconds.
    window: u64,
    shards: u32,
    /// Hashes of a shard and generation.
    parts: u16,
}

// === impl Meta ===

impl Meta {
    pub(super) fn of(settings: &DedupeSettings) -> Self {
        let of_a_part = IDS_OF_A_HASH * u64::from(settings.shards.max(1));
        let parts = match settings.layout {
            Layout::Buckets => settings.redis_expected_ids.div_ceil(of_a_part).max(1),
            Layout::Keys => 1,
        };
        Self {
            layout: settings.layout,
            window: u64::try_from(settings.window.as_millis()).unwrap_or(u64::MAX),
            shards: settings.shards,
            parts: u16::try_from(parts).unwrap_or(MAX_PARTS).min(MAX_PARTS),
        }
    }

    /// Hashes of a shard and generation.
    pub(super) fn parts(&self) -> u16 {
        self.parts
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        if word("format")? != "1" {
            return None;
        }
        let meta = Self {
            layout: match word("layout")? {
                "buckets" => Layout::Buckets,
                "keys" => Layout::Keys,
                _ => return None,
            },
            window: word("window_ms")?.parse().ok()?,
            shards: word("shards")?.parse().ok()?,
            parts: word("parts")?.parse().ok()?,
        };
        let sound = (1..=MAX_PARTS).contains(&meta.parts) && words.next().is_none();
        sound.then_some(meta)
    }

    /// How many parts a shard has, where `found` stands under the name `key`, or nothing did.
    ///
    /// Nobody follows another's number of parts: after a wipe the first to come writes its own,
    /// and until the others had noticed two of them could hold one id.
    ///
    /// # Errors
    /// [`Kind::Unfit`], when the namespace is laid out for other settings.
    pub(super) fn agree(&self, key: &str, found: Option<&[u8]>) -> Result<u16, Fault> {
        let Some(found) = found else {
            return Ok(self.parts);
        };
        let text = String::from_utf8_lossy(found);
        if Self::read(&text) == Some(*self) {
            return Ok(self.parts);
        }
        Err(Fault::new(
            Kind::Unfit,
            format!(
                "its key {key} says {text:?}, the settings say \"{self}\"; set dedupe.layout, \
                 window, shards and redis_expected_ids (which decides the parts) as they were, or \
                 let every destination drain (lag 0) and set another dedupe.namespace"
            ),
        ))
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = match self.layout {
            Layout::Buckets => "buckets",
            Layout::Keys => "keys",
        };
        write!(
            f,
            "format=1 layout={layout} window_ms={} shards={} parts={}",
            self.window, self.shards, self.parts
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_agreed_with(window: u64, shards: u32, parts in 1u16..=256, keys: bool) {
            let layout = if keys { Layout::Keys } else { Layout::Buckets };
            let meta = Meta { layout, window, shards, parts };
            prop_assert_eq!(Meta::read(&meta.to_string()), Some(meta));
            prop_assert_eq!(meta.agree("k", Some(meta.to_string().as_bytes())), Ok(parts));
            let other = Meta { parts: parts % 256 + 1, ..meta };
            prop_assert!(other.agree("k", Some(meta.to_string().as_bytes())).is_err());
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = Meta::read(&text);
        }
    }

    #[test]
    fn many_ids_are_cut_into_parts_and_others_are_refused() {
        let mut settings = DedupeSettings::default();
        assert_eq!(Meta::of(&settings).parts, 1);
        settings.redis_expected_ids = 36_000_000;
        let mine = Meta::of(&settings);
        assert_eq!(mine.parts, 3);
        settings.redis_expected_ids = u64::MAX;
        assert_eq!(Meta::of(&settings).parts, 256);
        settings.shards = 6;
        let other = Meta::of(&settings).to_string();
        let fault = mine.agree("cs1:meta", Some(other.as_bytes())).unwrap_err();
        assert_eq!(fault.kind, Kind::Unfit);
        assert!(
            fault.reason.contains("dedupe.namespace"),
            "{}",
            fault.reason
        );
    }
}
