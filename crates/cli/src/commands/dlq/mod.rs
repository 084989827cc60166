//! `cloudsync dlq`: what was set aside, why, and the way back.
//!
//! In: the dead-letter topic, which is read twice: once for what is open, once for what is asked
//! for. Out: a list, or entries redriven or dropped, with a line for each. Promises: nothing is kept
//! of an entry but about 100 bytes, however large the records are; `ls`, `show` and `--dry-run`
//! only read; what was settled before is not touched.
//!
//! `which` reads and chooses, `list` prints, `change` redrives and drops, `audit` says so.

mod audit;
mod change;
mod list;
mod row;
mod which;

use super::Common;
use crate::args::{DlqArgs, DlqCommand, DlqWhich};
use crate::failure::Failure;
use crate::settings::Settings;
use change::Change;
use cloudsync_kafka::{KafkaError, KafkaSettings, Settled};
use which::{States, Which};

pub(super) async fn run(args: &DlqArgs, common: &Common) -> Result<(), Failure> {
    match &args.command {
        DlqCommand::Ls(args) => {
            let which = which(&args.which, common, States::open_or(args.all))?;
            let how = match args.histogram {
                true => list::How::Histogram,
                false => list::How::Lines,
            };
            list::run(which, how, args.output, common).await
        }
        DlqCommand::Show(args) => {
            if args.which.is_everything() {
                let text = "say which: an entry as `cloudsync dlq ls` shows it, or --id";
                return Err(Failure::usage(text));
            }
            let which = which(&args.which, common, States::open_or(true))?;
            list::run(which, list::How::Whole, args.output, common).await
        }
        DlqCommand::Redrive(args) => {
            let states = States::to_redrive(args.force);
            let change = Change {
                which: which(&args.which, common, states)?,
                how: Settled::Redriven,
                args: &args.change,
            };
            change.run(common).await
        }
        DlqCommand::Drop(args) => {
            if args.which.is_everything() && !args.everything {
                let text =
                    "say what to drop (an entry, --reason, --destination, …), or --everything";
                return Err(Failure::usage(text));
            }
            let change = Change {
                which: which(&args.which, common, States::open_or(false))?,
                how: Settled::Dropped,
                args: &args.change,
            };
            change.run(common).await
        }
    }
}

fn which(args: &DlqWhich, common: &Common, states: States) -> Result<Which, Failure> {
    let settings = common.settings(Settings::default(), args.flags())?;
    Ok(Which::new(settings, args, states))
}

/// Why the topic could not be read.
fn unread(error: KafkaError, kafka: &KafkaSettings) -> Failure {
    let (topic, brokers) = (&kafka.dlq_topic, &kafka.brokers);
    let text = format!(
        "cannot read {topic} at {brokers}; start kafka (or cloudsync up), or say with --brokers \
         where it is"
    );
    Failure::Failed(anyhow::Error::new(error).context(text))
}
