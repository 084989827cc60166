//! Where a demo delivers to, when not below its own directory.
//!
//! In: `--destination aws=s3://bucket/prefix`, the settings, the demo's directory. Out: settings whose
//! destinations outside of that directory lie below a prefix of this run's own, which the directory
//! remembers for a recount. Promises: no run meets what another one wrote.

use crate::failure::Failure;
use crate::settings::{Settings, file_url};
use anyhow::Context;
use cloudsync_consumers::DestinationSettings;
use cloudsync_runtime::redact;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use uuid::Uuid;

/// Where the prefixes of a run are kept, in its directory.
const FILE_NAME: &str = "places.json";

/// What was asked for one destination: `aws=s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The destination.
    pub name: String,
    /// Its URL.
    pub url: String,
}

/// Lets `settings` lead where `given` says, each place below a prefix of its own.
///
/// # Errors
/// A usage failure, with the flag, when a destination is none of the settings or its URL leads
/// nowhere.
pub fn lead(settings: &mut Settings, given: &[Given], directory: &Path) -> Result<(), Failure> {
    let names = settings.destination_names().join(", ");
    for Given { name, url } in given {
        let found = settings.destinations.get_mut(name).ok_or_else(|| {
            Failure::usage(format!(
                "--destination names {name}, which is no destination; there are: {names}"
            ))
        })?;
        found.url.clone_from(url);
        if let Some((key, why)) = found.errors().into_iter().next() {
            let text = format!("--destination {name}: {key}: {why}");
            return Err(Failure::usage(text));
        }
    }
    // The last 32 bits of it are random.
    let run = format!("demo-{:08x}", Uuid::now_v7().as_u128() as u32);
    if cloudsync_dedupe::settings::is_shared(&settings.dedupe.url) {
        // What other runs have marked there was not delivered by this one.
        settings.dedupe.namespace.clone_from(&run);
    }
    for (name, destination) in &mut settings.destinations {
        if is_a_place(destination) && destination.url != file_url(&directory.join(name)) {
            let base = destination.url.trim_end_matches('/').to_owned();
            destination.url = format!("{base}/{run}");
        }
    }
    Ok(())
}

/// Whether records lie there under names.
fn is_a_place(destination: &DestinationSettings) -> bool {
    ["s3://", "az://", "file://"]
        .iter()
        .any(|scheme| destination.url.starts_with(scheme))
}

/// Keeps in `directory` where `settings` lead.
///
/// # Errors
/// The system's.
pub fn remember(settings: &Settings, directory: &Path) -> anyhow::Result<()> {
    let urls: BTreeMap<_, _> = settings
        .destinations
        .iter()
        .filter(|(_, it)| is_a_place(it))
        .map(|(name, it)| (name, &it.url))
        .collect();
    let path = directory.join(FILE_NAME);
    let json = serde_json::to_vec_pretty(&urls)?;
    std::fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
}

/// Lets `settings` lead where the run in `directory` delivered to.
///
/// # Errors
/// When what it kept is damaged.
pub fn recall(settings: &mut Settings, directory: &Path) -> anyhow::Result<()> {
    let path = directory.join(FILE_NAME);
    let json = match std::fs::read(&path) {
        Ok(json) => json,
        // Of an earlier version, which delivered into its own directory alone.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let what = format!("cannot read {}", path.display());
            return Err(anyhow::Error::new(error).context(what));
        }
    };
    let urls: BTreeMap<String, String> =
        serde_json::from_slice(&json).with_context(|| format!("{} is damaged", path.display()))?;
    for (name, url) in urls {
        if let Some(destination) = settings.destinations.get_mut(&name) {
            destination.url = url;
        }
    }
    Ok(())
}

/// The addresses that a run speaks to beyond this machine, as they may be shown.
#[must_use]
pub fn shown(settings: &Settings) -> Vec<String> {
    let all = settings.destinations.values();
    let all = all.filter(|it| !it.url.starts_with("file:") && !it.url.starts_with("null:"));
    let store = Some(settings.dedupe.url.as_str());
    let store = store.filter(|url| cloudsync_dedupe::settings::is_shared(url));
    let urls = all.map(|it| it.url.as_str()).chain(store);
    urls.map(redact::url).collect()
}

// === impl Given ===

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, url)) if !name.is_empty() && url.contains("://") => Ok(Self {
                name: name.to_owned(),
                url: url.to_owned(),
            }),
            _ => Err("write NAME=URL, such as aws=s3://bucket/prefix".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn each_run_has_prefixes_of_its_own_and_a_recount_finds_them() {
        let temp = TempDir::new().unwrap();
        let given: Vec<Given> = vec!["aws=s3://bucket/x/".parse().unwrap()];
        let mut settings = Settings::demo(temp.path());
        let own = settings.destinations["azure"].url.clone();
        lead(&mut settings, &given, temp.path()).unwrap();
        let url = settings.destinations["aws"].url.clone();
        assert!(url.starts_with("s3://bucket/x/demo-"), "{url}");
        assert_eq!(settings.destinations["azure"].url, own);
        remember(&settings, temp.path()).unwrap();
        let mut again = Settings::demo(temp.path());
        recall(&mut again, temp.path()).unwrap();
        assert_eq!(again.destinations["aws"].url, url);
        assert_eq!(shown(&again), [url]);
        let mut other = Settings::demo(temp.path());
        lead(&mut other, &given, temp.path()).unwrap();
        assert_ne!(other.destinations["aws"].url, again.destinations["aws"].url);
    }

    #[test]
    fn what_leads_nowhere_is_said_with_the_flag() {
        for (text, expected) in [
            ("gcp=s3://b/x", "there are: aws, azure"),
            ("aws=gs://b/x", "url: destination url gs://b/x is none"),
            ("aws=s3:///x", "names no bucket"),
        ] {
            let mut settings = Settings::demo(Path::new("/d"));
            let given: Given = text.parse().unwrap();
            let error = lead(&mut settings, &[given], Path::new("/d")).unwrap_err();
            let said = format!("{error:?}");
            assert!(
                said.contains("--destination") && said.contains(expected),
                "{said}"
            );
        }
        for wrong in ["s3://b/x", "aws", "=s3://b/x", "aws=/tmp"] {
            assert!(wrong.parse::<Given>().is_err(), "{wrong}");
        }
    }
}
