//! Ports that a killed program finds free again when it comes back.
//!
//! A port that the system gives out (port 0) may be taken by any outgoing connection while its
//! owner is dead. These lie below the range from which the system takes those.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 18_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback address that nobody listens on, another one at each call.
///
/// # Errors
/// When all of them are taken.
pub fn free() -> anyhow::Result<SocketAddr> {
    // Test processes that run side by side begin at different places.
    let start = u16::try_from(std::process::id() % u32::from(COUNT / 64)).unwrap_or(0) * 64;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port from {FIRST} on")
}
