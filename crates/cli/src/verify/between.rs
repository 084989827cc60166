//! Between what is compared, out of what was typed and what is set.
//!
//! In: arguments and settings. Out: two destinations, the log, and the question in words. Promises:
//! what cannot be compared is refused before anything is read, with the way out.

use crate::args::{Moment, VerifyArgs};
use crate::demo::kept::{KeptLog, KeptLogError};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, absolute};
use anyhow::{Context, anyhow};
use cloudsync_consumers::sink;
use cloudsync_consumers::verify::scan::Side;
use cloudsync_consumers::verify::scope::Scope;
use cloudsync_kafka::KafkaSettings;
use cloudsync_runtime::redact;

/// The names of the two destinations.
///
/// # Errors
/// [`Failure::Usage`], where there are not two, or a name is unknown.
pub fn two(args: &VerifyArgs, settings: &Settings) -> Result<[String; 2], Failure> {
    let known = settings.destination_names();
    let wanted = match args.destination.is_empty() {
        true => &known,
        false => &args.destination,
    };
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        let known = known.join(", ");
        return Err(Failure::usage(format!(
            "there is no destination {unknown:?} in the settings; they have {known}"
        )));
    }
    match wanted.as_slice() {
        [one, other] if one != other => Ok([one.clone(), other.clone()]),
        _ => Err(Failure::usage(format!(
            "two destinations are compared; name them with --destination, twice: the settings \
             have {}",
            known.join(", ")
        ))),
    }
}

/// The destination `name`, to be read.
///
/// # Errors
/// [`Failure::Usage`], where nothing can be read back.
pub fn side(settings: &Settings, name: &str, number: u8) -> Result<Side, Failure> {
    let destination = &settings.destinations[name];
    let url = &destination.url;
    if url.is_empty() {
        return Err(Failure::usage(format!(
            "destinations.{name}.url is not set; set it as the consumer of {name} has it, or name \
             with --data-dir where cloudsync up keeps its data"
        )));
    }
    let shown = redact::url(url);
    if sink::is_http(url) {
        return Err(Failure::usage(format!(
            "destination {name} ({shown}) is an HTTP endpoint, which cannot be read back: only \
             objects and files can be compared"
        )));
    }
    let sink = sink::connect(destination).map_err(|error| Failure::usage(error.to_string()))?;
    if !sink.is_conditional() {
        return Err(Failure::usage(format!(
            "destination {name} ({shown}) keeps nothing that could be compared"
        )));
    }
    Ok(Side::new(number, sink))
}

/// Where the log is; the one of a data directory is opened to be read, by this process.
///
/// # Errors
/// [`Failure`], where it is in use or does not open.
pub async fn log(
    args: &VerifyArgs,
    settings: &Settings,
) -> Result<(Option<KafkaSettings>, Option<KeptLog>), Failure> {
    let Some(directory) = args
        .data_dir
        .as_ref()
        .filter(|_| settings.log_is_embedded())
    else {
        return Ok((Some(settings.kafka.clone()), None));
    };
    let path = absolute(directory).context("cannot tell the current directory")?;
    let kept = match KeptLog::open(settings, path.join("log")).await {
        Ok(kept) => kept,
        Err(KeptLogError::InUse { directory }) => {
            return Err(Failure::usage(format!(
                "the log in {} is in use: name with --brokers the address that cloudsync up shows \
                 for it",
                directory.display()
            )));
        }
        Err(error) => {
            let error = anyhow!(error).context("--no-log compares without the log");
            return Err(Failure::Failed(error));
        }
    };
    for damage in kept.damage() {
        say::note(format_args!("the log is damaged: {damage}"));
    }
    Ok((Some(kept.kafka().clone()), Some(kept)))
}

/// What a comparison that goes on must be asked as well.
#[must_use]
pub fn question(args: &VerifyArgs, scope: &Scope, urls: &[String; 2]) -> String {
    let log = scope.log.as_ref();
    let log = log.map_or_else(|| "no log".to_owned(), |log| format!("log {}", log.id));
    let topic = if args.reads_topic() {
        " with its topic"
    } else {
        ""
    };
    let time = |it: Option<&Moment>| it.map_or_else(|| "ever".to_owned(), |it| it.text.clone());
    let [first, second] = &scope.names;
    format!(
        "{first} {} and {second} {}, {log}{topic}, since {} until {}",
        urls[0],
        urls[1],
        time(args.since.as_ref()),
        time(args.until.as_ref()),
    )
}
