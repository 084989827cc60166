//! librdkafka's producer, and another one after a fatal error.
//!
//! In: records, each with its number. Out: a report for each one that was queued. Promises: every
//! queued record is reported, also when its producer ends.
//!
//! An idempotent producer that can no longer prove the order of its records ends for good. What
//! it still held ends as unavailable, a new one takes its place, at most once a second.

use super::ProduceError;
use super::batch::ProduceBatch;
use super::flight::{Flight, Flights, Held, Ticket};
use super::place::Places;
use crate::KafkaError;
use crate::client;
use crate::librdkafka::BatchProducer;
use crate::record::Outgoing;
use crate::settings::KafkaSettings;
use parking_lot::RwLock;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{
    BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Least time between two producers.
const ANEW: Duration = Duration::from_secs(1);

/// Whichever producer is the current one.
pub(crate) struct Native {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    /// `None` once closed.
    live: RwLock<Option<Arc<Live>>>,
}

/// One producer of librdkafka, with what is on its way in it.
pub(crate) struct Live {
    /// `None` only while being dropped.
    producer: Option<BatchProducer<Context>>,
    flights: Arc<Flights>,
    made: Instant,
}

/// What librdkafka calls back.
struct Context {
    flights: Arc<Flights>,
    places: Places,
    shared: Weak<Shared>,
    fatal: AtomicBool,
}

// === impl Native ===

impl Native {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, KafkaError> {
        let shared = Arc::new(Shared {
            config,
            live: RwLock::new(None),
        });
        let live = Live::new(&shared)?;
        *shared.live.write() = Some(Arc::new(live));
        Ok(Self { shared })
    }

    /// The current producer.
    pub(crate) fn current(&self) -> Result<Arc<Live>, ProduceError> {
        self.shared.live.read().clone().ok_or_else(closed)
    }

    /// Metadata of the whole cluster. Blocks up to `timeout`.
    pub(crate) fn metadata(
        &self,
        timeout: Duration,
        settings: &KafkaSettings,
    ) -> Result<Metadata, KafkaError> {
        let closed = || KafkaError::Closed { what: "producer" };
        let live = self.shared.live.read().clone().ok_or_else(closed)?;
        let producer = live.producer.as_ref().ok_or_else(closed)?;
        let client = producer.single().client();
        let answer = client.fetch_metadata(None, timeout);
        answer.map_err(|error| client::unavailable(settings, "metadata", &error))
    }

    /// Flushes until `until` and ends. Returns how many records stay unacknowledged. Blocks.
    pub(crate) fn close(&self, until: Instant) -> usize {
        let Some(live) = self.shared.live.write().take() else {
            return 0;
        };
        let Some(producer) = live.producer.as_ref().map(BatchProducer::single) else {
            return 0;
        };
        let left = until.saturating_duration_since(Instant::now());
        if let Err(error) = producer.flush(left) {
            tracing::warn!(%error, "records stay unacknowledged");
        }
        usize::try_from(producer.in_flight_count()).unwrap_or(0)
    }
}

// === impl Shared ===

impl Shared {
    /// Replaces the producer of `context`, which failed for `reason`. Blocks.
    fn replace(self: Arc<Self>, reason: &str) {
        tracing::error!(
            reason,
            "the kafka producer failed for good; making another one"
        );
        let Some(failed) = self.live.read().clone() else {
            return;
        };
        failed.give_up();
        let weak = Arc::downgrade(&self);
        let mut next = failed.made + ANEW;
        drop((self, failed));
        loop {
            while Instant::now() < next {
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
            // Whoever produces has gone, or has closed the producer.
            let Some(shared) = weak.upgrade() else { return };
            match Live::new(&shared) {
                Ok(live) => {
                    let mut current = shared.live.write();
                    let replaced = match &mut *current {
                        Some(current) => Some(std::mem::replace(current, Arc::new(live))),
                        None => None,
                    };
                    drop(current);
                    drop(replaced);
                    return;
                }
                Err(error) => tracing::error!(%error, "no other kafka producer can be made"),
            }
            next = Instant::now() + ANEW;
        }
    }
}

// === impl Live ===

impl Live {
    fn new(shared: &Arc<Shared>) -> Result<Self, KafkaError> {
        let flights = Arc::new(Flights::default());
        let context = Context {
            flights: Arc::clone(&flights),
            places: Places::default(),
            shared: Arc::downgrade(shared),
            fatal: AtomicBool::new(false),
        };
        let producer: Result<ThreadedProducer<_>, _> = shared.config.create_with_context(context);
        let failed = |source| KafkaError::Client {
            what: "producer",
            source,
        };
        Ok(Self {
            producer: Some(BatchProducer::new(producer.map_err(failed)?)),
            flights,
            made: Instant::now(),
        })
    }

    pub(crate) fn launch(&self, records: usize, held: Held) -> (Arc<Flight>, Ticket) {
        self.flights.launch(records, held)
    }

    /// Queues the records `run` of `batch` in their order, the first of them as record `first` of
    /// the flight. What cannot be queued has failed.
    pub(crate) fn send(
        &self,
        topic: &str,
        batch: &ProduceBatch,
        run: Range<usize>,
        ticket: Ticket,
        first: usize,
    ) {
        let mut plain = Vec::with_capacity(run.len());
        for (index, place) in run.zip(first..) {
            let record = batch.outgoing(index, ticket.number(place));
            if batch.headers(index).is_empty() {
                plain.push(record);
                continue;
            }
            self.send_plain(topic, &plain);
            plain.clear();
            self.send_with_headers(topic, record, batch.headers(index));
        }
        self.send_plain(topic, &plain);
    }

    fn send_plain(&self, topic: &str, records: &[Outgoing<'_>]) {
        match &self.producer {
            Some(producer) => producer.send(topic, records, |number, code| {
                self.failed(number, NativeError::MessageProduction(code));
            }),
            None => records
                .iter()
                .for_each(|record| self.flights.report(record.number, Err(closed()))),
        }
    }

    fn send_with_headers(
        &self,
        topic: &str,
        record: Outgoing<'_>,
        named: &[(Cow<'static, str>, Option<bytes::Bytes>)],
    ) {
        let number = record.number;
        let record = BaseRecord::<[u8], [u8], usize> {
            topic,
            partition: Some(record.partition),
            payload: record.value,
            key: record.key,
            timestamp: None,
            headers: Some(headers(named)),
            delivery_opaque: number,
        };
        match self.producer.as_ref().map(BatchProducer::single) {
            Some(producer) => {
                if let Err((error, _)) = producer.send(record) {
                    self.failed(number, error);
                }
            }
            None => self.flights.report(number, Err(closed())),
        }
    }

    /// A record was not queued.
    fn failed(&self, number: usize, error: NativeError) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::Fatal)
            && let Some(producer) = &self.producer
        {
            producer.single().context().end(&error.to_string());
        }
        self.flights.report(number, Err(classify(code, &error)));
    }

    /// Record `index` will not be sent.
    pub(crate) fn fail(&self, ticket: Ticket, index: usize, error: ProduceError) {
        self.flights.report(ticket.number(index), Err(error));
    }

    /// Everything that is queued or on its way is given back as unavailable.
    fn give_up(&self) {
        if let Some(producer) = &self.producer {
            producer
                .single()
                .purge(PurgeConfig::default().queue().inflight());
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Dropping a producer waits for its thread, and the last holder may be an async worker.
        let (producer, flights) = (self.producer.take(), Arc::clone(&self.flights));
        let end = move || {
            drop(producer);
            flights.abort("the producer was closed");
        };
        let named = std::thread::Builder::new().name("kafka-producer-end".to_owned());
        if let Err(error) = named.spawn(end) {
            tracing::warn!(%error, "no thread to end a producer on");
            self.flights.abort("the producer was closed");
        }
    }
}

// === impl Context ===

impl Context {
    /// The producer is of no use any more. Runs on its own thread, so another one must end it.
    fn end(&self, reason: &str) {
        if self.fatal.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let reason = reason.to_owned();
        let named = std::thread::Builder::new().name("kafka-producer-anew".to_owned());
        if let Err(error) = named.spawn(move || shared.replace(&reason)) {
            tracing::error!(%error, "no thread to make another producer on");
            self.fatal.store(false, Ordering::Release);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: NativeError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.end(reason);
        } else {
            tracing::debug!(%error, reason, "kafka producer");
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = match result {
            Ok(message) => {
                let of = || (message.topic(), message.partition());
                Ok(self.places.offset(message.offset(), of))
            }
            Err((error, _)) => Err(classify(error.rdkafka_error_code(), error)),
        };
        self.flights.report(number, result);
    }
}

fn closed() -> ProduceError {
    ProduceError::Unavailable {
        reason: "the producer is closed".to_owned(),
    }
}

/// What an error of librdkafka means for the record.
fn classify(code: Option<RDKafkaErrorCode>, error: &NativeError) -> ProduceError {
    let reason = code.map_or_else(|| error.to_string(), |code| code.to_string());
    // Only what is the record's own fault: credentials, missing topics and the like are mended by
    // somebody, and then the same record is taken.
    let refused = matches!(
        code,
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::MessageBatchTooLarge
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::UnsupportedForMessageFormat
        )
    );
    if refused {
        ProduceError::Refused { reason }
    } else {
        ProduceError::Unavailable { reason }
    }
}

fn headers(named: &[(Cow<'static, str>, Option<bytes::Bytes>)]) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(named.len());
    named.iter().fold(empty, |all, (key, value)| {
        all.insert(Header {
            key,
            value: value.as_deref(),
        })
    })
}
