//! Starting each part.

use super::error::{Ended, StackError, taken};
use super::{Group, Roles, Stack};
use crate::settings::Settings;
use cloudsync_consumers::record::name::ObjectName;
use cloudsync_consumers::{ConsumerDeps, DestinationConsumer, DestinationSettings, WriteMode};
use cloudsync_dedupe::floor::Nothing;
use cloudsync_dedupe::{DedupeStore, Receipts};
use cloudsync_devbroker::{Broker, BrokerConfig, BrokerError, Storage};
use cloudsync_gateway::{BindError, Destination, Gateway, GatewayDeps, GatewayPort};
use cloudsync_kafka::Producer;
use cloudsync_runtime::{AdminServer, chain};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

impl Stack {
    pub(super) async fn start_admin(&mut self, listen: SocketAddr) -> Result<(), StackError> {
        let bound = AdminServer::bind(listen, self.readiness.clone(), self.metrics.clone()).await;
        let server = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => taken("the admin endpoint", listen, "--admin-listen"),
            _ => StackError::Admin {
                address: listen,
                source,
            },
        })?;
        self.addresses.admin = Some(server.address());
        let end = self.admin.shutdown.clone();
        let serve = server.serve(
            self.intake.shutdown.clone(),
            async move { end.draining().await },
        );
        self.admin.tasks.spawn("admin", serve);
        Ok(())
    }

    pub(super) async fn start_log(
        &mut self,
        settings: &Settings,
        directory: PathBuf,
    ) -> Result<(), StackError> {
        let listen = settings.log.listen;
        let config = BrokerConfig {
            listen,
            storage: Storage::Dir(directory),
            fsync: settings.log.fsync.0,
            retain_for: settings.retain_for(),
            ..BrokerConfig::default()
        };
        // Recovery reads the whole log.
        let started = tokio::task::spawn_blocking(move || Broker::start(config)).await;
        let broker = match started {
            Ok(Ok(broker)) => broker,
            Ok(Err(BrokerError::AddressInUse { .. })) => {
                return Err(taken("the embedded log", listen, "--log-listen"));
            }
            Ok(Err(error)) => return Err(StackError::Log(error)),
            Err(_) => return Err(StackError::Log(BrokerError::Ended)),
        };
        self.addresses.log = Some(broker.address());
        self.kafka.brokers = broker.address().to_string();
        self.broker = Some(Arc::new(broker));
        Ok(())
    }

    /// To be called before anything is made: what cannot listen leaves nothing behind.
    pub(super) fn bind_gateway(&self, settings: &Settings) -> Result<GatewayPort, StackError> {
        let bound = GatewayPort::bind(settings.gateway.clone(), &self.kafka);
        bound.map_err(|error| match error {
            BindError::Taken { address } => taken("the gateway", address, "--listen"),
            other => StackError::Gateway(other),
        })
    }

    pub(super) fn start_gateway(
        &mut self,
        settings: &Settings,
        port: GatewayPort,
    ) -> Result<(), StackError> {
        let producer = Producer::new(&self.kafka).map_err(StackError::Producer)?;
        let destinations = settings.destinations.iter();
        let destinations = destinations
            .map(|(name, destination)| self.seen_by_gateway(settings, name, destination))
            .collect::<Result<_, StackError>>()?;
        let deps = GatewayDeps {
            kafka: self.kafka.clone(),
            producer: producer.clone(),
            destinations,
            receipts: Arc::new(receipts(settings)?),
            shards: settings.dedupe.shards,
            tasks: self.intake.tasks.clone(),
            shutdown: self.intake.shutdown.clone(),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        };
        let gateway = Gateway::on(port, deps);
        self.producer = Some(producer);
        self.addresses.gateway = Some(gateway.address());
        let watched = self.watched("the gateway".to_owned(), &self.intake, gateway.serve());
        self.intake.tasks.spawn("gateway", watched);
        Ok(())
    }

    /// What the gateway knows of the destination `name`. Its marks: those of its store in this
    /// process, else of one that is shared.
    fn seen_by_gateway(
        &self,
        settings: &Settings,
        name: &str,
        destination: &DestinationSettings,
    ) -> Result<Destination, StackError> {
        let marks = match self.stores.get(name) {
            Some(store) => Some(Arc::clone(store)),
            // A store is named by where its destination lies.
            None if destination.url.is_empty() => None,
            None => {
                let named = destination.dedupe_name(name);
                let opened = cloudsync_dedupe::settings::look_at_shared(&settings.dedupe, &named);
                opened.map_err(|source| StackError::Dedupe {
                    destination: name.to_owned(),
                    source,
                })?
            }
        };
        let has_objects = destination.mode() == WriteMode::Record
            && !destination.url.starts_with("http")
            && !destination.url.is_empty();
        let object = |tenant: &str, id| ObjectName::new(tenant, id).to_string();
        Ok(Destination {
            name: name.to_owned(),
            group: destination.group.clone(),
            marks,
            object: has_objects.then_some(object),
        })
    }

    pub(super) async fn open_store(
        &mut self,
        settings: &Settings,
        name: &str,
        roles: &Roles,
    ) -> Result<(), StackError> {
        let store = match roles.without_dedupe {
            true => Arc::new(Nothing::default()),
            false => open_store(settings, name).await?,
        };
        self.stores.insert(name.to_owned(), store);
        Ok(())
    }

    /// To be called once its store is open.
    pub(super) fn start_consumer(
        &mut self,
        settings: &Settings,
        name: &str,
    ) -> Result<(), StackError> {
        let destination = || name.to_owned();
        let store = self.stores.get(name).map(Arc::clone);
        let store = store.ok_or_else(|| {
            let part = format!("the dedupe store of {name}");
            StackError::Ended(Ended { part, why: None })
        })?;
        let deps = ConsumerDeps {
            name: destination(),
            settings: check_destination(settings, name)?.clone(),
            kafka: self.kafka.clone(),
            store,
            shards: settings.dedupe.shards,
            lease: settings.dedupe.lease,
            on_unavailable: settings.dedupe.on_unavailable,
            stats_interval: settings.dedupe.stats_interval,
            decision_log: settings.dedupe.log,
            tasks: self.delivery.tasks.clone(),
            shutdown: self.delivery.shutdown.clone(),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        };
        let consumer = DestinationConsumer::start(deps).map_err(|source| StackError::Consumer {
            destination: destination(),
            source: Box::new(source),
        })?;
        self.consumers.insert(destination(), consumer.counters());
        let part = format!("the consumer of {name}");
        let watched = self.watched(part, &self.delivery, consumer.run());
        self.delivery.tasks.spawn("consumer", watched);
        Ok(())
    }

    /// A consumer's task that has panicked settles nothing more, and what it had in hand would wait
    /// for ever: that ends the process, and whoever starts it again has all of it again.
    pub(super) fn watch_for_panics(&self) {
        let (group, ended) = (self.delivery.clone(), self.ended_sender.clone());
        let tasks = group.tasks.clone();
        group.tasks.spawn("panics", async move {
            tokio::select! {
                () = tasks.panicked() => tell_panic(&ended, "a task of the consumers"),
                () = group.shutdown.draining() => {}
            }
        });
    }

    /// `work`, telling when it ends although nobody told it to.
    pub(super) fn watched<E: std::error::Error + Send>(
        &self,
        part: String,
        group: &Group,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (shutdown, ended) = (group.shutdown.clone(), self.ended_sender.clone());
        let panic = Panicked(part.clone(), ended.clone());
        async move {
            let why = work.await.err().map(|error| chain(&error));
            drop(panic);
            match &why {
                Some(why) => tracing::error!(part, error = %why, "ended"),
                None => tracing::debug!(part, "ended"),
            }
            if why.is_some() || !shutdown.is_draining() {
                // The receiver is gone only when the whole stack is.
                let _told = ended.try_send(Ended { part, why }).is_ok();
            }
        }
    }
}

