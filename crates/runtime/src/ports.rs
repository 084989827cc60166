//! Who holds a port: for the message that says that it is taken.
//!
//! In: an address. Out: the process that listens there, as far as this system tells: Linux does,
//! through `/proc`, for processes of the same user (or any, as root). Best effort by nature.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// Its id.
    pub pid: u32,
    /// Its name, as the system shows it.
    pub name: String,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// The process that listens on `address` or on the wildcard address with its port; `None` where
/// the system does not tell.
#[must_use]
pub fn port_owner(address: SocketAddr) -> Option<PortOwner> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| {
            table
                .lines()
                .skip(1)
                .find_map(|line| listening_inode(line, address))
        })?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds(*pid, &socket))
        .map(|pid| PortOwner {
            pid,
            name: name_of(pid),
        })
}

/// The inode in a line of `/proc/net/tcp`, if it is a listener that takes `address`.
fn listening_inode(line: &str, address: SocketAddr) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = parse_ip(ip)?;
    let same = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    (state == LISTEN && port == address.port() && same).then_some(inode)
}

/// An address as the kernel prints it: 32-bit words in the machine's byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == Path::new(socket)))
}

fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => "a process without a name".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found_by_its_port() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                assert!(address.starts_with('['), "{address} must be there");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let ip = if address.starts_with('[') {
                "[::1]"
            } else {
                "127.0.0.1"
            };
            let owner = port_owner(format!("{ip}:{port}").parse().unwrap()).unwrap();
            assert_eq!(owner.pid, std::process::id());
            assert!(!owner.name.is_empty());
        }
    }

    #[test]
    fn a_port_that_only_has_connections_has_no_owner() {
        let line = "   0: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 \
                    1000        0 12345 1 0000000000000000";
        assert_eq!(
            listening_inode(line, "127.0.0.1:8080".parse().unwrap()),
            None
        );
        let line = line.replace(" 01 ", " 0A ");
        assert_eq!(
            listening_inode(&line, "127.0.0.1:8080".parse().unwrap()),
            Some(12345)
        );
        assert_eq!(
            listening_inode(&line, "127.0.0.1:8081".parse().unwrap()),
            None
        );
        assert_eq!(
            listening_inode("nonsense", "127.0.0.1:8081".parse().unwrap()),
            None
        );
    }
}
