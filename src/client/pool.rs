//! Connections, each shared by some streams.
//!
//! In: streams that open and end. Out: a channel for each of them. Promises: a connection carries
//! at most `streams_per_connection` streams, so that none waits for another's end (a gateway allows
//! a connection only so many calls), and it is closed with the last of them.
//!
//! A channel connects by itself, and again after a loss.

use super::error::describe;
use super::{ClientError, ClientSettings};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How often a connection with open calls is asked whether it is alive, and how long it may take to
/// answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Pool {
    endpoint: Endpoint,
    /// For single records.
    channel: Channel,
    streams_per_connection: usize,
    lanes: Mutex<Vec<Weak<Channel>>>,
}

/// A stream's part of a connection, held as long as it is open.
#[derive(Debug)]
pub(super) struct Lane(Arc<Channel>);

// === impl Pool ===

impl Pool {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let endpoint = endpoint(&settings.endpoint)?
            .connect_timeout(settings.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        Ok(Self {
            channel: endpoint.connect_lazy(),
            endpoint,
            streams_per_connection: settings.streams_per_connection,
            lanes: Mutex::default(),
        })
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A part of the fullest connection that has room, or of a new one.
    pub(super) fn lane(&self) -> Lane {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.strong_count() > 0);
        let room = lanes
            .iter()
            .filter(|lane| lane.strong_count() < self.streams_per_connection)
            .max_by_key(|lane| lane.strong_count());
        if let Some(channel) = room.and_then(Weak::upgrade) {
            return Lane(channel);
        }
        let channel = Arc::new(self.endpoint.connect_lazy());
        lanes.push(Arc::downgrade(&channel));
        Lane(channel)
    }
}

fn endpoint(text: &str) -> Result<Endpoint, ClientError> {
    let wrong = |reason: String| ClientError::Endpoint {
        endpoint: text.to_owned(),
        reason,
    };
    let endpoint =
        Endpoint::from_shared(text.to_owned()).map_err(|error| wrong(describe(&error)))?;
    let uri = endpoint.uri();
    match uri.scheme_str() {
        Some("http") if uri.authority().is_some() => Ok(endpoint),
        // Never in the clear what was asked to be hidden.
        Some("https") => Err(wrong("there is no TLS yet".to_owned())),
        _ => Err(wrong("it does not begin with http://".to_owned())),
    }
}

// === impl Lane ===

impl Lane {
    pub(super) fn channel(&self) -> Channel {
        Channel::clone(&self.0)
    }
}