/// Tells that a part has panicked, when it is dropped by that.
struct Panicked(String, mpsc::Sender<Ended>);

impl Drop for Panicked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell_panic(&self.1, &self.0);
        }
    }
}

fn tell_panic(to: &mpsc::Sender<Ended>, part: &str) {
    let (part, why) = (part.to_owned(), Some("it panicked, see above".to_owned()));
    // The receiver is gone only when the whole stack is.
    let _told = to.try_send(Ended { part, why }).is_ok();
}

/// What is remembered of accepted records.
fn receipts(settings: &Settings) -> Result<Receipts, StackError> {
    let limit = settings.gateway.receipts;
    if limit == 0 {
        return Ok(Receipts::new(0, None));
    }
    let names = settings.destination_names();
    let shared = cloudsync_dedupe::receipts::open_shared(&settings.dedupe, names);
    let shared = shared.map_err(StackError::Receipts)?;
    Ok(Receipts::new(limit, shared))
}

/// The dedupe store of the destination `name`. One on disk is read whole.
async fn open_store(settings: &Settings, name: &str) -> Result<Arc<dyn DedupeStore>, StackError> {
    let (dedupe, destination) = (settings.dedupe.clone(), name.to_owned());
    let named = check_destination(settings, name)?.dedupe_name(name);
    let open = move || {
        let opened = cloudsync_dedupe::open(&dedupe, &named);
        opened.map_err(|source| StackError::Dedupe {
            destination,
            source,
        })
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened.unwrap_or_else(|_| {
        let part = format!("the opening of the dedupe store of {name}");
        Err(StackError::Ended(Ended { part, why: None }))
    })
}

pub(super) fn check_destination<'a>(
    settings: &'a Settings,
    name: &str,
) -> Result<&'a DestinationSettings, StackError> {
    let known = || settings.destination_names().join(", ");
    let destination = settings
        .destinations
        .get(name)
        .ok_or_else(|| StackError::NoDestination {
            name: name.to_owned(),
            known: known(),
        })?;
    if destination.url.is_empty() {
        return Err(StackError::NoUrl {
            name: name.to_owned(),
        });
    }
    Ok(destination)
}
