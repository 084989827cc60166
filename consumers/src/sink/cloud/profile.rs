//! A profile of the AWS command line: `~/.aws/credentials` and `~/.aws/config`.
//!
//! In: its name. Out: its keys and region; none, where no such profile holds keys. Promises: one that
//! asks for more than keys (a role, a single sign-on, a program) is refused in words, since whoever
//! names it would otherwise be let in as somebody else, or not at all.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

/// Long-lived or temporary keys.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
    pub(super) region: Option<String>,
}

type Section = BTreeMap<String, String>;

/// What a profile may say instead of keys, which this program does not do.
const NOT_DONE: &[&str] = &[
    "role_arn",
    "sso_session",
    "sso_start_url",
    "credential_process",
];

// === impl Profile ===

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Profile {
    /// The profile `name`; `None` where there is none of that name.
    ///
    /// # Errors
    /// A sentence, where it cannot be read, or asks for what is not done here.
    pub(super) fn read(name: &str) -> Result<Option<Self>, String> {
        let credentials = text_of("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        let config = text_of("AWS_CONFIG_FILE", "config")?;
        Self::of(name, &credentials, &config)
    }

    /// What is said where a profile that was named is not there.
    pub(super) fn missing(name: &str) -> String {
        format!(
            "profile {name} stands neither in ~/.aws/credentials nor in ~/.aws/config (or where \
             AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE point); `aws configure --profile \
             {name}` makes it"
        )
    }

    fn of(name: &str, credentials: &str, config: &str) -> Result<Option<Self>, String> {
        let in_config = match name {
            "default" => name.to_owned(),
            _ => format!("profile {name}"),
        };
        let in_config = section(config, &in_config).unwrap_or_default();
        let own = section(credentials, name).unwrap_or_default();
        let asked = NOT_DONE.iter().find(|key| {
            let key = **key;
            in_config.contains_key(key) || own.contains_key(key)
        });
        match asked {
            // Nobody named it: the identity of the machine may do.
            Some(_) if name == "default" => return Ok(None),
            Some(key) => {
                return Err(format!(
                    "profile {name} says {key}, which is not done here; export its keys \
                     (`aws configure export-credentials --profile {name} --format env`) or use a web \
                     identity"
                ));
            }
            None => {}
        }
        let region = in_config
            .get("region")
            .or_else(|| own.get("region"))
            .cloned();
        // The credentials file goes before the other one; a session belongs to the keys beside it.
        let mut keys = match own.contains_key("aws_access_key_id") {
            true => own,
            false => in_config,
        };
        let mut take = |key: &str| keys.remove(key);
        let (Some(id), Some(secret)) = (take("aws_access_key_id"), take("aws_secret_access_key"))
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            access_key_id: id,
            secret_access_key: secret,
            session_token: take("aws_session_token"),
            region,
        }))
    }
}

/// The text of a file of the AWS command line; empty where there is none.
fn text_of(variable: &str, name: &str) -> Result<String, String> {
    let path = match env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => match env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(".aws").join(name),
            None => return Ok(String::new()),
        },
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// The section `name`, as the AWS command line writes its files: `[name]`, `key = value`, comments
/// with # or ; at the beginning of a line; nested values are indented, and not for us.
fn section(text: &str, name: &str) -> Option<Section> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) || is_nested {
            continue;
        }
        if let Some(title) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            let words: Vec<_> = title.split_whitespace().collect();
            inside = words.join(" ") == name;
            if inside {
                found.get_or_insert_with(Section::new);
            }
        } else if let (true, Some((key, value)), Some(section)) =
            (inside, line.split_once('='), found.as_mut())
        {
            section.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id=A\naws_secret_access_key = s=1\n\
        [ci]\naws_access_key_id = B\naws_secret_access_key = t\naws_session_token = u\n";
    const CONFIG: &str = "[default]\nregion = eu-central-1\ns3 =\n  region = nested\n\
        [profile ci]\nregion=us-west-2\naws_access_key_id = from-config\n\
        [profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\n";

    #[test]
    fn keys_come_from_one_file_and_the_region_from_the_other() {
        let of = |name: &str| Profile::of(name, CREDENTIALS, CONFIG).unwrap();
        let default = of("default").unwrap();
        assert_eq!(
            (
                default.access_key_id.as_str(),
                default.secret_access_key.as_str()
            ),
            ("A", "s=1")
        );
        assert_eq!(default.region.as_deref(), Some("eu-central-1"));
        let ci = of("ci").unwrap();
        assert_eq!(
            (ci.access_key_id.as_str(), ci.session_token.as_deref()),
            ("B", Some("u"))
        );
        assert_eq!(ci.region.as_deref(), Some("us-west-2"));
        assert_eq!(of("nobody"), None);
        assert!(!format!("{ci:?}").contains("\"u\""), "{ci:?}");
    }

    #[test]
    fn what_is_not_done_is_said() {
        let keys = "[both]\naws_access_key_id = A\naws_secret_access_key = s\n";
        let role = "[profile both]\nrole_arn = arn\nsource_profile = both\n";
        assert!(
            Profile::of("both", keys, role).is_err(),
            "keys beside a role are the source's"
        );
        let why = Profile::of("role", CREDENTIALS, CONFIG).unwrap_err();
        assert!(
            why.contains("role_arn") && why.contains("export-credentials"),
            "{why}"
        );
        let default = "[default]\nsso_session = x\n";
        assert_eq!(Profile::of("default", "", default), Ok(None));
    }
}
