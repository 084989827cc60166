//! A connection that calls share.
//!
//! In: the commands of each shard. Out: their answers, shard by shard, in order. Promises: all
//! commands of a call are sent before the first answer is waited for: on one server as a single
//! pipeline, in a Cluster as one pipeline for each shard, since a pipeline keeps to one slot.

use super::fault::Fault;
use super::names::Names;
use futures::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, SingleNodeRoutingInfo, SlotAddr};
use redis::{Cmd, Pipeline, Value};

/// Commands whose keys carry one hash tag.
pub(super) struct Request {
    /// The slot of their keys.
    pub(super) slot: u16,
    pub(super) commands: Vec<Cmd>,
}

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

// === impl Request ===

impl Request {
    pub(super) fn of_shard(names: &Names, shard: u32, commands: Vec<Cmd>) -> Self {
        let slot = names.slot(shard);
        Self { slot, commands }
    }
}

// === impl Link ===

impl Link {
    /// The first so many shards lie on all servers that this store uses.
    pub(super) fn servers(&self, names: &Names) -> u32 {
        match self {
            Self::Single(_) => 1,
            Self::Cluster(_) => names.shards(),
        }
    }

    /// Sends all of `requests` at once. Errors of the server stand among the answers.
    pub(super) async fn send(&self, requests: Vec<Request>) -> Result<Vec<Vec<Value>>, Fault> {
        match self {
            Self::Single(connection) => single(connection.clone(), requests).await,
            Self::Cluster(connection) => {
                let sent = requests
                    .into_iter()
                    .map(|request| to_slot(connection.clone(), request));
                try_join_all(sent).await
            }
        }
    }
}

async fn single(
    mut connection: MultiplexedConnection,
    requests: Vec<Request>,
) -> Result<Vec<Vec<Value>>, Fault> {
    let counts: Vec<usize> = requests.iter().map(|r| r.commands.len()).collect();
    let total = counts.iter().sum();
    let commands = requests.into_iter().flat_map(|request| request.commands);
    let pipeline = pipeline_of(commands, total);
    let answers = connection.send_packed_commands(&pipeline, 0, total).await?;
    let mut answers = answers.into_iter();
    let split = counts
        .into_iter()
        .map(|count| answers.by_ref().take(count).collect());
    Ok(split.collect())
}

async fn to_slot(mut connection: ClusterConnection, request: Request) -> Result<Vec<Value>, Fault> {
    let count = request.commands.len();
    let pipeline = pipeline_of(request.commands, count);
    let route = Route::new(request.slot, SlotAddr::Master);
    let route = SingleNodeRoutingInfo::SpecificNode(route);
    Ok(connection.route_pipeline(pipeline, 0, count, route).await?)
}

fn pipeline_of(commands: impl IntoIterator<Item = Cmd>, count: usize) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(count);
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}
