//! The Redis stores on real servers: the laws in every layout and shape, and what they add.

use crate::conformance::{World, conformance};
use async_trait::async_trait;
use cloudsync_dedupe::DedupeSettings;
use cloudsync_dedupe::settings::Layout;
use parking_lot::Mutex;
use servers::{Deployment, Shape, at_hand};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

mod faults;
mod kept;
mod receipts;
mod rights;
mod servers;

/// Settings for `url`, in a namespace that nobody else uses.
pub(crate) fn settings(url: &str, layout: Layout) -> DedupeSettings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    DedupeSettings {
        url: url.to_owned(),
        namespace: format!("t{}-{n}", std::process::id()),
        layout,
        redis_connect_timeout: Duration::from_secs(5),
        redis_response_timeout: Duration::from_secs(5),
        ..DedupeSettings::default()
    }
}

/// Its clock is a server's, which nobody moves.
struct Real {
    settings: DedupeSettings,
    /// To a server whose clock is asked; none where no server is at hand.
    clock: Option<Mutex<redis::Connection>>,
}

impl Real {
    fn new(shape: Shape, layout: Layout) -> Self {
        let deployment = at_hand().then(|| Deployment::shared(shape));
        let url = deployment.map_or("", |deployment| &deployment.url);
        let mut settings = settings(url, layout);
        settings.lease = Duration::from_secs(3);
        // Longer, so that an ended lease is still known of.
        settings.window = Duration::from_secs(5);
        let clock = deployment.map(|deployment| Mutex::new(deployment.servers[0].connection()));
        Self { settings, clock }
    }
}

#[async_trait]
impl World for Real {
    fn at_hand(&self) -> bool {
        at_hand()
    }

    fn settings(&self) -> DedupeSettings {
        self.settings.clone()
    }

    /// Waits until the server's clock is so much later than now.
    async fn pass(&self, time: Duration) {
        let end = self.now().await + time;
        while self.now().await < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn now(&self) -> Duration {
        let mut connection = self.clock.as_ref().unwrap().lock();
        let time: (u64, u32) = redis::cmd("TIME").query(&mut *connection).unwrap();
        Duration::from_secs(time.0) + Duration::from_micros(u64::from(time.1))
    }

    fn tells_ended_leases(&self) -> bool {
        self.settings.layout == Layout::Buckets
    }
}

macro_rules! laws {
    ($($name:ident: $shape:ident, $layout:ident;)+) => {
        $(mod $name {
            use super::*;
            conformance!(Real::new(Shape::$shape, Layout::$layout), #[tokio::test]);
        })+
    };
}

laws! {
    buckets_standalone: Standalone, Buckets;
    buckets_sentinel: Sentinel, Buckets;
    buckets_cluster: Cluster, Buckets;
    keys_standalone: Standalone, Keys;
    keys_sentinel: Sentinel, Keys;
    keys_cluster: Cluster, Keys;
}
