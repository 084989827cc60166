//! The URL of an endpoint → where to connect, what to ask for, and who asks.
//!
//! Promises: the user and the password leave the URL here and are shown nowhere; what could be
//! understood in two ways (a fragment, a port that is none) is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloudsync_runtime::redact;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use std::fmt;

/// A shorter value of a query is none: hiding it would leave little of any message.
const SHORTEST_SECRET: usize = 6;

/// What a URL says.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// What is asked for, without a user.
    pub(super) uri: Uri,
    /// The name or address, without brackets.
    pub(super) host: String,
    /// The port, the scheme's own if none is named.
    pub(super) port: u16,
    /// Whether it is `https`.
    pub(super) tls: bool,
    /// Basic authentication, if the URL has a user.
    pub(super) authorization: Option<HeaderValue>,
    /// The URL as it may be shown.
    pub(super) shown: String,
    /// What no message may repeat.
    secrets: Vec<String>,
}

/// Whether `url` is an endpoint's.
pub(in crate::sink) fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// `url` without its user and password.
pub(in crate::sink) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
    format!("{scheme}://{host}{path}")
}

/// `url` for a message, whatever is wrong with it: where somebody may have meant a password, only
/// its scheme.
pub(super) fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => format!("{scheme}://…"),
        Some(_) => redact::url(url),
        // Relative, as in a `Location`: its query may hold a secret as well.
        None => match url.split_once('?') {
            Some((path, _)) => format!("{path}?…"),
            None => url.to_owned(),
        },
    }
}

// === impl Endpoint ===

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.shown).finish()
    }
}

impl Endpoint {
    /// Reads `url`.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn parse(url: &str, allow_private: bool) -> Result<Self, String> {
        let refused = |why: &str| format!("{}: {why}", shown(url));
        if url.contains('#') {
            return Err(refused("it has a fragment (#), which no server is told"));
        }
        let no_url = || refused("it is no URL such as https://host:8443/path");
        let uri: Uri = url.parse().map_err(|_| no_url())?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let authority = uri.authority().ok_or_else(no_url)?.as_str();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let place: Authority = place.parse().map_err(|_| no_url())?;
        let host = place.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(no_url());
        }
        let port = match place.as_str().strip_prefix(place.host()) {
            Some("") if tls => 443,
            Some("") => 80,
            _ => place.port_u16().filter(|port| *port != 0).ok_or_else(|| {
                refused("what stands behind the host's colon is no port from 1 to 65535")
            })?,
        };
        if port < 1024 && port != 80 && port != 443 {
            return Err(refused(
                "below 1024 only the ports 80 and 443 are HTTP's; the others belong to other services",
            ));
        }
        if !tls && !allow_private {
            return Err(refused(
                "http:// sends everything unencrypted; use https://, or set allow_private = true for \
                 an endpoint in your own network",
            ));
        }
        let authorization = user.map(basic).transpose().map_err(refused)?;
        let (authorization, secrets) = authorization.unzip();
        let mut secrets: Vec<String> = secrets.unwrap_or_default();
        secrets.extend(of_query(uri.query().unwrap_or_default()));
        let host = host.to_owned();
        let mut parts = uri.into_parts();
        parts.authority = Some(place);
        parts
            .path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        Ok(Self {
            uri: Uri::from_parts(parts).map_err(|_| no_url())?,
            host,
            port,
            tls,
            authorization,
            shown: redact::url(url),
            secrets,
        })
    }

    /// What no message may repeat.
    pub(super) fn secrets(&self) -> &[String] {
        &self.secrets
    }
}

