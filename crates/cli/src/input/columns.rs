//! What somebody may have meant whose file is CSV, or is not (pure).

use super::pointer::Pointer;
use cloudsync_runtime::settings::nearest;

/// Most columns that are named.
const NAMED: usize = 10;

/// What to say where none of `columns` is the one at `pointer`: the nearest, or what they are, or
/// that they are none.
pub(super) fn hint(pointer: &Pointer, columns: &[&str]) -> String {
    match columns {
        [first, ..] if first.starts_with(['{', '[']) => {
            return "it looks like JSON and not like CSV".to_owned();
        }
        [only] if only.contains([';', '\t', '|']) => {
            return format!("a comma must stand between columns, and there is one: {only}");
        }
        _ => {}
    }
    let named: Vec<String> = columns.iter().take(NAMED).map(|it| at(it)).collect();
    let more = match columns.len() > NAMED {
        true => ", …",
        false => "",
    };
    let there = format!("there are: {}{more}", named.join(", "));
    let wanted = pointer.to_string();
    let wanted = wanted.trim_start_matches('/').to_lowercase();
    let lower: Vec<String> = columns.iter().map(|it| it.to_lowercase()).collect();
    let near = nearest(&wanted, lower.iter().map(String::as_str));
    let near = near.and_then(|near| lower.iter().position(|it| it == near));
    match near.and_then(|near| columns.get(near)) {
        Some(near) => format!("did you mean {}? {there}", at(near)),
        None => there,
    }
}

/// The pointer to a column.
fn at(column: &str) -> String {
    format!("/{}", column.replace('~', "~0").replace('/', "~1"))
}

/// What to say of a first line that is not JSON, if it may be the header of CSV.
pub(super) fn if_csv(line: &[u8]) -> &'static str {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    let is_meant_as_json =
        line.trim_ascii_start().starts_with(b"{") || line.trim_ascii_start().starts_with(b"[");
    if is_json || is_meant_as_json || !line.contains(&b',') {
        return "";
    }
    "; if the file is CSV, call it .csv, or send it with --format csv"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_column_is_named_and_those_that_there_are() {
        let said = |pointer: &str, columns: &[&str]| hint(&pointer.parse().unwrap(), columns);
        let columns = ["Id", "name", "a/b"];
        assert_eq!(
            said("/id", &columns),
            "did you mean /Id? there are: /Id, /name, /a~1b"
        );
        assert_eq!(
            said("/nane", &columns),
            "did you mean /name? there are: /Id, /name, /a~1b"
        );
        assert_eq!(
            said("/wholly-other", &columns),
            "there are: /Id, /name, /a~1b"
        );
        assert_eq!(
            said("/id", &["id;name"]),
            "a comma must stand between columns, and there is one: id;name"
        );
        assert_eq!(
            said("/id", &["{\"id\":1}"]),
            "it looks like JSON and not like CSV"
        );
        let many: Vec<String> = (0..20).map(|number| format!("column {number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(said("/x", &many).ends_with("/column 9, …"));
    }

    #[test]
    fn a_header_is_told_from_broken_json() {
        for csv in ["id,name", "\"id\",\"name\"", "1,2"] {
            assert_ne!(if_csv(csv.as_bytes()), "", "{csv}");
        }
        for other in ["{\"id\":1,", "[1,2", "nonsense", "", "7", "{}"] {
            assert_eq!(if_csv(other.as_bytes()), "", "{other}");
        }
    }
}
