//! Where a record lies as an object of its own: `t=<tenant>/<2 hex>/<id16 hex>.json`.
//!
//! In: tenant and identity. Out: a name, and back. Promises: the name follows from (tenant, key,
//! id) alone, so whoever writes the record again, from wherever in the log, meets the same name;
//! nothing a client sent stands in it but the tenant, and that only in harmless letters.

use cloudsync::identity::Id16;
use std::fmt;

/// The name of one record's object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The tenant, as the name has it: everything but letters, digits, `.`, `_` and `-` as `%XX`.
    pub tenant: String,
    /// The identity.
    pub id: Id16,
}

// === impl ObjectName ===

impl ObjectName {
    /// The name of the record `id` of `tenant`.
    #[must_use]
    pub fn new(tenant: &str, id: Id16) -> Self {
        let mut harmless = String::with_capacity(tenant.len());
        for byte in tenant.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
                harmless.push(char::from(byte));
            } else {
                harmless.push_str(&format!("%{byte:02X}"));
            }
        }
        Self {
            tenant: harmless,
            id,
        }
    }

    /// Reads a name. `None`: no record of ours has such a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (tenant, rest) = name.strip_prefix("t=")?.split_once('/')?;
        let (fan, file) = rest.split_once('/')?;
        let hex = file.strip_suffix(".json")?;
        let id = id_of_hex(hex)?;
        let found = Self {
            tenant: tenant.to_owned(),
            id,
        };
        (hex.get(..2) == Some(fan) && found.to_string() == name).then_some(found)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t={}/{:02x}/{}.json", self.tenant, self.id.0[0], self.id)
    }
}

fn id_of_hex(hex: &str) -> Option<Id16> {
    let plain = hex.len() == 32 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = plain
        .then(|| u128::from_str_radix(hex, 16).ok())
        .flatten()?;
    Some(Id16(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::path::Path;
    use proptest::prelude::*;

    /// These names lie at destinations: another one would be another effect.
    #[test]
    fn names_never_change() {
        let id = Id16::of("default", "ci", "ci37868143");
        let name = ObjectName::new("default", id).to_string();
        assert_eq!(name, "t=default/ee/ee73b5d206ea8ebfbfdb2189a0a115eb.json");
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        for name in [
            "cloudsync-destination.json",
            "t=default/ef/ee73b5d206ea8ebfbfdb2189a0a115eb.json",
            "t=default/ee/EE73b5d206ea8ebfbfdb2189a0a115eb.json",
            "t=default/ee/ee73b5d206ea8ebfbfdb2189a0a115eb.json.tmp",
            "t=default/ee73b5d206ea8ebfbfdb2189a0a115eb.json",
            "t=a/b/ee/ee73b5d206ea8ebfbfdb2189a0a115eb.json",
            "t=default/ee/ßß73b5d206ea8ebfbfdb2189a0a115.json",
        ] {
            assert_eq!(ObjectName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_a_path_and_is_read_back(tenant in ".{0,20}", id in any::<[u8; 16]>()) {
            let name = ObjectName::new(&tenant, Id16(id));
            let text = name.to_string();
            prop_assert_eq!(Path::parse(&text).unwrap().parts().count(), 3, "{}", text);
            prop_assert_eq!(ObjectName::parse(&text), Some(name));
        }
    }
}
