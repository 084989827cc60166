//! URLs as they may be shown: in lists, logs and errors, without what stands for a secret.

/// Stands for what nobody is to read.
pub const HIDDEN: &str = "***";

/// `url` with its password, its token (a name without a password in front of the host) and the
/// values of its query hidden.
#[must_use]
pub fn url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        // A file's name may hold a question mark, but no secret.
        Some((rest, query)) if scheme != "file" => (rest, format!("?{}", without_values(query))),
        _ => (rest, String::new()),
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let authority = match authority.rsplit_once('@') {
        None => authority.to_owned(),
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:{HIDDEN}@{host}"),
            None => format!("{HIDDEN}@{host}"),
        },
    };
    format!("{scheme}://{authority}{path}{query}")
}

fn without_values(query: &str) -> String {
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None => HIDDEN.to_owned(),
    };
    query.split('&').map(hidden).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (given, shown) in [
            ("memory:", "memory:"),
            ("file:///a/b@c?d=e", "file:///a/b@c?d=e"),
            ("redis://u:p@h:1/2", "redis://u:***@h:1/2"),
            ("redis://:p:q@r@h", "redis://:***@h"),
            ("https://token@h/x", "https://***@h/x"),
            ("https://h/x?sig=abc&plain", "https://h/x?sig=***&***"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
        ] {
            assert_eq!(url(given), shown);
        }
    }
}