/// The header that signs in `user`, a name and a password as they stand in a URL; and what of it
/// is secret.
fn basic(user: &str) -> Result<(HeaderValue, Vec<String>), &'static str> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let wrong =
        "a % in the user or the password is not followed by two hex digits; write it as %25";
    let mut plain = percent_decoded(name).ok_or(wrong)?;
    let password_bytes = percent_decoded(password).ok_or(wrong)?;
    let secret = if password.is_empty() {
        plain.clone()
    } else {
        password_bytes.clone()
    };
    plain.push(b':');
    plain.extend(password_bytes);
    let encoded = STANDARD.encode(plain);
    let mut value = HeaderValue::try_from(format!("Basic {encoded}"))
        .map_err(|_| "its user cannot stand in a header")?;
    value.set_sensitive(true);
    let secrets = [encoded, String::from_utf8_lossy(&secret).into_owned()];
    let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
    Ok((value, secrets.collect()))
}

/// What of a query may be secret, as it stands there and as it is meant.
fn of_query(query: &str) -> impl Iterator<Item = String> {
    let values = query
        .split('&')
        .filter_map(|pair| Some(pair.split_once('=')?.1));
    let both = values.flat_map(|value| {
        let meant = percent_decoded(value).map(|it| String::from_utf8_lossy(&it).into_owned());
        [Some(value.to_owned()), meant]
    });
    both.flatten()
        .filter(|value| value.len() >= SHORTEST_SECRET)
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_what_and_who() {
        for (url, host, port, asked, who) in [
            (
                "https://h.example/in",
                "h.example",
                443,
                "https://h.example/in",
                None,
            ),
            (
                "https://h.example",
                "h.example",
                443,
                "https://h.example/",
                None,
            ),
            (
                "https://h.example?a=b",
                "h.example",
                443,
                "https://h.example/?a=b",
                None,
            ),
            (
                "http://[::1]:8080/x",
                "::1",
                8080,
                "http://[::1]:8080/x",
                None,
            ),
            ("http://h:1024/", "h", 1024, "http://h:1024/", None),
            (
                "https://a:b%40c@h/x",
                "h",
                443,
                "https://h/x",
                Some("a:b@c"),
            ),
            ("https://token@h/x", "h", 443, "https://h/x", Some("token:")),
            ("https://:p@h/x@y", "h", 443, "https://h/x@y", Some(":p")),
        ] {
            let endpoint = Endpoint::parse(url, true).unwrap();
            assert_eq!(endpoint.host, host, "{url}");
            assert_eq!(endpoint.port, port, "{url}");
            assert_eq!(endpoint.uri.to_string(), asked, "{url}");
            let expected = who.map(|who| format!("Basic {}", STANDARD.encode(who)));
            let found = endpoint.authorization.as_ref();
            let found = found.map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn what_is_none_is_refused_and_no_password_shown() {
        for (url, why) in [
            ("https://", "no URL"),
            ("https:///x", "no URL"),
            ("https://h x/", "no URL"),
            ("https://h\r\nx/", "no URL"),
            ("https://me:hush@/x", "no URL"),
            ("https://me:hu/sh@h/x", "…"),
            ("https://me:hush%zz@h/x", "%25"),
            ("https://h/x#part", "fragment"),
            ("https://h:0/", "no port"),
            ("https://h:99999/", "no port"),
            ("https://h:/", "no port"),
            ("https://me:hush@h:22/", "443"),
            ("https://h:25/", "443"),
            ("http://h/", "allow_private"),
        ] {
            let text = Endpoint::parse(url, false).unwrap_err();
            assert!(text.contains(why), "{url}: {text}");
            assert!(!text.contains("hu"), "{text}");
        }
        let endpoint = Endpoint::parse("https://me:hush@h/x?sig=hush", false).unwrap();
        let debug = format!("{endpoint:?} {:?}", endpoint.authorization);
        assert!(!debug.contains("hush"), "{debug}");
        assert!(!debug.contains(&STANDARD.encode("me:hush")), "{debug}");
    }

    #[test]
    fn a_place_is_named_without_its_user() {
        for (url, place) in [
            ("https://h/x", "https://h/x"),
            ("https://u:p@h/x@y?z", "https://h/x@y?z"),
            ("https://u:p@h?m=a@b", "https://h?m=a@b"),
        ] {
            assert_eq!(without_user(url), place);
        }
    }
}
