//! `cloudsync up`: everything on this machine, until Ctrl-C.

use super::Common;
use super::serve::serve;
use crate::args::UpArgs;
use crate::failure::Failure;
use crate::settings::{Settings, absolute};
use crate::stack::{Roles, Stack};
use anyhow::Context;
use cloudsync_consumers::{DestinationSettings, WriteMode};
use cloudsync_runtime::{Checklist, redact};
use std::io;
use std::net::{IpAddr, SocketAddr};

pub(super) async fn run(args: &UpArgs, common: &Common) -> Result<(), Failure> {
    let data_dir = absolute(&args.data_dir).context("cannot tell the current directory")?;
    let settings = common.settings(Settings::embedded(&data_dir), args.flags())?;
    let embedded = settings.log_is_embedded();
    let mut roles = Roles::all(&settings, &data_dir);
    roles.log = roles.log.filter(|_| embedded);
    roles.admin = true;
    let mut list = common.checklist();
    list.pass("data", data_dir.display());
    if !embedded {
        let (brokers, topic) = (&settings.kafka.brokers, &settings.kafka.topic);
        list.note(format_args!("  kafka          {brokers}, topic {topic}"));
    }
    serve(&settings, &roles, &mut list, |stack, list| {
        ready(&settings, stack, list)
    })
    .await
}

fn ready(settings: &Settings, stack: &Stack, list: &mut Checklist<io::Stderr>) {
    for (name, destination) in &settings.destinations {
        list.pass(
            name,
            format_args!(
                "{}, group {}",
                redact::url(&destination.url),
                destination.group
            ),
        );
    }
    let url = &settings.dedupe.url;
    if url.starts_with("memory:") {
        list.pass(
            "dedupe",
            "in memory: it forgets what was delivered when this process ends",
        );
    } else {
        list.pass("dedupe", redact::url(url));
    }
    let Some(gateway) = stack.addresses().gateway else {
        return;
    };
    let at = reachable(gateway);
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "cloudsync".to_owned());
    let landed = settings.destinations.values().find_map(reading);
    let landed = landed.map_or_else(String::new, |command| {
        format!("What landed is read so:\n\n{command}\n\n")
    });
    list.note(format_args!(
        "\nReady. Three ways to send something, to be pasted into another terminal:\n\n\
         echo '{{\"record\":{{\"requestId\":\"hello-1\",\"key\":\"hello\",\"payload\":\"aGVsbG8=\"}}}}' | \
         grpcurl -plaintext -d @ {at} cloudsync.v1.DataSyncService/SyncData\n\n\
         curl -d '\"Test message for dual-cloud sync\"' http://{at}/api/datasync\n\n\
         echo '{{\"id\":\"hello-2\",\"text\":\"hello\"}}' | \
         {program} send - --id-pointer /id --endpoint http://{at}\n\n\
         {landed}Ctrl-C ends it."
    ));
}

/// How what lies at `destination` is read in a shell, if it is a directory.
fn reading(destination: &DestinationSettings) -> Option<String> {
    let directory = destination.url.strip_prefix("file://")?;
    let quoted = format!("'{}'", directory.replace('\'', r"'\''"));
    let files = match destination.mode() {
        WriteMode::Batch => "-name '*.ndjson.zst' -exec zstdcat {} +",
        WriteMode::Record => "-path '*/t=*' -name '*.json' -exec cat {} +",
    };
    Some(format!("find {quoted} {files} | jq -c '{{id, payload}}'"))
}

/// `address` as a client on this machine types it.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    };
    let ip = if address.ip().is_unspecified() {
        loopback
    } else {
        address.ip()
    };
    SocketAddr::new(ip, address.port())
}
