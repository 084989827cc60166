//! The marker of a destination, and the proof of its condition.
//!
//! In: a sink that was just connected. Out: it is ours to write to, or a sentence why not.
//! Promises: two destinations, two modes or two formats never share a prefix; and a store that
//! overwrites where it should refuse is found out before the first record, not by a loss.

use super::{Create, ErrorClass, OpenError, SegmentSink, SinkError};
use crate::settings::WriteMode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Name of the marker, at the prefix.
pub const MARKER: &str = "cloudsync-destination.json";
/// What the names of probe objects begin with.
const PROBE: &str = "cloudsync-probe-";
/// The format of what lies below the prefix.
const FORMAT: u32 = 1;

/// What the marker says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Marker {
    destination: String,
    mode: String,
    format: u32,
}

/// Whether `name` is the marker's or a probe's: no data.
#[must_use]
pub fn is_own_name(name: &str) -> bool {
    name == MARKER || name.starts_with(PROBE)
}

/// Makes sure that the prefix at `url` is `destination`'s in `mode`, and that `sink` keeps its
/// condition.
///
/// # Errors
/// [`OpenError::Refused`], with both values and the way out; [`OpenError::Unavailable`].
pub async fn claim(
    sink: &dyn SegmentSink,
    url: &str,
    destination: &str,
    mode: WriteMode,
) -> Result<(), OpenError> {
    let ours = Marker::of(destination, mode);
    // Nothing is written, not even a probe, where somebody else's marker lies.
    if let Some(found) = sink.get(MARKER).await? {
        compare(&ours, &found, url)?;
        return prove(sink, url).await;
    }
    prove(sink, url).await?;
    let object = serde_json::to_vec(&ours).map_err(|error| unavailable("write a marker", error))?;
    if sink.create_if_absent(MARKER, Bytes::from(object)).await? == Create::Created {
        return Ok(());
    }
    match sink.get(MARKER).await? {
        Some(found) => compare(&ours, &found, url),
        None => Err(unavailable("read the marker", "it was there and is gone").into()),
    }
}

/// As [`claim`], but leaves no marker: whether the prefix may be `destination`'s, and keeps its
/// condition.
///
/// # Errors
/// As [`claim`].
pub async fn look(
    sink: &dyn SegmentSink,
    url: &str,
    destination: &str,
    mode: WriteMode,
) -> Result<(), OpenError> {
    let ours = Marker::of(destination, mode);
    if let Some(found) = sink.get(MARKER).await? {
        compare(&ours, &found, url)?;
    }
    prove(sink, url).await
}

/// In which mode `destination` writes to `sink`, as the marker there says.
///
/// # Errors
/// [`OpenError::Refused`], where there is no marker or it is another destination's;
/// [`OpenError::Unavailable`].
pub async fn mode_of(sink: &dyn SegmentSink, destination: &str) -> Result<WriteMode, OpenError> {
    let Some(found) = sink.get(MARKER).await? else {
        return Err(OpenError::Refused(format!(
            "there is no {MARKER} at {destination}, so nothing is written there; start its consumer \
             once, which makes it"
        )));
    };
    let modes = [WriteMode::Batch, WriteMode::Record];
    let found_by = |mode: &WriteMode| {
        let marker = serde_json::from_slice::<Marker>(&found);
        marker.is_ok_and(|marker| marker == Marker::of(destination, *mode))
    };
    modes.into_iter().find(found_by).ok_or_else(|| {
        let found = String::from_utf8_lossy(&found).trim().to_owned();
        OpenError::Refused(format!(
            "{MARKER} at {destination} says {found}: it is another destination's, or of another \
             format"
        ))
    })
}

impl Marker {
    fn of(destination: &str, mode: WriteMode) -> Self {
        Self {
            destination: destination.to_owned(),
            mode: mode.name().to_owned(),
            format: FORMAT,
        }
    }
}

fn compare(ours: &Marker, found: &[u8], url: &str) -> Result<(), OpenError> {
    let what = serde_json::from_slice::<Marker>(found);
    if what.as_ref().is_ok_and(|found| found == ours) {
        return Ok(());
    }
    let found = String::from_utf8_lossy(found)
        .trim()
        .chars()
        .take(200)
        .collect::<String>();
    let Marker {
        destination,
        mode,
        format,
    } = ours;
    Err(OpenError::Refused(format!(
        "{url} belongs to another destination: {MARKER} there says {found}, but this is \
         destination {destination} in mode {mode}, format {format}; give it another prefix, or \
         the name and mode that the marker says"
    )))
}

/// Creates an object twice: the second create must find the first one's. Reads it, lists, and
/// removes it, so that a right that is missing is known before the first record.
async fn prove(sink: &dyn SegmentSink, url: &str) -> Result<(), OpenError> {
    let name = format!("{PROBE}{:016x}", rand::random::<u64>());
    let probe = Bytes::from_static(b"a second create of this object must be refused\n");
    sink.create_if_absent(&name, probe.clone()).await?;
    let second = sink.create_if_absent(&name, probe).await;
    let read = sink.get(&name).await;
    let listed = sink.list(&format!("{name}/")).await;
    sink.delete(&name).await?;
    read?;
    listed?;
    match second? {
        Create::AlreadyExists => Ok(()),
        Create::Created => Err(OpenError::Refused(format!(
            "{url} overwrites objects instead of refusing a conditional create, so nothing there \
             would be written once; use a store that honours the condition"
        ))),
    }
}

fn unavailable(
    action: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SinkError {
    SinkError::new(ErrorClass::Transient, action, source)
}
