//! Every value of the sources, with its place in the tree of settings.

use super::{Fault, Leaf, NOT_SETTINGS, Origin, PREFIX, Sources, file};
use config::Value;
use std::path::Path;

/// Behind the name of a variable that holds not the secret, but the path of the file with it.
const FILE_SUFFIX: &str = "_FILE";
/// Largest file with a secret, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Every value of the sources, the weaker first.
pub(super) fn collect(sources: &Sources<'_>, faults: &mut Vec<Fault>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    if let Some(path) = sources.file {
        match file::read(path, sources.verbatim) {
            Ok(found) => leaves = found,
            Err(fault) => faults.push(fault),
        }
    }
    for (name, value) in &sources.environment {
        let Some(path) = path_of_variable(name, sources.verbatim) else {
            continue;
        };
        let origin = Origin::Environment(name.clone());
        let (path, value) = match secret(name, value, sources) {
            None => (path, Ok(value.clone())),
            Some((path, secret)) => (path, secret),
        };
        match value {
            Ok(value) => leaves.push(Leaf {
                path,
                origin,
                value: Value::new(None, value),
            }),
            Err(reason) => faults.push(Fault {
                key: path.join("."),
                origin,
                reason,
            }),
        }
    }
    for flag in &sources.flags {
        let path = flag.key.split('.').map(str::to_owned).collect();
        let value = Value::new(None, flag.value.as_str());
        leaves.push(Leaf {
            path,
            origin: Origin::Flag(flag.flag),
            value,
        });
    }
    leaves
}

/// Where the variable `name` is `…_FILE` of a setting that may hold a secret: that setting, and
/// what stands in the file `value`, or why it cannot be had.
fn secret(
    name: &str,
    value: &str,
    sources: &Sources<'_>,
) -> Option<(Vec<String>, Result<String, String>)> {
    let plain = name.strip_suffix(FILE_SUFFIX)?;
    let path = path_of_variable(plain, sources.verbatim)?;
    let may_be = |pattern: &&str| matches(pattern, &path);
    sources.secrets.iter().find(|it| may_be(it))?;
    let both = sources.environment.iter().any(|(other, _)| other == plain);
    let secret = if both {
        Err(format!("{plain} is set as well; unset one of the two"))
    } else {
        read_secret(Path::new(value))
    };
    Some((path, secret))
}

/// The content of a file without the end of its last line. It is not repeated in any error.
fn read_secret(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = file::read_text(path, MAX_SECRET)
        .map_err(|reason| format!("the file {shown} cannot be read: {reason}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("the file {shown} is empty"));
    }
    Ok(text.to_owned())
}

/// Whether `path` is what `pattern` says; `*` stands for any one name.
fn matches(pattern: &str, path: &[String]) -> bool {
    let parts: Vec<_> = pattern.split('.').collect();
    let mut pairs = parts.iter().zip(path);
    parts.len() == path.len() && pairs.all(|(part, name)| *part == "*" || part == name)
}

/// Below a verbatim table everything is one name: `linger.ms`, quoted or not.
pub(super) fn verbatim_joined(path: &[String], verbatim: &[&str]) -> Vec<String> {
    for table in verbatim {
        let depth = table.split('.').count();
        if path.len() > depth
            && path[..depth]
                .iter()
                .map(String::as_str)
                .eq(table.split('.'))
        {
            let mut joined = path[..depth].to_vec();
            joined.push(path[depth..].join("."));
            return joined;
        }
    }
    path.to_vec()
}

fn path_of_variable(name: &str, verbatim: &[&str]) -> Option<Vec<String>> {
    let rest = name
        .strip_prefix(PREFIX)
        .filter(|_| !NOT_SETTINGS.contains(&name))?;
    let path: Vec<String> = rest
        .to_ascii_lowercase()
        .split("__")
        .map(str::to_owned)
        .collect();
    let mut joined = verbatim_joined(&path, verbatim);
    if let Some(last) = joined.last_mut()
        && verbatim
            .iter()
            .any(|table| path[..path.len() - 1].join(".") == *table)
    {
        *last = last.replace('_', ".");
    }
    Some(joined)
}
