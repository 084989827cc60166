//! What a process has used, by the operating system's account.
//!
//! In: a process's number. Out: its processor time, to 10 ms, and the most memory that it ever had
//! resident. Read from `/proc`, so only where there is one.

use anyhow::Context;
use std::time::Duration;

/// The unit of `/proc/PID/stat` (`USER_HZ`), which is 100 a second wherever Linux runs us.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// `VmHWM`.
    pub(crate) peak_kib: u64,
}

/// What process `pid` has used.
///
/// # Errors
/// When the system does not tell: the process has ended, or there is no `/proc`.
pub(crate) fn of(pid: u32) -> anyhow::Result<Usage> {
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let stat = read("stat")?;
    let cpu = ticks(&stat).context("/proc/PID/stat has another form")?;
    let status = read("status")?;
    let peak_kib = peak(&status).context("/proc/PID/status has no VmHWM")?;
    Ok(Usage {
        cpu: TICK * cpu,
        peak_kib,
    })
}

fn ticks(stat: &str) -> Option<u32> {
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_account_is_read_past_strange_names() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 123 45 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some(168));
        assert_eq!(ticks("7 (a"), None);
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    5120 kB\nThreads:\t1\n";
        assert_eq!(peak(status), Some(5_120));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_told() {
        assert!(of(std::process::id()).unwrap().peak_kib > 1_000);
    }
}
