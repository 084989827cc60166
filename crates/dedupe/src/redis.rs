//! The stores that all replicas of a destination share: Redis 7.0 or later, or Valkey.
//!
//! In: the settings and a destination's name. Out: a store in the layout of the settings.
//! Promises, beyond the laws: it opens while Redis is away, and goes on by itself when it comes
//! back; all shards of a call are sent together, in one round trip a phase unless a new
//! generation has just begun; no message of it holds credentials.
//!
//! [`url`] where Redis is, [`dial`] how a connection comes about, [`link`] what is sent on it,
//! [`held`] how it is kept; [`names`] and [`plan`] what lies where; [`buckets`] and [`keys`] the
//! two layouts; [`receipts`] what gateways share; [`raw`] what the stores are held against.
//! `docs/dedupe-redis.md` has the rights that a user of Redis needs.

use crate::settings::{DedupeSettings, Layout, OpenError};
use crate::store::DedupeStore;
use buckets::Buckets;
use dial::Dialer;
use held::Held;
use keys::Keys;
use meta::Meta;
use names::Names;
use std::sync::Arc;
use url::Target;

// 1. where Redis is, and what it says
mod dial;
mod fault;
mod link;
mod url;

// 2. what lies where
mod clock;
mod meta;
mod names;
mod plan;
mod value;

// 3. the connection that is kept
mod amnesia;
mod held;
mod pools;
mod server;

// 4. the layouts
mod buckets;
mod counts;
mod keys;
mod repeats;

// 5. what gateways share
pub(crate) mod receipts;

// 6. what the stores are held against
mod raw;

pub(crate) use names::is_namespace;
pub(crate) use raw::Pipelines;
pub use raw::RawRedis;
pub(crate) use url::is_redis;

/// Opens the store of `destination`. It connects with its first call.
pub(crate) fn open(
    settings: &DedupeSettings,
    destination: &str,
) -> Result<Arc<dyn DedupeStore>, OpenError> {
    let held = connected_later(settings, destination, false)?;
    Ok(laid_out(held, settings))
}

/// As [`open`], for somebody who looks: lays out nothing.
pub(crate) fn look_at(
    settings: &DedupeSettings,
    destination: &str,
) -> Result<Arc<dyn DedupeStore>, OpenError> {
    let held = connected_later(settings, destination, true)?;
    Ok(laid_out(held, settings))
}

fn laid_out(held: Held, settings: &DedupeSettings) -> Arc<dyn DedupeStore> {
    match settings.layout {
        Layout::Buckets => Arc::new(Buckets::new(held, settings)),
        Layout::Keys => Arc::new(Keys::new(held, settings)),
    }
}

fn connected_later(
    settings: &DedupeSettings,
    destination: &str,
    looks: bool,
) -> Result<Held, OpenError> {
    let wrong = |reason| OpenError::Url { reason };
    let mut target = Target::parse(&settings.url).map_err(wrong)?;
    if destination.contains(['{', '}']) || destination.contains(char::is_whitespace) {
        return Err(wrong(format!(
            "the destination {destination:?} cannot be part of a key: no braces, no spaces"
        )));
    }
    if settings.redis_user.is_some() {
        target.user.clone_from(&settings.redis_user);
    }
    if settings.redis_password.is_some() {
        target.password.clone_from(&settings.redis_password);
    }
    Ok(Held::new(
        format!("{target} of {destination}"),
        Dialer::new(target, settings)?,
        Names::new(&settings.namespace, destination, settings.shards),
        Meta::of(settings),
        settings.redis_maxmemory_policy.clone(),
        looks,
    ))
}
