//! Every value of the sources, with its place in the tree of settings.

use super::{Fault, Leaf, NOT_SETTINGS, Origin, PREFIX, Sources};
use config::{File, FileFormat, Source, Value, ValueKind};
use std::collections::BTreeMap;
use std::path::Path;

/// Every value of the sources, the weaker first.
pub(super) fn collect(sources: &Sources<'_>, faults: &mut Vec<Fault>) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    if let Some(file) = sources.file {
        match read_file(file) {
            Ok(table) => {
                let origin = Origin::File(file.to_owned());
                flatten(
                    table,
                    &mut Vec::new(),
                    &origin,
                    sources.verbatim,
                    &mut leaves,
                );
            }
            Err(reason) => {
                let origin = Origin::File(file.to_owned());
                faults.push(Fault {
                    key: String::new(),
                    origin,
                    reason,
                });
            }
        }
    }
    for (name, value) in &sources.environment {
        if let Some(path) = path_of_variable(name, sources.verbatim) {
            let origin = Origin::Environment(name.clone());
            let value = Value::new(None, value.as_str());
            leaves.push(Leaf {
                path,
                origin,
                value,
            });
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

fn read_file(path: &Path) -> Result<BTreeMap<String, Value>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    match File::from_str(&text, FileFormat::Toml).collect() {
        Ok(table) => Ok(table.into_iter().collect()),
        Err(error) => Err(format!("is not TOML: {error}")),
    }
}

fn flatten(
    table: BTreeMap<String, Value>,
    path: &mut Vec<String>,
    origin: &Origin,
    verbatim: &[&str],
    leaves: &mut Vec<Leaf>,
) {
    for (key, value) in table {
        path.push(key);
        match value.kind {
            ValueKind::Table(inner) => {
                flatten(inner.into_iter().collect(), path, origin, verbatim, leaves);
            }
            _ => {
                let path = verbatim_joined(path, verbatim);
                leaves.push(Leaf {
                    path,
                    origin: origin.clone(),
                    value,
                });
            }
        }
        path.pop();
    }
}

/// Below a verbatim table everything is one name: `linger.ms`, quoted or not.
fn verbatim_joined(path: &[String], verbatim: &[&str]) -> Vec<String> {
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
