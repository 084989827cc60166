//! Settings from four places: defaults < file (TOML) < environment < flags.
//!
//! In: a settings value that holds the defaults, a file, environment variables
//! `CLOUDSYNC_SECTION__KEY`, and flags. Out: a settings value of the same type, or every fault at
//! once, each with the key and the place that it came from. A key that the type does not have is
//! a fault.
//!
//! Tables named as *verbatim* hold names of another program, such as librdkafka's: in a file
//! they stand quoted (`"linger.ms" = 5`), in the environment `_` stands for `.`
//! (`CLOUDSYNC_KAFKA__LIBRDKAFKA__LINGER_MS=5`).
//!
//! A setting that may hold a secret can be read from a file of its own: the variable with `_FILE`
//! behind its name holds the path. No error repeats what stands there.

mod collect;
mod file;
mod nearest;

pub use nearest::nearest;

use collect::collect;
use config::{Config, ConfigError, Value, ValueKind};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Prefix of every environment variable that is a setting.
pub const PREFIX: &str = "CLOUDSYNC_";

/// Variables with the prefix that are no settings: the test hook, and the file's own path.
const NOT_SETTINGS: [&str; 2] = [crate::kill::VARIABLE, "CLOUDSYNC_CONFIG"];

/// Where settings come from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// Environment variables; those without [`PREFIX`] are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags that were given.
    pub flags: Vec<FlagValue>,
    /// Tables whose keys are names of another program, as dotted paths.
    pub verbatim: &'a [&'a str],
    /// Settings that may hold a secret, as dotted paths in which `*` stands for any name.
    pub secrets: &'a [&'a str],
}

/// One flag that overrides a setting.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The flag, as it is typed: `--listen`.
    pub flag: &'static str,
    /// The setting, as a dotted path: `gateway.listen`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub struct SettingsErrors {
    /// The faults, at least one.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong with the settings.
