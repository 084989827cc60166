//! `cloudsync receipt`: where is my record?
//!
//! In: a request id and its key. Out: where the record lies in the log, and what became of it at
//! each destination, as a table or as the JSON of `GET /api/receipts/{id}`. Exit code 0 when it is
//! known, 1 when the gateway knows of no such record, 2 when the gateway could not be asked.

use super::Common;
use crate::args::{Output, ReceiptArgs};
use crate::failure::Failure;
use crate::say;
use anyhow::{Context, anyhow};
use cloudsync::v1::destination_receipt::State;
use cloudsync::v1::{Position, Receipt};
use cloudsync::{Client, ClientError, ClientSettings, ErrorReason};
use cloudsync_gateway::ReceiptJson;
use cloudsync_runtime::signals::Signals;
use std::fmt::Write;

pub(super) async fn run(args: &ReceiptArgs, _common: &Common) -> Result<(), Failure> {
    let client = Client::new(ClientSettings::to(args.endpoint.clone()));
    let client = client.map_err(|error| Failure::Usage(error.into()))?;
    let failed = |error| failure(args, error);
    if !args.watch {
        let receipt = client.receipt(&args.id, &args.key).await;
        print(args, &receipt.map_err(failed)?)?;
        return Ok(());
    }
    let mut signals = Signals::take().context("cannot listen for signals")?;
    let record = [(args.id.clone(), args.key.clone())];
    let mut watch = client.watch_receipts(record).await.map_err(failed)?;
    loop {
        let receipt = tokio::select! {
            receipt = watch.next() => receipt.map_err(failed)?,
            name = signals.next() => return Err(Failure::Interrupted(name)),
        };
        match receipt {
            Some(receipt) if print(args, &receipt)? => {}
            _ => return Ok(()),
        }
    }
}

fn failure(args: &ReceiptArgs, error: ClientError) -> Failure {
    let is_unknown = error.reason() == Some(ErrorReason::ReceiptUnknown);
    let why = match error {
        ClientError::Refused(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    if is_unknown {
        Failure::Failed(anyhow!(why))
    } else {
        let endpoint = &args.endpoint;
        Failure::Usage(anyhow!("cannot ask the gateway {endpoint}: {why}"))
    }
}

/// Whether somebody still reads.
fn print(args: &ReceiptArgs, receipt: &Receipt) -> Result<bool, Failure> {
    Ok(match args.output {
        Output::Json => {
            let json = serde_json::to_string(&ReceiptJson::of(receipt));
            let json = json.context("a receipt has no JSON form")?;
            say::data(format_args!("{json}\n"))
        }
        Output::Table => say::data(table(receipt)),
    })
}

fn table(receipt: &Receipt) -> String {
    let place = |position: Option<&Position>| {
        position.map_or_else(String::new, |at| format!("{}/{}", at.partition, at.offset))
    };
    let mut out = format!("accepted  {}", place(receipt.position.as_ref()));
    if let Some(time) = receipt.accept_time {
        let _infallible = write!(out, "  {time}");
    }
    out.push('\n');
    let widths = receipt.destinations.iter().map(|it| it.destination.len());
    let width = widths.max().unwrap_or(0).max("accepted".len());
    for it in &receipt.destinations {
        let said = match &it.state {
            Some(State::Pending(_)) => "pending".to_owned(),
            Some(State::InProgress(_)) => "in progress".to_owned(),
            Some(State::Delivered(it)) if it.object.is_empty() => "delivered".to_owned(),
            Some(State::Delivered(it)) => format!("delivered  {}", it.object),
            Some(State::Duplicate(it)) => {
                format!("duplicate of {}", place(it.position.as_ref()))
            }
            Some(State::DeadLettered(it)) => match it.reason.as_str() {
                "" => format!("dead-lettered at {}", place(it.position.as_ref())),
                reason => format!(
                    "dead-lettered: {reason} with {}",
                    place(it.position.as_ref())
                ),
            },
            Some(State::Settled(_)) | None => "settled, details unknown".to_owned(),
        };
        let _infallible = writeln!(out, "{:<width$}  {said}", it.destination);
    }
    out
}
