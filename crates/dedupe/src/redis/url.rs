//! Where a Redis store is, as `dedupe.url` says it.
//!
//! In: the URL. Out: a [`Target`]: addresses, shape, TLS, credentials and database. Promises:
//! neither an error nor what is printed of a target ever holds a user's password or name.

use std::fmt;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Addresses that a URL may list.
const MAX_NODES: usize = 64;

/// A Redis to connect to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) shape: Shape,
    /// Of the server, of the Sentinels, or of some nodes of the Cluster; at least one.
    pub(super) nodes: Vec<Node>,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

/// What stands behind the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Standalone,
    /// Sentinels that know where the master of this name is.
    Sentinel {
        master: String,
    },
    Cluster,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// A name or an address; an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Whether `scheme` is one of a Redis.
pub(crate) fn is_redis(scheme: &str) -> bool {
    shape_of(scheme).is_some()
}

/// Whether TLS, and which shape.
fn shape_of(scheme: &str) -> Option<(bool, Shape)> {
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    let shape = match kind {
        "" => Shape::Standalone,
        "sentinel" => Shape::Sentinel {
            master: String::new(),
        },
        "cluster" => Shape::Cluster,
        _ => return None,
    };
    Some((tls, shape)).filter(|_| kind.is_empty() != scheme.contains('+'))
}

// === impl Target ===

impl Target {
    /// Reads `url`.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without repeating what may be a secret.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("it has no ://")?;
        let (tls, mut shape) = shape_of(scheme).ok_or("its scheme is none of a Redis")?;
        if rest.contains(['?', '#']) {
            return Err("nothing may follow ? or #; write %3F and %23 in a password".to_owned());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, addresses) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = read_credentials(credentials)?;
        let port = match shape {
            Shape::Sentinel { .. } => SENTINEL_PORT,
            Shape::Standalone | Shape::Cluster => PORT,
        };
        let nodes = addresses
            .split(',')
            .map(|address| read_node(address, port))
            .collect::<Result<Vec<Node>, String>>()?;
        if nodes.len() > MAX_NODES {
            return Err(format!("it lists more than {MAX_NODES} addresses"));
        }
        let database = match &mut shape {
            Shape::Standalone if nodes.len() > 1 => {
                return Err(
                    "several addresses need redis+sentinel:// or redis+cluster://".to_owned(),
                );
            }
            Shape::Standalone => read_database(path)?,
            Shape::Sentinel { master } => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err("the name of the master is missing, as in …/mymaster".to_owned());
                }
                *master = decode(name)?;
                read_database(database)?
            }
            Shape::Cluster if path.is_empty() || path == "0" => 0,
            Shape::Cluster => return Err("a Redis Cluster has database 0 only".to_owned()),
        };
        Ok(Self {
            shape,
            nodes,
            tls,
            user,
            password,
            database,
        })
    }
}

impl fmt::Display for Target {
    /// The URL without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let kind = match self.shape {
            Shape::Standalone => "",
            Shape::Sentinel { .. } => "+sentinel",
            Shape::Cluster => "+cluster",
        };
        write!(f, "{scheme}{kind}://")?;
        for (n, node) in self.nodes.iter().enumerate() {
            write!(f, "{}{node}", if n == 0 { "" } else { "," })?;
        }
        match &self.shape {
            Shape::Standalone => write!(f, "/{}", self.database),
            Shape::Sentinel { master } => write!(f, "/{master}/{}", self.database),
            Shape::Cluster => Ok(()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn read_credentials(text: &str) -> Result<(Option<String>, Option<String>), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let read = |part: &str| match part {
        "" => Ok(None),
        part => decode(part).map(Some),
    };
    Ok((read(user)?, read(password)?))
}

fn read_node(address: &str, default_port: u16) -> Result<Node, String> {
    let wrong = || {
        format!(
            "an address is no host:port, as in 127.0.0.1:{default_port} or [::1]:{default_port}; \
             write %40 for @, %2F for / and %3A for : in a user or password"
        )
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            if !host.contains(':') {
                return Err(wrong());
            }
            (host, port)
        }
        None => match address.find(':') {
            Some(colon) => address.split_at_checked(colon).ok_or_else(wrong)?,
            None => (address, ""),
        },
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)?,
        None if port.is_empty() => default_port,
        None => return Err(wrong()),
    };
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'));
    if host.is_empty() || host.contains(odd) {
        return Err(wrong());
    }
    Ok(Node {
        host: host.to_owned(),
        port,
    })
}

