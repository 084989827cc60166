//! What a store must know of a server before it trusts it with ids.
//!
//! In: a link. Out: the server's `maxmemory-policy`, where it tells. Promises: a managed server
//! that refuses CONFIG is asked by INFO, and one that refuses both is no error.

use super::fault::{Fault, Kind};
use super::link::{Link, Request};
use redis::{Cmd, Value};

/// The server's `maxmemory-policy`; `None` where it does not tell.
pub(super) async fn policy(link: &Link, slot: u16) -> Result<Option<String>, Fault> {
    let mut config = Cmd::new();
    config.arg("CONFIG").arg("GET").arg("maxmemory-policy");
    let mut info = Cmd::new();
    info.arg("INFO").arg("memory");
    let commands = vec![config, info];
    let answers = link.send(vec![Request { slot, commands }]).await?;
    let answers = answers.into_iter().flatten().collect::<Vec<Value>>();
    // A server that is loading or wants a password says so to both.
    if let Some(fault) = Fault::among(&answers) {
        let told = |code: &str| fault.reason.starts_with(code);
        if fault.kind != Kind::Refused || told("NOAUTH") || told("WRONGPASS") {
            return Err(fault);
        }
    }
    let of_config = match answers.first() {
        Some(Value::Array(pair)) => text(pair.get(1)),
        _ => None,
    };
    let of_info = || {
        let info = text(answers.get(1))?;
        let mut lines = info.lines();
        lines.find_map(|line| Some(line.strip_prefix("maxmemory_policy:")?.trim().to_owned()))
    };
    Ok(of_config.or_else(of_info))
}

fn text(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::BulkString(bytes)) => String::from_utf8(bytes.clone()).ok(),
        Some(Value::SimpleString(text)) => Some(text.clone()),
        _ => None,
    }
}

/// The refusal of a server with another `policy` than the store can use.
pub(super) fn evicts(policy: &str) -> Fault {
    Fault::new(
        Kind::Refused,
        format!(
            "its maxmemory-policy is {policy}, which drops ids before their window ends; set \
             noeviction there, or allow it by dedupe.redis_maxmemory_policy = \"{policy}\""
        ),
    )
}
