//! What scenarios run against: everything in this process, or what runs already.
//!
//! In: settings, and a directory or the address of a gateway. Out: where to send, which log to ask,
//! which destinations can be read back. Promises: what runs already is only sent to and read; what
//! is started here can be ended and started again.

use crate::settings::Settings;
use crate::stack::{Roles, Stack, StackError};
use anyhow::Context;
use cloudsync::{Client, ClientSettings};
use cloudsync_consumers::{DestinationSettings, can_be_read_back};
use cloudsync_kafka::{KafkaSettings, topic_ends};
use cloudsync_runtime::{Readiness, redact};
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long everything may take to come up.
const READY: Duration = Duration::from_secs(60);
/// How long a gateway may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// What scenarios run against.
#[derive(Debug)]
pub(crate) struct Deployment {
    settings: Settings,
    at: At,
    /// Where records go.
    pub(crate) places: Vec<Place>,
}

#[derive(Debug)]
enum At {
    /// Everything in this process, with its data below the directory; `None` while it is down.
    Here(PathBuf, Option<Box<Stack>>),
    /// The gateway, and what stands in for the readiness of what is elsewhere: nothing is known.
    There(String, Readiness),
}

/// A destination.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name.
    pub(crate) name: String,
    /// Its consumer group.
    pub(crate) group: String,
    /// Its URL.
    pub(crate) settings: DestinationSettings,
    /// Why what lies there cannot be counted.
    pub(crate) unread: Option<String>,
}

// === impl Deployment ===

impl Deployment {
    /// Starts everything below `directory`.
    ///
    /// # Errors
    /// When something does not come up.
    pub(crate) async fn here(settings: Settings, directory: PathBuf) -> anyhow::Result<Self> {
        let stack = start(&settings, &directory).await?;
        let places = places(&settings).await?;
        Ok(Self {
            settings,
            at: At::Here(directory, Some(Box::new(stack))),
            places,
        })
    }

    /// What runs already behind the gateway `target`. Every part that is to be asked has answered.
    ///
    /// # Errors
    /// When one does not.
    pub(crate) async fn there(settings: Settings, target: &str) -> anyhow::Result<Self> {
        // Whether it is an address at all.
        Client::new(ClientSettings::to(target)).context("--target")?;
        let connected = timeout(CONNECT, TcpStream::connect(with_port(target))).await;
        connected
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .with_context(|| format!("no gateway answers at {target}"))?;
        let kafka = &settings.kafka;
        topic_ends(kafka, &kafka.topic).await.with_context(|| {
            format!("cannot ask the log of {target}; is kafka.brokers what its gateway has?")
        })?;
        let places = places(&settings).await?;
        Ok(Self {
            settings,
            at: At::There(target.to_owned(), Readiness::new()),
            places,
        })
    }

    /// The gateway.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn endpoint(&self) -> anyhow::Result<String> {
        match &self.at {
            At::There(target, _) => Ok(target.clone()),
            At::Here(_, stack) => {
                let gateway = stack.as_ref().and_then(|stack| stack.addresses().gateway);
                let gateway = gateway.context("the gateway has no address")?;
                Ok(format!("http://{gateway}"))
            }
        }
    }

    /// Where the log is.
    pub(crate) fn kafka(&self) -> &KafkaSettings {
        match &self.at {
            At::Here(_, Some(stack)) => stack.kafka(),
            At::Here(_, None) | At::There(..) => &self.settings.kafka,
        }
    }

    /// What waits, as far as it is known.
    pub(crate) fn readiness(&self) -> Readiness {
        match &self.at {
            At::Here(_, Some(stack)) => stack.readiness().clone(),
            At::Here(_, None) => Readiness::new(),
            At::There(_, unknown) => unknown.clone(),
        }
    }

    /// Runs `work`, as long as nothing ends that was started here.
    ///
    /// # Errors
    /// [`StackError::Ended`].
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, StackError> {
        let At::Here(_, Some(stack)) = &self.at else {
            return Ok(work.await);
        };
        tokio::select! {
            done = work => Ok(done),
            ended = stack.ended() => Err(ended.into()),
        }
    }

    /// Ends everything and starts it again; `false` where it is not ours.
    ///
    /// # Errors
    /// When it does not come up again.
    pub(crate) async fn restart(&mut self) -> Result<bool, StackError> {
        self.end().await?;
        let At::Here(directory, stack) = &mut self.at else {
            return Ok(false);
        };
        *stack = Some(Box::new(start(&self.settings, directory).await?));
        Ok(true)
    }

    /// Ends what was started here: what it has not finished is met again after a restart.
    ///
    /// # Errors
    /// When the log could not be closed cleanly.
    pub(crate) async fn end(&mut self) -> Result<(), StackError> {
        let At::Here(_, stack) = &mut self.at else {
            return Ok(());
        };
        let Some(stack) = stack.take() else {
            return Ok(());
        };
        let _left = stack.drain(self.settings.grace_period).await;
        stack.stop();
        stack.close().await
    }
}

