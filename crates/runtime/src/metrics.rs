//! What the process has done, as numbers for others to read.
//!
//! In: instruments, which each part makes on a [`Metrics`] once, with a function that reads a
//! number it keeps anyway. Out: the text format of Prometheus, for `/metrics`. Promises: a number
//! is read when it is asked for, so what counts it pays nothing for being shown; the labels of an
//! instrument are given when it is made, so their number is bounded.
//!
//! The instruments are OpenTelemetry's: whoever pushes them elsewhere adds a reader here.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use std::fmt;

/// The media type of [`Metrics::text`].
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The instruments of one process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    meter: Meter,
}

/// A set of instruments that have the same labels.
#[derive(Clone)]
pub struct Instruments {
    meter: Meter,
    labels: Vec<KeyValue>,
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be set up")]
pub struct MetricsError(#[source] Box<dyn std::error::Error + Send + Sync>);

// === impl Metrics ===

impl Metrics {
    /// No instruments yet but `cloudsync.build.info`, which names the version.
    ///
    /// # Errors
    /// [`MetricsError`], when the exporter cannot be made.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|error| MetricsError(error.into()))?;
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_reader(exporter)
            .build();
        let metrics = Self {
            meter: provider.meter("cloudsync"),
            registry,
            provider,
        };
        let version = env!("CARGO_PKG_VERSION");
        let build = metrics.instruments([("version", version.to_owned())]);
        build.gauge(
            "cloudsync.build.info",
            "The version of the program; always 1",
            || 1,
        );
        Ok(metrics)
    }

    /// Where instruments with these `labels` are made. Each label has few values in all.
    #[must_use]
    pub fn instruments<const N: usize>(&self, labels: [(&'static str, String); N]) -> Instruments {
        let label = |(name, value)| KeyValue::new(name, value);
        Instruments {
            meter: self.meter.clone(),
            labels: labels.into_iter().map(label).collect(),
        }
    }

    /// Every instrument's number as it is now, in the text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics have no text form");
            String::new()
        })
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

// === impl Instruments ===

impl Instruments {
    /// A number that only grows, counted from the start of the process. `name` has dots; in
    /// Prometheus they are underscores, and `_total` stands behind it.
    pub fn counter(
        &self,
        name: &'static str,
        description: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let builder = self.meter.u64_observable_counter(name);
        let _kept_by_the_meter = builder
            .with_description(description)
            .with_callback(self.observed(read))
            .build();
    }

    /// A number that grows and shrinks.
    pub fn gauge(
        &self,
        name: &'static str,
        description: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        let builder = self.meter.u64_observable_gauge(name);
        let _kept_by_the_meter = builder
            .with_description(description)
            .with_callback(self.observed(read))
            .build();
    }

    fn observed(
        &self,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static {
        let labels = self.labels.clone();
        move |observer| observer.observe(read(), &labels)
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruments")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_number_is_read_when_it_is_asked_for() {
        let metrics = Metrics::new().unwrap();
        let count = Arc::new(AtomicU64::new(3));
        for destination in ["aws", "azure"] {
            let read = Arc::clone(&count);
            let instruments = metrics.instruments([("destination", destination.to_owned())]);
            instruments.counter("cloudsync.consumer.polled", "Records", move || {
                read.load(Ordering::Relaxed)
            });
        }
        count.store(7, Ordering::Relaxed);
        let text = metrics.text();
        for line in [
            "# TYPE cloudsync_consumer_polled_total counter\n",
            "\ncloudsync_consumer_polled_total{destination=\"aws\"} 7\n",
            "\ncloudsync_consumer_polled_total{destination=\"azure\"} 7\n",
            concat!(
                "cloudsync_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1\n"
            ),
        ] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
        assert!(!text.contains("otel_scope"), "{text}");
    }
}
