//! The numbers that a process tells at `/metrics`, and in its statistics.

use crate::program::http_get;
use anyhow::ensure;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Numbers by the name of their metric; those of one name are added up over their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(BTreeMap<String, u64>);

// === impl Numbers ===

impl Numbers {
    /// Asks the admin endpoint at `address`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn of(address: SocketAddr) -> anyhow::Result<Self> {
        let (status, text) = http_get(address, "/metrics").await?;
        ensure!(status == 200, "{address}/metrics answers {status}");
        let mut numbers = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, number)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = name.split('{').next().unwrap_or_default();
            if let Ok(number) = number.parse::<u64>() {
                *numbers.entry(name.to_owned()).or_default() += number;
            }
        }
        Ok(Self(numbers))
    }

    /// The number `cloudsync_consumer_<what>_total`.
    #[must_use]
    pub fn consumer(&self, what: &str) -> u64 {
        let name = format!("cloudsync_consumer_{what}_total");
        self.0.get(&name).copied().unwrap_or_default()
    }

    /// The number `name`, as it stands at `/metrics`; 0 where there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Records that a gateway acknowledged without a second place in the log; none where it has
    /// no such number.
    #[must_use]
    pub fn gateway_duplicates(&self) -> u64 {
        let gateway = self.0.iter().filter(|(name, _)| {
            name.starts_with("cloudsync_gateway_records_duplicate") && name.ends_with("_total")
        });
        gateway.map(|(_, number)| *number).sum()
    }

    /// Adds what another process tells.
    pub fn add(&mut self, other: &Self) {
        for (name, number) in &other.0 {
            *self.0.entry(name.clone()).or_default() += number;
        }
    }
}
