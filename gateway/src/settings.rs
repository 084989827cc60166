//! What a gateway is started with.
//!
//! In: the section `[gateway]` of the configuration. Out: limits that the steps of the walk hold
//! to. Promises: every number is checked before a port is bound, and a fault names the setting,
//! its value and the range.

use cloudsync::limits;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Most ids that are remembered for one purpose.
const MAX_IDS: usize = 10_000_000;

/// Settings of one gateway, the section `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySettings {
    /// Where to listen, gRPC and HTTP on one port; port 0 takes a free one. Default
    /// `127.0.0.1:50051`.
    pub listen: SocketAddr,
    /// What happens to a record without a request id. Default [`MissingId::Generate`].
    pub missing_id: MissingId,
    /// Ids that the log has acknowledged of late and that are remembered, at most 10,000,000; 0: none.
    /// Default 500,000. A record sent again, with the same content for the same destinations, is
    /// answered with its place and not written again. Each takes 48 bytes at most.
    pub recent_ids: usize,
    /// Ids whose place in the log is remembered for those who ask where their record is (receipts),
    /// at most 10,000,000; 0: none, and none are written to Redis. Default 500,000. Each takes 56
    /// bytes at most.
    pub receipts: usize,
    /// Largest encoded record in bytes, 1 to 1,000,000. Default 1,000,000.
    pub max_record_bytes: usize,
    /// Records between admission and answer, over all clients; at least 1. Default 100,000.
    pub max_in_flight_records: usize,
    /// Bytes of encoded records between admission and answer, over all clients; at least 1.
    /// Default 128 MiB.
    pub max_in_flight_bytes: usize,
    /// Largest HTTP body that holds a JSON list, unpacked, in bytes, 1 to 64 MiB. Default 8 MiB. A
    /// single value is held to `max_record_bytes`, and so is each line of NDJSON, however many.
    pub max_body_bytes: usize,
    /// The longest that an HTTP client may take to send a JSON body, or the next line of NDJSON;
    /// 1 ms to 1 h. Default 30 s.
    #[serde(with = "cloudsync_kafka::duration")]
    pub body_timeout: Duration,
    /// Streams (`SyncData`, `SyncDataStream`, JSON lists and NDJSON over HTTP) open at once, over
    /// all clients; at least 1. Default 10,000.
    pub max_streams: usize,
    /// Calls open at once on one connection, 1 to 65,536. Default 128. What a call may send before
    /// it is read is its share of 16 MiB, at least 16 KiB and at most 1 MiB: where few calls go far,
    /// fewer are faster.
    pub max_streams_per_connection: u32,
    /// Connections open at once, over all clients; at least 1. Default 1,000. One too many is told so
    /// and closed.
    pub max_connections: usize,
    /// Whether gRPC reflection answers. Default: on a loopback address, yes; else no.
    pub reflection: Option<bool>,
    /// Allows an address that is not loopback without TLS. Default no.
    pub insecure: bool,
}

/// What happens to a record without a request id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingId {
    /// It gets a UUIDv7, which the answer names: each sending is an effect of its own.
    #[default]
    Generate,
    /// Its id is derived from tenant, key, payload and content type: equal records are one effect.
    Content,
    /// It is refused.
    Reject,
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gateway.{name} is {value}, but must be {range}")]
pub struct SettingsError {
    /// Name of the setting, without its section.
    pub name: &'static str,
    /// The value that it has.
    pub value: u64,
    /// The values that it may have.
    pub range: String,
}

// === impl GatewaySettings ===

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50051),
            missing_id: MissingId::default(),
            recent_ids: 500_000,
            receipts: 500_000,
            max_record_bytes: limits::MAX_RECORD_BYTES,
            max_in_flight_records: 100_000,
            max_in_flight_bytes: 128 << 20,
            max_body_bytes: 8 << 20,
            body_timeout: Duration::from_secs(30),
            max_streams: 10_000,
            max_streams_per_connection: 128,
            max_connections: 1_000,
            reflection: None,
            insecure: false,
        }
    }
}

impl GatewaySettings {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// [`SettingsError`], for the first one that is out of it.
    pub fn validate(&self) -> Result<(), SettingsError> {
        match self.errors().into_iter().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Everything that [`GatewaySettings::validate`] has to say.
    #[must_use]
    pub fn errors(&self) -> Vec<SettingsError> {
        let largest_count = 1 << 32;
        let checks = [
            ("recent_ids", self.recent_ids, MAX_IDS),
            ("receipts", self.receipts, MAX_IDS),
            (
                "max_record_bytes",
                self.max_record_bytes,
                limits::MAX_RECORD_BYTES,
            ),
            (
                "max_in_flight_records",
                self.max_in_flight_records,
                largest_count,
            ),
            ("max_in_flight_bytes", self.max_in_flight_bytes, 1 << 40),
            ("max_body_bytes", self.max_body_bytes, 64 << 20),
            ("max_streams", self.max_streams, largest_count),
            (
                "max_streams_per_connection",
                self.max_streams_per_connection as usize,
                1 << 16,
            ),
            ("max_connections", self.max_connections, 1 << 20),
        ];
        let mut wrong: Vec<_> = checks
            .into_iter()
            .map(|(name, value, most)| {
                let may_be_none = matches!(name, "recent_ids" | "receipts");
                (name, value, usize::from(!may_be_none), most)
            })
            .filter(|(_, value, least, most)| !(*least..=*most).contains(value))
            .map(|(name, value, least, most)| SettingsError {
                name,
                value: value as u64,
                range: format!("{least} to {most}"),
            })
            .collect();
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&self.body_timeout) {
            let millis = self.body_timeout.as_millis();
            wrong.push(SettingsError {
                name: "body_timeout",
                value: u64::try_from(millis).unwrap_or(u64::MAX),
                range: "1ms to 1h".to_owned(),
            });
        }
        wrong
    }

    /// Whether the address is reachable from this machine only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    /// Whether gRPC reflection answers.
    #[must_use]
    pub fn reflects(&self) -> bool {
        self.reflection.unwrap_or_else(|| self.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_is_named() {
        assert_eq!(GatewaySettings::default().validate(), Ok(()));
        let settings = GatewaySettings {
            max_record_bytes: 2_000_000,
            ..Default::default()
        };
        let text = settings.validate().unwrap_err().to_string();
        assert_eq!(
            text,
            "gateway.max_record_bytes is 2000000, but must be 1 to 1000000"
        );
    }

    #[test]
    fn a_time_out_of_range_is_named() {
        let settings = GatewaySettings {
            body_timeout: Duration::ZERO,
            ..Default::default()
        };
        let text = settings.validate().unwrap_err().to_string();
        assert_eq!(text, "gateway.body_timeout is 0, but must be 1ms to 1h");
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        let read: Result<GatewaySettings, _> = serde_json::from_str(r#"{"missing_ids":"reject"}"#);
        assert!(read.unwrap_err().to_string().contains("missing_ids"));
        let read: GatewaySettings = serde_json::from_str(r#"{"missing_id":"content"}"#).unwrap();
        assert_eq!(read.missing_id, MissingId::Content);
    }

    #[test]
    fn reflection_follows_the_address_unless_told() {
        let mut settings = GatewaySettings::default();
        assert!(settings.reflects());
        settings.listen = "0.0.0.0:50051".parse().unwrap();
        assert!(!settings.reflects());
        settings.reflection = Some(true);
        assert!(settings.reflects());
    }
}
