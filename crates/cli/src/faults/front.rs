//! The destinations of a demo, each behind a proxy with the faults that were asked for.
//!
//! In: `--faults aws=2%`, the settings. Out: the same settings, with the proxies in the place of the
//! servers. A destination that does not speak HTTP has nothing that could be put before it, and is
//! refused with what would do.

use super::plan::{Plan, PlanError};
use super::proxy::FaultyProxy;
use crate::failure::Failure;
use crate::settings::Settings;
use anyhow::Context;
use cloudsync_consumers::DestinationSettings;
use cloudsync_consumers::sink::cloud;
use cloudsync_runtime::redact;
use hyper::Uri;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;

/// What was asked for one destination: `aws=2%`.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The destination.
    pub destination: String,
    /// What shall go wrong there.
    pub plan: Plan,
}

/// Why a text asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// There is no name.
    #[error("{0:?} names no destination: write NAME=FAULTS, such as aws=2%")]
    Name(String),
    /// It is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The proxies of a demo. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Front(Vec<(String, FaultyProxy)>);

// === impl Asked ===

impl FromStr for Asked {
    type Err = AskedError;

    fn from_str(text: &str) -> Result<Self, AskedError> {
        match text.split_once('=') {
            Some((name, plan)) if !name.trim().is_empty() => Ok(Self {
                destination: name.trim().to_owned(),
                plan: plan.parse()?,
            }),
            Some(_) | None => Err(AskedError::Name(text.to_owned())),
        }
    }
}

// === impl Front ===

impl Front {
    /// Starts a proxy for each destination that `asked` names, and lets `settings` lead there.
    ///
    /// # Errors
    /// A usage failure, when a destination is none of the settings or does not speak HTTP without
    /// TLS; another, when its server has no address.
    pub async fn start(
        asked: &[Asked],
        settings: &mut Settings,
        seed: u64,
    ) -> Result<Self, Failure> {
        let mut front = Self::default();
        for Asked { destination, plan } in asked {
            let names: Vec<_> = settings.destinations.keys().cloned().collect();
            let found = settings.destinations.get_mut(destination);
            let Some(found) = found else {
                let text = format!(
                    "--faults names {destination}, which is no destination; there are: {}",
                    names.join(", ")
                );
                return Err(Failure::usage(text));
            };
            let server = server_of(found);
            let (authority, rest) = parts(server).ok_or_else(|| {
                Failure::usage(format!(
                    "--faults {destination}: nothing can be put before {}; faults need a \
                     destination that speaks HTTP without TLS: destinations.{destination}.url = \
                     http://host:port/path, or s3:// and az:// with an endpoint at http://",
                    redact::url(server)
                ))
            })?;
            let (user, host) = match authority.rsplit_once('@') {
                Some((user, host)) => (format!("{user}@"), host),
                None => (String::new(), authority.as_str()),
            };
            let upstream = resolve(host).await?;
            let proxy = FaultyProxy::start(upstream, plan.clone(), seed);
            let proxy = proxy.await.context("cannot start a proxy with faults")?;
            *server = format!("http://{user}{}{rest}", proxy.address());
            // The proxy is on this machine, whatever lies behind it.
            found.allow_private = true;
            front.0.push((destination.clone(), proxy));
        }
        Ok(front)
    }

    /// What happened at each destination, a line each.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(name, proxy)| told(name, proxy))
            .collect()
    }
}

fn told(name: &str, proxy: &FaultyProxy) -> String {
    let mut text = format!("faults at {name}, in {} requests:", proxy.requests());
    for (fault, times) in proxy.counts() {
        // A String takes everything.
        let _infallible = write!(text, " {fault} {times}");
    }
    let missing: Vec<_> = proxy.missing().iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        let _infallible = write!(text, "; never: {}", missing.join(", "));
    }
    text
}

/// Where the URL of the server stands that `destination` speaks to.
fn server_of(destination: &mut DestinationSettings) -> &mut String {
    match cloud::endpoint(destination) {
        Some(endpoint) if destination.url.starts_with("s3:") => {
            destination.s3.endpoint.insert(endpoint)
        }
        Some(endpoint) => destination.azure.endpoint.insert(endpoint),
        None => &mut destination.url,
    }
}

/// Authority and rest of an `http://` URL.
fn parts(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("http") {
        return None;
    }
    let authority = uri.authority()?.as_str();
    let (_, rest) = url.split_once(authority)?;
    Some((authority.to_owned(), rest.to_owned()))
}

async fn resolve(host: &str) -> Result<SocketAddr, Failure> {
    let with_port = match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        Some(_) | None => format!("{host}:80"),
    };
    let mut found = tokio::net::lookup_host(&with_port)
        .await
        .with_context(|| format!("cannot look up {host}"))?;
    let first = found.next();
    Ok(first.with_context(|| format!("{host} has no address"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_destination_without_http_is_refused_and_one_with_it_is_behind_the_proxy() {
        let asked: Asked = "aws=broken:5%".parse().unwrap();
        let mut settings = Settings::default();
        let aws = settings.destinations.get_mut("aws").unwrap();
        aws.url = "file:///tmp/aws".to_owned();
        let refused = Front::start(std::slice::from_ref(&asked), &mut settings, 1).await;
        let text = format!("{:?}", refused.unwrap_err());
        assert!(text.contains("without TLS"), "{text}");
        let aws = settings.destinations.get_mut("aws").unwrap();
        aws.url = "http://me:hush@127.0.0.1:8080/in?x=1".to_owned();
        let front = Front::start(&[asked], &mut settings, 1).await.unwrap();
        let proxy = front.0[0].1.address();
        let url = &settings.destinations["aws"].url;
        assert_eq!(*url, format!("http://me:hush@{proxy}/in?x=1"));
        assert!(front.report()[0].ends_with("never: broken"));
        assert!("2%".parse::<Asked>().is_err());
    }
}
