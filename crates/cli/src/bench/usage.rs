//! What a process has used, by the operating system's account.
//!
//! In: a process's number. Out: its processor time, to the nanosecond and with that of threads
//! which have ended, and the most memory that it ever had resident. Only where there is Linux: of
//! the account in `/proc/PID/stat` a tick is 10 ms, which is a tenth of what a quiet role uses in
//! a round.

use anyhow::Context;
use std::time::Duration;

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
/// When the system does not tell: the process has ended, or this is not Linux.
pub(crate) fn of(pid: u32) -> anyhow::Result<Usage> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let peak_kib = kib(&status, "VmHWM:").context("/proc/PID/status has no VmHWM")?;
    Ok(Usage {
        cpu: cpu(pid)?,
        peak_kib,
    })
}

/// Bytes that this process has resident now.
///
/// # Errors
/// When the system does not tell: this is not Linux.
pub(crate) fn resident() -> anyhow::Result<u64> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let kib = kib(&status, "VmRSS:").with_context(|| format!("{path} has no VmRSS"))?;
    Ok(kib << 10)
}

#[cfg(target_os = "linux")]
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    use nix::time::ClockId;
    use nix::unistd::Pid;

    let pid = i32::try_from(pid).context("no number of a process")?;
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    let told = clock.and_then(ClockId::now);
    Ok(told.context("the clock of its processor time")?.into())
}

#[cfg(not(target_os = "linux"))]
fn cpu(_pid: u32) -> anyhow::Result<Duration> {
    anyhow::bail!("bench measures on Linux only")
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    5120 kB\nThreads:\t1\n";
        assert_eq!(kib(status, "VmHWM:"), Some(5_120));
    }

    /// Work far shorter than a tick is seen, and work of a thread that has ended is not forgotten.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_a_process_is_finer_than_a_tick_and_keeps_ended_threads() {
        let used = || of(std::process::id()).unwrap();
        let before = used();
        assert!(before.peak_kib > 1_000);
        let work = || (0..200_000u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        let ended = std::thread::spawn(move || {
            let before = used().cpu;
            work();
            used().cpu - before
        });
        let in_thread = ended.join().unwrap();
        let after = used().cpu;
        assert!(in_thread > Duration::ZERO, "{in_thread:?}");
        assert!(after - before.cpu >= in_thread, "{after:?}");
    }
}