#[derive(Debug)]
pub struct Fault {
    /// The key, as a dotted path; empty when a whole file is at fault.
    pub key: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong.
    pub reason: String,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's own defaults.
    Defaults,
    /// A file.
    File {
        /// Where it lies.
        path: PathBuf,
        /// The line on which the key stands, from 1; `None` where it is the whole file.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment(String),
    /// Any of them; the reason names the setting.
    Setting,
    /// A flag.
    Flag(&'static str),
}

/// Settings, and where those came from that are not defaults.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub value: T,
    /// Origins by key, as a dotted path.
    pub origins: BTreeMap<String, Origin>,
}

/// One value and its place in the tree of settings.
#[derive(Clone, Debug)]
struct Leaf {
    path: Vec<String>,
    origin: Origin,
    value: Value,
}

/// Puts `defaults` and `sources` together, the later over the earlier.
///
/// # Errors
/// [`SettingsErrors`] with every fault: a file that cannot be read or parsed, keys that the type
/// does not have, values that do not fit, values that are missing.
pub fn load<T>(defaults: &T, sources: &Sources<'_>) -> Result<Loaded<T>, SettingsErrors>
where
    T: Serialize + DeserializeOwned,
{
    match load_what_fits(defaults, sources)? {
        (loaded, faults) if faults.is_empty() => Ok(loaded),
        (_, faults) => Err(SettingsErrors { faults }),
    }
}

/// As [`load`]; a value that is at fault is left out and told, and the others are there all the
/// same: for whoever looks at an installation, and not for whoever works on it.
///
/// # Errors
/// [`SettingsErrors`], when nothing at all can be had.
pub fn load_what_fits<T>(
    defaults: &T,
    sources: &Sources<'_>,
) -> Result<(Loaded<T>, Vec<Fault>), SettingsErrors>
where
    T: Serialize + DeserializeOwned,
{
    let mut faults = Vec::new();
    let tree = match Config::try_from(defaults) {
        Ok(config) => config.cache,
        Err(error) => return Err(SettingsErrors::one(Origin::Defaults, "", &error)),
    };
    let mut leaves = BTreeMap::new();
    for leaf in collect(sources, &mut faults) {
        leaves.insert(leaf.path.clone(), leaf);
    }
    let origin = |leaf: &Leaf| (leaf.path.join("."), leaf.origin.clone());
    let origins = leaves.values().map(origin).collect();
    let tree = merge::<T>(tree, leaves.into_values().collect(), &mut faults);
    faults.sort_by(|one, other| one.key.cmp(&other.key));
    match T::deserialize(tree) {
        Ok(value) => Ok((Loaded { value, origins }, faults)),
        Err(error) => Err(SettingsErrors::one(Origin::Defaults, "", &error)),
    }
}

/// The variables of this process, as [`Sources::environment`] takes them. Names and values that
/// are not UTF-8 are no settings.
#[must_use]
pub fn process_environment() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

// === from leaves to a tree ===

/// Puts into `tree` every leaf that fits the type, and names the others.
///
/// A leaf that fits alone is taken at once. What is left is tried table by table, since some
/// tables are whole only with several keys (a destination needs a URL and a group).
fn merge<T: DeserializeOwned>(
    mut tree: Value,
    leaves: Vec<Leaf>,
    faults: &mut Vec<Fault>,
) -> Value {
    let mut tables: BTreeMap<Vec<String>, Vec<Leaf>> = BTreeMap::new();
    for leaf in leaves {
        match with_leaves::<T>(&tree, [&leaf]) {
            Ok(grown) => tree = grown,
            Err(_) => {
                let parent = leaf.path[..leaf.path.len() - 1].to_vec();
                tables.entry(parent).or_default().push(leaf);
            }
        }
    }
    for table in tables.into_values() {
        match with_leaves::<T>(&tree, &table) {
            Ok(grown) => tree = grown,
            Err(error) => blame::<T>(&tree, &table, &error, faults),
        }
    }
    tree
}

fn with_leaves<'a, T: DeserializeOwned>(
    tree: &Value,
    leaves: impl IntoIterator<Item = &'a Leaf>,
) -> Result<Value, ConfigError> {
    let mut grown = tree.clone();
    for leaf in leaves {
        set(&mut grown, &leaf.path, leaf.value.clone());
    }
    T::deserialize(grown.clone())?;
    Ok(grown)
}

fn set(tree: &mut Value, path: &[String], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    if !matches!(tree.kind, ValueKind::Table(_)) {
        tree.kind = ValueKind::Table(config::Map::new());
    }
    if let ValueKind::Table(table) = &mut tree.kind {
        let child = table
            .entry(key.clone())
            .or_insert_with(|| Value::new(None, ValueKind::Nil));
        set(child, rest, value);
    }
}

/// Names the leaves of one table that are wrong by themselves; if none is, something is missing
/// beside them.
fn blame<T: DeserializeOwned>(
    tree: &Value,
    table: &[Leaf],
    together: &ConfigError,
    faults: &mut Vec<Fault>,
) {
    let known = faults.len();
    for leaf in table {
        if let Err(error) = with_leaves::<T>(tree, [leaf])
            && !matches!(error, ConfigError::NotFound(_))
        {
            let key = leaf.path.join(".");
            faults.push(Fault {
                key,
                origin: leaf.origin.clone(),
                reason: text_of(&error),
            });
        }
    }
    if let (true, Some(leaf)) = (faults.len() == known, table.first()) {
        let key = match together {
            ConfigError::NotFound(key) => key.clone(),
            _ => leaf.path.join("."),
        };
        faults.push(Fault {
            key,
            origin: leaf.origin.clone(),
            reason: text_of(together),
        });
    }
}

/// The error without the key: the fault names it already.
fn text_of(error: &ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => text_of(error),
        ConfigError::Type {
            unexpected,
            expected,
            ..
        } => {
            format!("invalid type: {unexpected}, expected {expected}")
        }
        ConfigError::NotFound(_) => "is missing".to_owned(),
        other => nearest::named(other.to_string()),
    }
}

// === impl SettingsErrors, Fault, Origin ===

impl SettingsErrors {
    /// Makes an error of one fault, for checks that come after loading.
    pub fn one(origin: Origin, key: impl Into<String>, reason: &dyn fmt::Display) -> Self {
        Self {
            faults: vec![Fault {
                key: key.into(),
                origin,
                reason: reason.to_string(),
            }],
        }
    }
}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" if self.origin == Origin::Setting => f.write_str(&self.reason),
            "" => write!(f, "{} {}", self.origin, self.reason),
            key => write!(f, "{key} ({}): {}", self.origin, self.reason),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("default"),
            Self::Setting => f.write_str("setting"),
            Self::File { path, line: None } => write!(f, "file {}", path.display()),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "file {}, line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

#[cfg(test)]
mod tests;
