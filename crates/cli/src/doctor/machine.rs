//! This machine: clock, descriptors, memory, ports, data directory.

use super::Finding;
use crate::settings::Settings;
use crate::settings::sizes::{self, bytes};
use cloudsync_runtime::port_owner;
use rustix::process::{Resource, getrlimit};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Descriptors that connections, segments and files of a busy process need.
const DESCRIPTORS: u64 = 4_096;
/// Free space below which a log soon stops.
const FREE: u64 = 1 << 30;
/// The program is not older than this (2026-01-01), so neither is the time.
const RELEASED: Duration = Duration::from_secs(1_767_225_600);

pub(super) fn examine(settings: &Settings, data_dir: Option<&Path>) -> Vec<Finding> {
    let mut findings = vec![clock(), descriptors(), memory(settings)];
    if data_dir.is_some() && settings.log_is_embedded() {
        findings.push(port("log", settings.log.listen, "--log-listen"));
    }
    findings.push(port("gateway", settings.gateway.listen, "--listen"));
    findings.push(port("admin", settings.admin.listen, "--admin-listen"));
    findings.extend(data_dir.map(directory));
    findings
}

fn clock() -> Finding {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(now) if now >= RELEASED => Finding::ok("clock", "set"),
        _ => Finding::fail(
            "clock",
            "the time lies before this program was made: made ids, retention and windows rest on \
             it; set it, and keep it set with NTP",
        ),
    }
}

fn descriptors() -> Finding {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < DESCRIPTORS => Finding::warn(
            "descriptors",
            format_args!(
                "{limit} open files may be too few for many connections; raise it with \
                 `ulimit -n {DESCRIPTORS}`"
            ),
        ),
        Some(limit) => Finding::ok("descriptors", format_args!("{limit} open files")),
        None => Finding::ok("descriptors", "no limit"),
    }
}

fn memory(settings: &Settings) -> Finding {
    let bounds = sizes::most_memory(settings);
    match (sizes::crowded(settings), sizes::available_memory()) {
        (Some(why), _) => Finding::warn("memory", why),
        (None, Some(available)) => Finding::ok(
            "memory",
            format_args!(
                "{} at hand; queues and windows take {} at the most",
                bytes(available),
                bytes(bounds)
            ),
        ),
        (None, None) => Finding::ok("memory", "this system does not tell how much there is"),
    }
}

/// A port that another process of ours has is in use as it should be.
fn port(part: &str, address: SocketAddr, flag: &str) -> Finding {
    let check = format!("port {part}");
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(check, format_args!("{address} is free")),
        Err(error) => error,
    };
    let owner = port_owner(address);
    match (error.kind(), owner) {
        (ErrorKind::AddrInUse, Some(owner)) if owner.name.starts_with("cloudsync") => {
            Finding::ok(check, format_args!("{address} is used by {owner}"))
        }
        (ErrorKind::AddrInUse, Some(owner)) => Finding::fail(
            check,
            format_args!(
                "{address} is taken by {owner}; end it, or choose another port with {flag}"
            ),
        ),
        (ErrorKind::AddrInUse, None) => Finding::fail(
            check,
            format_args!("{address} is taken; choose another port with {flag}"),
        ),
        _ => Finding::fail(
            check,
            format_args!("cannot listen on {address}: {error}; choose another with {flag}"),
        ),
    }
}

fn directory(data_dir: &Path) -> Finding {
    let shown = data_dir.display();
    // What is not there yet is made below the nearest directory that is.
    let Some(there) = data_dir.ancestors().find(|path| path.exists()) else {
        return Finding::fail("data", format_args!("{shown} cannot be made"));
    };
    if let Err(error) = tempfile::tempfile_in(there) {
        return Finding::fail(
            "data",
            format_args!(
                "nothing can be written to {}: {error}; give another --data-dir, or the right to \
                 write",
                there.display()
            ),
        );
    }
    let Ok(about) = rustix::fs::statvfs(there) else {
        return Finding::ok("data", format_args!("{shown} can be written"));
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    if free < FREE {
        return Finding::warn(
            "data",
            format_args!("{shown} has {} left; make room, or move it", bytes(free)),
        );
    }
    let made = if there == data_dir {
        ""
    } else {
        ", not there yet"
    };
    Finding::ok("data", format_args!("{shown}{made}, {} free", bytes(free)))
}
