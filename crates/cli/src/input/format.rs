//! What the bytes of an input are, and so how they are cut into records.

use clap::ValueEnum;
use std::path::Path;

/// What an input is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `csv` for a file that is called so, else one JSON array if the first byte is [, else NDJSON.
    #[default]
    Auto,
    /// A JSON value a line.
    Ndjson,
    /// One JSON array; each element is a record.
    Json,
    /// Each line is a record of text.
    Lines,
    /// A header, then rows; each row becomes a JSON object of strings.
    Csv,
}

// === impl Format ===

impl Format {
    /// This format, or what `file`'s name says, packed or not.
    #[must_use]
    pub fn of(self, file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        let plain = name
            .strip_suffix(".gz")
            .or_else(|| name.strip_suffix(".zst"));
        match self {
            Self::Auto if plain.unwrap_or(&name).ends_with(".csv") => Self::Csv,
            given => given,
        }
    }

    /// The content type of its records.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "text/plain; charset=utf-8",
            Self::Auto | Self::Ndjson | Self::Json | Self::Csv => "application/json",
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "NDJSON or one JSON array",
            Self::Ndjson => "NDJSON",
            Self::Json => "one JSON array",
            Self::Lines => "lines of text",
            Self::Csv => "CSV",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_csv_and_nothing_else() {
        let of = |name: &str| Format::Auto.of(Path::new(name));
        for name in ["a.csv", "/x/a.CSV.gz", "a.b.csv.zst"] {
            assert_eq!(of(name), Format::Csv, "{name}");
        }
        for name in ["a.ndjson", "a.json", "csv", "-", "a.csv.bz2"] {
            assert_eq!(of(name), Format::Auto, "{name}");
        }
        assert_eq!(Format::Lines.of(Path::new("a.csv")), Format::Lines);
    }
}
