//! A settings file: its values, and the line on which each one stands.

use super::{Fault, Leaf, Origin};
use config::{Value, ValueKind};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Largest settings file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Every value of the TOML file at `path`; below one of the tables `verbatim` everything is one
/// name.
pub(super) fn read(path: &Path, verbatim: &[&str]) -> Result<Vec<Leaf>, Fault> {
    let fault = |line, reason| Fault {
        key: String::new(),
        origin: Origin::File {
            path: path.to_owned(),
            line,
        },
        reason,
    };
    let text = read_text(path, MAX_FILE)
        .map_err(|reason| fault(None, format!("cannot be read: {reason}")))?;
    let table = DeTable::parse(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = place(&text, at);
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        fault(Some(line), format!("is not TOML: column {column}: {what}"))
    })?;
    let mut found = Found {
        text: &text,
        path,
        verbatim,
        leaves: Vec::new(),
        here: Vec::new(),
    };
    found.table(table.get_ref());
    Ok(found.leaves)
}

/// The text of a small file, or why it cannot be had.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if about.is_dir() {
        return Err("it is a directory".to_owned());
    }
    if about.len() > limit {
        return Err(format!("it has more than {limit} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Line and column of the byte `at`, both from 1; the column counts characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|it| *it != '\n').count() + 1;
    (line, column)
}

/// What was found so far, and where.
struct Found<'a> {
    text: &'a str,
    path: &'a Path,
    verbatim: &'a [&'a str],
    leaves: Vec<Leaf>,
    /// The tables that are being walked through.
    here: Vec<String>,
}

// === impl Found ===

impl Found<'_> {
    fn table(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            self.here.push(key.get_ref().clone().into_owned());
            match value.get_ref() {
                DeValue::Table(inner) => self.table(inner),
                plain => {
                    let (line, _) = place(self.text, key.span().start);
                    self.leaves.push(Leaf {
                        path: super::collect::verbatim_joined(&self.here, self.verbatim),
                        origin: Origin::File {
                            path: self.path.to_owned(),
                            line: Some(line),
                        },
                        value: value_of(plain),
                    });
                }
            }
            self.here.pop();
        }
    }
}

fn value_of(value: &DeValue<'_>) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
        DeValue::Integer(number) => integer(number.as_str(), number.radix()),
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(float) => ValueKind::Float(float),
            Err(_) => ValueKind::String(number.as_str().to_owned()),
        },
        DeValue::Boolean(yes) => ValueKind::Boolean(*yes),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(items) => {
            ValueKind::Array(items.iter().map(|item| value_of(item.get_ref())).collect())
        }
        DeValue::Table(table) => ValueKind::Table(
            table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), value_of(value.get_ref())))
                .collect(),
        ),
    };
    Value::new(None, kind)
}

/// A number that is too large stays text, which no number takes.
fn integer(digits: &str, radix: u32) -> ValueKind {
    match i64::from_str_radix(digits, radix) {
        Ok(number) => ValueKind::I64(number),
        Err(_) => ValueKind::String(digits.to_owned()),
    }
}