/// An interrupted run tells what it started to stop, before its log is gone.
impl Drop for Deployment {
    fn drop(&mut self) {
        if let At::Here(_, Some(stack)) = &self.at {
            stack.stop();
        }
    }
}

async fn start(settings: &Settings, directory: &Path) -> Result<Stack, StackError> {
    let stack = Stack::start(settings, &Roles::all(settings, directory)).await?;
    stack.ready(READY).await?;
    Ok(stack)
}

async fn places(settings: &Settings) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for (name, destination) in &settings.destinations {
        let url = &destination.url;
        let shown = redact::url(url);
        let can = can_be_read_back(destination).await;
        let can = can.with_context(|| format!("cannot read the destination {name} back"))?;
        let unread = (!can).then(|| format!("{shown} keeps nothing that could be read back"));
        places.push(Place {
            name: name.clone(),
            group: destination.group.clone(),
            settings: destination.clone(),
            unread,
        });
    }
    Ok(places)
}

/// The addresses of other machines that a run against `target` with these `settings` talks to.
pub(crate) fn elsewhere(settings: &Settings, target: Option<&str>) -> Vec<String> {
    let gateway = target.map(|url| (authority(url).to_owned(), url.to_owned()));
    let brokers = settings.kafka.brokers.split(',').map(str::trim);
    let brokers = brokers.filter(|_| !settings.log_is_embedded());
    let brokers = brokers.map(|broker| (broker.to_owned(), format!("kafka {broker}")));
    let urls = settings.destinations.values().map(|it| it.url.as_str());
    // The store of what runs already is its consumers' affair.
    let store = Some(settings.dedupe.url.as_str()).filter(|_| target.is_none());
    let urls = urls.chain(store);
    let urls = urls.filter(|url| url.contains("://") && !url.starts_with("file:"));
    let urls = urls.filter(|url| !url.starts_with("null:"));
    let urls = urls.map(|url| (authority(url).to_owned(), redact::url(url)));
    let all = gateway.into_iter().chain(brokers).chain(urls);
    let away = all.filter(|(address, _)| !is_local(address));
    away.map(|(_, shown)| shown).collect()
}

/// Host and port of a URL, or of what is nothing else.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// The address that a client of the gateway `url` connects to.
fn with_port(url: &str) -> String {
    let address = authority(url);
    match port_of(address) {
        Some(_) => address.to_owned(),
        None => format!("{address}:80"),
    }
}

fn port_of(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

fn is_local(address: &str) -> bool {
    let host = port_of(address).map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = host.parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_other_machines_is_told_without_passwords() {
        let mut settings = Settings::default();
        settings.kafka.brokers = "127.0.0.1:9092, kafka-1:9092".to_owned();
        let mut urls = ["file:///srv/aws", "https://kim:secret@sink.example/in"].into_iter();
        for destination in settings.destinations.values_mut() {
            destination.url = urls.next().unwrap_or_default().to_owned();
        }
        let told = elsewhere(&settings, Some("http://[::1]:50051"));
        assert_eq!(
            told,
            ["kafka kafka-1:9092", "https://kim:***@sink.example/in"]
        );
        let told = elsewhere(&Settings::default(), Some("http://gateway.example:50051/"));
        assert_eq!(told, ["http://gateway.example:50051/"]);
        assert!(elsewhere(&Settings::default(), Some("http://localhost:1")).is_empty());
    }
}
