//! What a group has committed, asked again and again.
//!
//! In: a group. Out: its offsets in the data topic. Promises: joins no group and commits nothing;
//! one client, made with the first question and kept; one request at a time.

use crate::KafkaError;
use crate::client::{self, QuietContext, blocking};
use crate::settings::KafkaSettings;
use crate::trouble::explained;
use parking_lot::Mutex;
use rdkafka::consumer::BaseConsumer;
use std::fmt;
use std::sync::Arc;

/// Asks what one group has committed.
pub struct GroupCommits {
    settings: KafkaSettings,
    group: String,
    client: Mutex<Option<Client>>,
    /// Held by the question that runs, also when nobody waits for its answer any more.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// For each partition of the data topic that keys go to, from 0: the next offset that a group reads
/// after a restart. Everything below it is settled. `None` before its first commit there.
pub type CommittedOffsets = Vec<Option<i64>>;

type Client = Arc<BaseConsumer<QuietContext>>;

// === impl GroupCommits ===

impl GroupCommits {
    /// For the group `group`. Asks nothing yet.
    #[must_use]
    pub fn new(settings: &KafkaSettings, group: &str) -> Self {
        Self {
            settings: settings.clone(),
            group: group.to_owned(),
            client: Mutex::new(None),
            turn: Arc::default(),
        }
    }

    /// Asks the group.
    ///
    /// # Errors
    /// [`KafkaError::Unavailable`] after about 10 s, or 20 s where another question still runs;
    /// [`KafkaError::Settings`], [`KafkaError::Client`].
    pub async fn ask(&self) -> Result<CommittedOffsets, KafkaError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (client, settings) = (self.client()?, self.settings.clone());
        let asked = move || {
            let _turn = turn;
            let partitions = i32::try_from(settings.partitions).unwrap_or(i32::MAX);
            let partitions: Vec<i32> = (0..partitions).collect();
            let committed = client::committed(&client, &settings, &partitions)
                .map_err(|error| explained(&settings, error))?;
            let of = |partition| committed.get(partition).map(|at| at.offset);
            Ok(partitions.iter().map(of).collect())
        };
        blocking("client", asked).await
    }

    fn client(&self) -> Result<Client, KafkaError> {
        let mut held = self.client.lock();
        if let Some(client) = &*held {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(client::asker(&self.settings, &self.group)?);
        *held = Some(Arc::clone(&client));
        Ok(client)
    }
}

impl fmt::Debug for GroupCommits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupCommits").field(&self.group).finish()
    }
}
