//! Beside the walk, over HTTP: where is my record?
//!
//! In: the path's id and the query's key. Out: the receipt as JSON, or a problem. Promises: says
//! what `GetReceipt` says.

use super::Context;
use super::answer;
use super::parameters;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use cloudsync::ErrorReason;
use cloudsync::reason::Refusal;
use cloudsync::v1::destination_receipt::State as Told;
use cloudsync::v1::{DestinationReceipt, GetReceiptRequest, Position, Receipt};
use serde::{Serialize, Serializer};

/// A receipt, as its JSON form has it.
#[derive(Debug, Serialize)]
pub struct ReceiptJson<'a> {
    request_id: &'a str,
    key: &'a str,
    accepted: Accepted<'a>,
    destinations: Vec<At<'a>>,
}

#[derive(Debug, Serialize)]
struct Accepted<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    time: Option<prost_types::Timestamp>,
}

#[derive(Debug, Serialize)]
struct Place<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Debug, Default, Serialize)]
struct At<'a> {
    destination: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Place<'a>>,
}

// === impl ReceiptJson ===

impl<'a> ReceiptJson<'a> {
    /// `receipt`, in the words of HTTP.
    #[must_use]
    pub fn of(receipt: &'a Receipt) -> Self {
        let destinations = receipt.destinations.iter();
        Self {
            request_id: &receipt.request_id,
            key: &receipt.key,
            accepted: Accepted {
                place: Place::of(receipt.position.as_ref()),
                time: receipt.accept_time,
            },
            destinations: destinations.map(At::of).collect(),
        }
    }
}

impl<'a> At<'a> {
    fn of(receipt: &'a DestinationReceipt) -> Self {
        let given = |text: &'a str| Some(text).filter(|text| !text.is_empty());
        let destination = receipt.destination.as_str();
        let state = |state| Self {
            destination,
            state,
            ..Self::default()
        };
        match &receipt.state {
            Some(Told::Pending(_)) => state("pending"),
            Some(Told::InProgress(_)) => state("in_progress"),
            Some(Told::Delivered(it)) => Self {
                object: given(&it.object),
                ..state("delivered")
            },
            Some(Told::Duplicate(it)) => Self {
                position: Some(Place::of(it.position.as_ref())),
                ..state("duplicate")
            },
            Some(Told::DeadLettered(it)) => Self {
                reason: given(&it.reason),
                position: Some(Place::of(it.position.as_ref())),
                ..state("dead_lettered")
            },
            // A state that came after this program.
            Some(Told::Settled(_)) | None => state("settled"),
        }
    }
}

impl<'a> Place<'a> {
    fn of(position: Option<&'a Position>) -> Self {
        Self {
            topic: position.map_or("", |it| &it.topic),
            partition: position.map_or(-1, |it| it.partition),
            offset: position.map_or(-1, |it| it.offset),
        }
    }
}

fn as_text<S: Serializer>(time: &Option<prost_types::Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&time.unwrap_or_default())
}

// === GET /api/receipts/{id} ===

pub(super) async fn receipt(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let _call = context.pipeline.calls.token();
    let asked = id.map_err(|_| no_text()).and_then(|Path(request_id)| {
        let key = parameters::key_of(query.as_deref())?;
        Ok(GetReceiptRequest { request_id, key })
    });
    let receipt = match asked {
        Ok(name) => context.pipeline.receipts.get(name).await,
        Err(refusal) => Err(refusal),
    };
    match receipt {
        Ok(receipt) => answer::receipt(&ReceiptJson::of(&receipt)),
        Err(refusal) => answer::problem(&refusal),
    }
}

fn no_text() -> Refusal {
    let text = "the id in the path is not percent-encoded UTF-8; write %XX for each byte";
    Refusal::of_field(ErrorReason::MalformedRecord, "id", text)
}