fn read_database(path: &str) -> Result<i64, String> {
    match path {
        "" => Ok(0),
        path => path
            .parse::<u16>()
            .map(i64::from)
            .map_err(|_| "what follows the address is no number of a database".to_owned()),
    }
}

/// Undoes `%41` and the like.
fn decode(text: &str) -> Result<String, String> {
    let wrong = || "a % in it is not followed by two hexadecimal digits of UTF-8".to_owned();
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit(), digit());
        let value = high.zip(low).map(|(high, low)| high * 16 + low);
        let value = value.and_then(|value| u8::try_from(value).ok());
        decoded.push(value.ok_or_else(wrong)?);
    }
    String::from_utf8(decoded).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(host: &str, port: u16) -> Node {
        Node {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn every_shape_is_read() {
        let target = Target::parse("redis://app:p%40ss%2Fw@[::1]:6380/3").unwrap();
        assert_eq!(target.nodes, [node("::1", 6380)]);
        assert_eq!(target.user.as_deref(), Some("app"));
        assert_eq!(target.password.as_deref(), Some("p@ss/w"));
        assert_eq!((target.database, target.tls), (3, false));
        assert_eq!(target.to_string(), "redis://[::1]:6380/3");
        let target = Target::parse("rediss://:secret@cache.example").unwrap();
        assert_eq!((target.user, target.tls), (None, true));
        assert_eq!(target.nodes, [node("cache.example", 6379)]);
        let target = Target::parse("redis+sentinel://a:1,b/mymaster/2").unwrap();
        let master = "mymaster".to_owned();
        assert_eq!(target.shape, Shape::Sentinel { master });
        assert_eq!(target.nodes, [node("a", 1), node("b", 26379)]);
        assert_eq!(
            target.to_string(),
            "redis+sentinel://a:1,b:26379/mymaster/2"
        );
        let target = Target::parse("rediss+cluster://u:p@a:1,b:2").unwrap();
        assert_eq!(target.shape, Shape::Cluster);
        assert_eq!(target.to_string(), "rediss+cluster://a:1,b:2");
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        for wrong in [
            "redis://",
            "redis:secret",
            "redis+://a",
            "redis+other://a",
            "redis://u:secret@a,b",
            "redis://u:secret@a:0",
            "redis://u:secret@a:b",
            "redis://u:sec/ret@a:1",
            "redis://u:secret@a/one",
            "redis://u:secret@[1]:2",
            "redis://u:secret%4@a:1",
            "redis://u:secret@a:1?db=2",
            "redis+sentinel://u:secret@a:1",
            "redis+cluster://u:secret@a:1/3",
        ] {
            let error = Target::parse(wrong).unwrap_err();
            assert!(
                !error.contains("secret") && !error.contains("sec"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(redis|rediss)(\\+cluster|\\+sentinel)?://.{0,40}") {
            drop(Target::parse(&text));
        }

        #[test]
        fn credentials_are_read_and_never_printed(user in "[a-z@:/%é]{4,9}", password in "[A-Z@:/%#?]{4,9}") {
            let encode = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            let url = format!("redis://{}:{}@127.0.0.1:1/0", encode(&user), encode(&password));
            let target = Target::parse(&url).unwrap();
            prop_assert_eq!(target.user.as_deref(), Some(user.as_str()));
            prop_assert_eq!(target.password.as_deref(), Some(password.as_str()));
            prop_assert_eq!(format!("{target:?}"), "Target(redis://127.0.0.1:1/0)");
        }
    }
}
