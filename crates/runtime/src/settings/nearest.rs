//! What somebody may have meant who misspelt a key.

/// `text` as serde words an unknown field (``unknown field `a`, expected `b` or `c` ``), with the
/// known name that is nearest, if one is near: at most a third of its letters differ.
pub(super) fn named(text: String) -> String {
    if !text.starts_with("unknown field `") {
        return text;
    }
    let mut names = text.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next() else {
        return text;
    };
    match nearest(unknown, names) {
        Some(name) => format!("{text}; did you mean `{name}`?"),
        None => text,
    }
}

/// The one of `names` that is nearest to `unknown`, if one is near: at most a third of its letters
/// differ.
pub fn nearest<'a>(unknown: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.map(|name| (distance(unknown, name), name));
    let (steps, name) = near.min_by_key(|(steps, _)| *steps)?;
    (steps * 3 <= name.chars().count().max(3)).then_some(name)
}

/// How many letters must be put in, taken out or replaced to make `one` of `other`.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (index, known) in other.iter().enumerate() {
            let replaced = before + usize::from(letter != *known);
            before = row[index + 1];
            row[index + 1] = replaced.min(before + 1).min(row[index] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_offered_and_a_far_one_is_not() {
        let text = |unknown: &str| format!("unknown field `{unknown}`, expected `listen` or `url`");
        let with = |unknown: &str, meant: &str| {
            let expected = format!("{}; did you mean `{meant}`?", text(unknown));
            assert_eq!(named(text(unknown)), expected);
        };
        with("listn", "listen");
        with("lissen", "listen");
        with("uri", "url");
        assert_eq!(named(text("brokers")), text("brokers"));
        let other = "invalid type: `listn`";
        assert_eq!(named(other.to_owned()), other);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
