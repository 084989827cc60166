//! What the settings may come to in memory, and how much there is.

use super::Settings;
use cloudsync_dedupe::memory::MemoryLimits;
use cloudsync_kafka::duration;
use std::fs;

const CGROUP_MAX: &str = "/sys/fs/cgroup/memory.max";
const CGROUP_CURRENT: &str = "/sys/fs/cgroup/memory.current";
const MEMORY: &str = "/proc/meminfo";

/// Most bytes that queues and windows may hold, if this process ran every role of the settings.
#[must_use]
pub fn most_memory(settings: &Settings) -> u64 {
    let in_flight = settings.gateway.max_in_flight_bytes as u64;
    in_flight + u64::from(settings.kafka.queue_bytes) + dedupe_memory(settings)
}

/// Most bytes of the dedupe stores of all destinations in this process.
fn dedupe_memory(settings: &Settings) -> u64 {
    let in_this_process = ["memory:", "file:"];
    let url = &settings.dedupe.url;
    if !in_this_process.iter().any(|it| url.starts_with(it)) {
        return 0;
    }
    let one = MemoryLimits::of(&settings.dedupe).most_bytes();
    one.saturating_mul(settings.destinations.len() as u64)
}

/// Bytes that a process may still take: of its control group or of the machine, whichever is
/// less; `None` where the system does not tell.
#[must_use]
pub fn available_memory() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let of_group = number(CGROUP_MAX)
        .zip(number(CGROUP_CURRENT))
        .map(|(most, used)| most.saturating_sub(used));
    let text = fs::read_to_string(MEMORY).unwrap_or_default();
    let of_machine = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .map(|kibibytes| kibibytes << 10);
    of_group.into_iter().chain(of_machine).min()
}

/// Why memory may run out within the settings, and the way out; `None` if it does not.
#[must_use]
pub fn crowded(settings: &Settings) -> Option<String> {
    let (most, available) = (most_memory(settings), available_memory()?);
    (most > available).then(|| {
        format!(
            "queues and windows may take {} (gateway.max_in_flight_bytes {}, kafka.queue_bytes {}, \
             dedupe {}), but only {} are at hand; lower them, or give more memory",
            bytes(most),
            bytes(settings.gateway.max_in_flight_bytes as u64),
            bytes(u64::from(settings.kafka.queue_bytes)),
            bytes(dedupe_memory(settings)),
            bytes(available),
        )
    })
}

/// What a window that is shorter than the topic's retention means, and what a longer one would
/// take; `None` where it is as long.
#[must_use]
pub fn short_window(settings: &Settings) -> Option<String> {
    let (window, retention) = (settings.dedupe.window, settings.kafka.retention);
    if window >= retention {
        return None;
    }
    let one = MemoryLimits::of(&settings.dedupe).most_bytes();
    let longer = one as f64 * retention.as_secs_f64() / window.as_secs_f64();
    Some(format!(
        "dedupe.window = {} is shorter than kafka.retention = {}: an id sent again later than \
         that is another effect; to remember as many ids an hour for so long takes about {} a \
         destination (dedupe.window, dedupe.max_entries)",
        duration::format(window),
        duration::format(retention),
        bytes(longer as u64),
    ))
}

/// A number of bytes, for a person.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match UNITS.iter().find(|(_, power)| count >= 1 << power) {
        Some((unit, power)) => format!("{:.1} {unit}", count as f64 / (1_u64 << power) as f64),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        for (count, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (128 << 20, "128.0 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(bytes(count), shown);
        }
    }

    #[test]
    fn what_may_not_fit_is_told_with_its_parts() {
        let mut settings = Settings::default();
        if available_memory().is_some() {
            settings.gateway.max_in_flight_bytes = 1 << 40;
            let why = crowded(&settings).unwrap();
            assert!(why.contains("gateway.max_in_flight_bytes 1.0 TiB"), "{why}");
        }
        assert!(
            short_window(&settings)
                .unwrap()
                .contains("kafka.retention = 7d")
        );
        settings.dedupe.window = Duration::from_secs(7 * 86_400);
        assert_eq!(short_window(&settings), None);
    }
}
