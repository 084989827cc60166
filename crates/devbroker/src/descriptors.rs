//! Open files: how many the process may have, and what clients may take of them.
//!
//! In: the settings. Out: how many connections and partitions there may be. It promises that a
//! part stays free for the reading of older segments and for the rest of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{BrokerConfig, Storage};

/// Partitions of all topics together, where there are files for them.
const MAX_ALL_PARTITIONS: usize = 4_000;
/// Files that an open partition holds: its last segment and its end.
const FILES_A_PARTITION: usize = 2;

/// What may be open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caps {
    pub(crate) connections: usize,
    pub(crate) partitions: usize,
}

impl Caps {
    /// Raises the limit of the process as far as it may be, and shares out what it comes to.
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        let limit = raise();
        let caps = Self::within(limit, config);
        if caps.connections < config.max_connections || caps.partitions < MAX_ALL_PARTITIONS {
            let Self {
                connections,
                partitions,
            } = caps;
            tracing::warn!(
                limit,
                connections,
                partitions,
                "few open files are allowed, and so only so many connections and partitions: raise `ulimit -n`"
            );
        }
        caps
    }

    /// A quarter stays free; of the rest connections get half at most, partitions what is left.
    fn within(limit: usize, config: &BrokerConfig) -> Self {
        let share = limit - limit / 4;
        let connections = config.max_connections.min(share / 2).max(1);
        let partitions = match &config.storage {
            Storage::Memory => MAX_ALL_PARTITIONS,
            Storage::Dir(_) | Storage::ReadOnly(_) => {
                (share.saturating_sub(connections) / FILES_A_PARTITION).clamp(1, MAX_ALL_PARTITIONS)
            }
        };
        Self {
            connections,
            partitions,
        }
    }
}

/// Sets the soft limit to the hard one; returns what it is then.
fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            limit.current
        }
    };
    now.map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_open_at_most_leaves_a_quarter() {
        let config = BrokerConfig {
            storage: Storage::Dir(PathBuf::new()),
            ..BrokerConfig::default()
        };
        let all = Caps {
            connections: 1_024,
            partitions: 4_000,
        };
        assert_eq!(Caps::within(usize::MAX, &config), all);
        assert_eq!(Caps::within(20_000, &config), all);
        for limit in [3, 64, 256, 1_024, 4_096, 10_000] {
            let caps = Caps::within(limit, &config);
            let open = caps.connections + FILES_A_PARTITION * caps.partitions;
            assert!(open <= (limit - limit / 4).max(3), "{limit}: {caps:?}");
        }
        let caps = Caps::within(1_024, &config);
        assert_eq!((caps.connections, caps.partitions), (384, 192));
        let memory = Caps::within(1_024, &BrokerConfig::default());
        assert_eq!(memory.partitions, 4_000);
    }
}
