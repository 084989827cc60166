//! `cloudsync doctor`: looks at everything that an installation rests on, one line each.
//!
//! Exit code 1 when something fails; 2, as everywhere, when the settings do not hold: they are the
//! first lines then, and what does hold is looked at all the same.

use super::Common;
use crate::args::{DoctorArgs, Output};
use crate::doctor::{Finding, State, examine};
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, absolute};
use anyhow::Context;

pub(super) async fn run(args: &DoctorArgs, common: &Common) -> Result<(), Failure> {
    let data_dir = absolute(&args.data_dir).context("cannot tell the current directory")?;
    let (defaults, data_dir) = if args.up {
        (Settings::embedded(&data_dir), Some(data_dir))
    } else {
        (Settings::default(), None)
    };
    let (loaded, faults) = common.found(&defaults, args.flags())?;
    let findings = examine(&loaded.value, &faults, data_dir.as_deref()).await;
    let failed = findings.iter().any(|it| it.state == State::Fail);
    match args.output {
        Output::Table => {
            findings.iter().for_each(print);
        }
        Output::Json => {
            let json = serde_json::json!({ "ok": !failed, "checks": findings });
            say::data(format_args!("{json}\n"));
        }
    }
    match failed {
        _ if !faults.is_empty() => Err(Failure::ToldUsage),
        true => Err(Failure::Told),
        false => Ok(()),
    }
}

fn print(finding: &Finding) {
    let Finding {
        check,
        state,
        detail,
    } = finding;
    say::data(format_args!("{:<4}  {check:<20}  {detail}\n", state.word()));
}
