//! What a store must know of a server before it trusts it with ids.
//!
//! In: a link. Out: the `maxmemory-policy` of each server behind it, where it tells. Promises: a
//! managed server that refuses CONFIG is asked by INFO, and one that refuses both is no error.

use super::fault::{Fault, Kind};
use super::link::{Link, Request};
use super::names::Names;
use redis::{Cmd, Value};

/// The `maxmemory-policy` of the server of each shard; `None` where it does not tell.
pub(super) async fn policies(link: &Link, names: &Names) -> Result<Vec<Option<String>>, Fault> {
    let ask = |shard| {
        let mut config = Cmd::new();
        config.arg("CONFIG").arg("GET").arg("maxmemory-policy");
        let mut info = Cmd::new();
        info.arg("INFO").arg("memory");
        Request::of_shard(names, shard, vec![config, info])
    };
    let asked = (0..link.servers(names)).map(ask).collect();
    let answers = link.send(asked).await?;
    answers.iter().map(|answers| policy(answers)).collect()
}

fn policy(answers: &[Value]) -> Result<Option<String>, Fault> {
    // A server that is loading or wants a password says so to both.
    if let Some(fault) = Fault::among(answers) {
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
        Kind::Unfit,
        format!(
            "its maxmemory-policy is {policy}, which drops ids before their window ends; set \
             noeviction there, or allow it by dedupe.redis_maxmemory_policy = \"{policy}\""
        ),
    )
}
