//! `cloudsync verify`: the two destinations compared, and mended if asked.
//!
//! In: the settings, which name the destinations, their groups and the log. Out: what is missing,
//! extra, altered or doubled, as a table or one JSON object. Exit code 0 when they are equal (after
//! a repair: by then), 1 on a difference, 2 when they could not be compared.

use super::Common;
use crate::args::{Output, VerifyArgs};
use crate::demo::kept::KeptLog;
use crate::demo::places;
use crate::failure::Failure;
use crate::say;
use crate::settings::{Settings, absolute};
use crate::verify::between::{log, question, side, two};
use crate::verify::log::{Asked, ask, read_dead_letters, read_records};
use crate::verify::progress::Progress;
use crate::verify::report::Report;
use anyhow::Context;
use cloudsync_consumers::WriteMode;
use cloudsync_consumers::sink::marker;
use cloudsync_consumers::verify::found::Found;
use cloudsync_consumers::verify::repair::{Mended, mend};
use cloudsync_consumers::verify::scan::{self, Seen};
use cloudsync_consumers::verify::scope::Scope;
use cloudsync_consumers::verify::source::Source;
use cloudsync_consumers::verify::work::Work;
use cloudsync_kafka::KafkaSettings;
use cloudsync_runtime::redact;
use cloudsync_runtime::signals::Signals;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) async fn run(args: &VerifyArgs, common: &Common) -> Result<(), Failure> {
    let mut signals = Signals::take().context("cannot listen for signals")?;
    tokio::select! {
        result = verify(args, common) => result.map_err(|failure| match failure {
            // Exit code 1 says that there is a difference, and nothing else.
            Failure::Failed(error) => Failure::Usage(error),
            other => other,
        }),
        name = signals.next() => {
            let again = match &args.state {
                Some(state) => format!("; the same command goes on, from {}", state.display()),
                None => String::new(),
            };
            say::note(format_args!("{name}: stopped{again}"));
            Err(Failure::Interrupted(name))
        }
    }
}

async fn verify(args: &VerifyArgs, common: &Common) -> Result<(), Failure> {
    let verifier = Verifier::new(args, common).await?;
    let mut found = verifier.compare(args.repair).await?;
    let first = verifier.report(&found).await?;
    let (mut mended, mut left) = (None, None);
    if args.repair && !first.equal {
        let ranges = verifier.asked.as_ref().map(|asked| asked.ranges.clone());
        let ranges = ranges.unwrap_or_default();
        let done = mend(&mut found, &verifier.source, &ranges);
        let done = verifier.progress.during("repairing", done).await;
        mended = Some(done.context("the repair stopped; what was mended by then stays")?);
        drop(found);
        let again = verifier.compare(false).await?;
        left = Some(verifier.report(&again).await?);
    }
    verifier.clean_up();
    let equal = left.as_ref().unwrap_or(&first).equal;
    print(args.output, equal, &first, mended.as_ref(), left.as_ref())?;
    match equal {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

fn print(
    output: Output,
    equal: bool,
    found: &Report,
    mended: Option<&Mended>,
    left: Option<&Report>,
) -> Result<(), Failure> {
    if output == Output::Json {
        let all = json!({ "equal": equal, "found": found, "repaired": mended, "left": left });
        let text = serde_json::to_string(&all).context("cannot write JSON")?;
        say::data(format_args!("{text}\n"));
        return Ok(());
    }
    say::data(found.table());
    if let Some(mended) = mended {
        let Mended {
            created, replaced, ..
        } = mended;
        say::data(format_args!(
            "\nrepaired: {created} objects created, {replaced} replaced\n"
        ));
        for name in &mended.objects {
            say::data(format_args!("  {name}\n"));
        }
        if mended.left_count > 0 {
            say::data(format_args!("left as it was: {}\n", mended.left_count));
        }
        for what in &mended.left {
            say::data(format_args!("  {what}\n"));
        }
    }
    if let Some(left) = left {
        say::data(format_args!("\nafter the repair\n{}", left.table()));
    }
    let said = if equal { "equal" } else { "not equal" };
    say::data(format_args!("\n{said}\n"));
    Ok(())
}

// === what is compared ===

/// A comparison, ready to be made.
struct Verifier<'a> {
    args: &'a VerifyArgs,
    scope: Scope,
    question: String,
    source: Source,
    asked: Option<Asked>,
    /// Held while its log is read.
    _log: Option<KeptLog>,
    directory: Directory,
    progress: Progress,
}

/// Where what was read is kept.
enum Directory {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl<'a> Verifier<'a> {
    async fn new(args: &'a VerifyArgs, common: &Common) -> Result<Self, Failure> {
        let settings = settings(args, common)?;
        let names = two(args, &settings)?;
        let sides = [
            side(&settings, &names[0], 0)?,
            side(&settings, &names[1], 1)?,
        ];
        let (kafka, kept) = match args.no_log {
            true => (None, None),
            false => log(args, &settings).await?,
        };
        let groups = [0, 1].map(|at: usize| settings.destinations[&names[at]].group.as_str());
        let asked = match &kafka {
            Some(kafka) => {
                let id = kept.as_ref().map(KeptLog::log_id);
                let asked = ask(kafka, groups, id).await;
                Some(asked.context(
                    "the log does not say what was delivered: --brokers says where it is, \
                     --no-log compares everything without it",
                )?)
            }
            None => None,
        };
        for (at, group) in groups.into_iter().enumerate() {
            has_begun(asked.as_ref(), at, group)?;
        }
        let urls = names
            .each_ref()
            .map(|name| redact::url(&settings.destinations[name].url));
        let scope = Scope {
            names,
            log: asked.as_ref().map(|asked| asked.scope.clone()),
            since: args.since.as_ref().map(|it| it.time.as_millisecond()),
            until: args.until.as_ref().map(|it| it.time.as_millisecond()),
        };
        let directory = match &args.state {
            Some(given) => {
                Directory::Given(absolute(given).context("cannot tell the current directory")?)
            }
            None => Directory::Temporary(
                tempfile::Builder::new()
                    .prefix("cloudsync-verify-")
                    .tempdir()
                    .context("cannot make a temporary directory; --state names another one")?,
            ),
        };
        Ok(Self {
            args,
            question: question(args, &scope, &urls),
            scope,
            source: Source { sides, kafka },
            asked,
            _log: kept,
            directory,
            progress: Progress {
                seen: Arc::new(Seen::default()),
                quiet: common.quiet,
            },
        })
    }

    async fn compare(&self, to_mend: bool) -> Result<Found, Failure> {
        let directory = self.directory.path();
        let resumed = Work::resume(directory, &self.question).map_err(anyhow::Error::new)?;
        let mut work = match resumed {
            Some(work) => work,
            None => Work::begin(directory, &self.question, self.scope.clone())
                .map_err(anyhow::Error::new)?,
        };
        if let Some(kafka) = &self.source.kafka {
            work = self.read_log(work, kafka).await?;
        }
        for side in &self.source.sides {
            let name = &self.scope.names[usize::from(side.number)];
            let read = scan::read(&mut work, side, &self.progress.seen);
            let read = self.progress.during(&format!("reading {name}"), read).await;
            if let Err(error) = read {
                // What was read is kept for the next run.
                work.keep().map_err(anyhow::Error::new)?;
                let error = anyhow::Error::new(error);
                return Err(error
                    .context(format!("destination {name} was not compared"))
                    .into());
            }
        }
        let modes = match to_mend {
            true => Some(self.modes().await?),
            false => None,
        };
        let (at, seen) = (directory.to_owned(), Arc::clone(&self.progress.seen));
        let judge = tokio::task::spawn_blocking(move || {
            let mend = modes.map(|modes| (modes, at.as_path()));
            Found::judge(work, mend, &|done| seen.0.store(done, Ordering::Relaxed))
        });
        let judged = self.progress.during("comparing", judge).await;
        let found = judged.context("the comparison ended early")?;
        self.forget();
        Ok(found.context("cannot compare what was read")?)
    }

    async fn read_log(&self, mut work: Work, kafka: &KafkaSettings) -> Result<Work, Failure> {
        if self.args.reads_topic() && !work.is_done("topic") {
            let read = read_records(work, kafka, &self.progress.seen);
            let read = self.progress.during("reading the topic", read).await;
            work = read.context("cannot read the topic")?;
            // Asked behind the reading: what it still has now was read.
            let ranges = ask(kafka, ["cloudsync-reader"; 2], Some(String::new()))
                .await?
                .ranges;
            work.with_starts(
                ranges
                    .into_iter()
                    .map(|(at, (start, _))| (at, start))
                    .collect(),
            );
            work.done("topic".to_owned()).map_err(anyhow::Error::new)?;
        }
        if !work.is_done("dead letters") {
            let read = read_dead_letters(work, kafka);
            let read = self.progress.during("reading the dead letters", read).await;
            work = read.context("cannot read the dead-letter topic")?;
            work.done("dead letters".to_owned())
                .map_err(anyhow::Error::new)?;
        }
        Ok(work)
    }

    /// In which mode each destination is written, as its marker says.
    async fn modes(&self) -> Result<[WriteMode; 2], Failure> {
        let mut modes = [WriteMode::Batch; 2];
        for (side, mode) in self.source.sides.iter().zip(&mut modes) {
            let name = &self.scope.names[usize::from(side.number)];
            let said = marker::mode_of(side.sink.as_ref(), name).await;
            *mode = said.with_context(|| format!("destination {name} cannot be repaired"))?;
        }
        Ok(modes)
    }

    async fn report(&self, found: &Found) -> Result<Report, Failure> {
        let report = Report::of(found, &self.source).await;
        Ok(report.context("cannot read once more what differs")?)
    }

    /// Removes what a finished comparison needs no more.
    fn forget(&self) {
        let Ok(files) = std::fs::read_dir(self.directory.path()) else {
            return;
        };
        for file in files.filter_map(Result::ok) {
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("ids-") || name.starts_with("verify.json") {
                let _gone = std::fs::remove_file(file.path()).is_ok();
            }
        }
    }

    fn clean_up(&self) {
        if let Directory::Given(directory) = &self.directory {
            // Fails where something else lies there, which stays.
            let _gone = std::fs::remove_dir(directory).is_ok();
        }
    }
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

fn settings(args: &VerifyArgs, common: &Common) -> Result<Settings, Failure> {
    let defaults = match &args.data_dir {
        Some(directory) => {
            let path = absolute(directory).context("cannot tell the current directory")?;
            if !path.is_dir() {
                let text = format!("{} is no directory", path.display());
                return Err(Failure::usage(text));
            }
            Settings::embedded(&path)
        }
        None => Settings::default(),
    };
    let mut settings = common.settings(defaults, args.flags())?;
    if let Some(directory) = &args.data_dir {
        // A demo delivers below prefixes of its own, which its directory remembers.
        let path = absolute(directory).context("cannot tell the current directory")?;
        places::recall(&mut settings, &path)?;
    }
    Ok(settings)
}

/// A group that has committed nothing would make any two destinations equal.
fn has_begun(asked: Option<&Asked>, side: usize, group: &str) -> Result<(), Failure> {
    let Some(Asked { scope, ranges }) = asked else {
        return Ok(());
    };
    let holds_some = ranges.values().any(|(start, end)| start < end);
    if !scope.committed[side].is_empty() || !holds_some {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "group {group} has committed nothing of {}, so there is nothing to compare yet; if that is \
         not the group of this destination set destinations.NAME.group, and --no-log compares \
         everything without asking",
        scope.topic
    )))
}
