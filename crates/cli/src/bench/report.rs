//! What a bench has found: the figures of ours beside those of the floor, and what is wrong.
//!
//! In: [`Figures`]. Out: a [`Report`], which is what `--output json` prints. Promises: lost and
//! doubled come from two independent sums, what clients were told and what arrived; anything that
//! does not add up is a complaint, and a bench with a complaint has failed.

use super::costs::Costs;
use super::measure::{Arrived, Figures, Round};
use super::messages::{Point, Sum};
use super::plan::Plan;
use serde::Serialize;

/// What a bench has found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) kind: &'static str,
    /// Acknowledged while it was measured; `consumer`: delivered.
    pub(crate) records: u64,
    /// Until the last of them had come to every consumer.
    pub(crate) seconds: f64,
    pub(crate) records_per_second: f64,
    /// `null`: nothing was acknowledged.
    pub(crate) ack_ms: Option<AckMs>,
    /// Acknowledged and not there, over all places.
    pub(crate) lost: u64,
    /// There more than once, over all places.
    pub(crate) doubled: u64,
    pub(crate) roles: Vec<RoleReport>,
    pub(crate) floor: FloorReport,
    pub(crate) payload_bytes: usize,
    pub(crate) batch: usize,
    pub(crate) connections: usize,
    /// Records a second that were asked for.
    pub(crate) rate: Option<f64>,
    pub(crate) rounds: Vec<RoundReport>,
    /// Sent again on purpose, in the warm-up as well.
    pub(crate) resent: u64,
    pub(crate) duplicates_at_gateway: u64,
    pub(crate) refused: u64,
    /// Due at the rate that was asked for, and never sent.
    pub(crate) unsent: u64,
    /// Sent once more by the client itself.
    pub(crate) retried: u64,
    pub(crate) arrived: Vec<ArrivedReport>,
    /// Why the bench has failed, if it has.
    pub(crate) complaints: Vec<String>,
    #[serde(skip)]
    pub(crate) points: Vec<Point>,
}

/// Milliseconds from when a record was due until it was acknowledged.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct AckMs {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// What a process cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RoleReport {
    pub(crate) name: String,
    pub(crate) cpu_us_per_record: f64,
    pub(crate) peak_rss_mib: f64,
}

/// The floor, measured in turns with ours.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FloorReport {
    pub(crate) is: &'static str,
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    pub(crate) records_per_second: f64,
    pub(crate) cpu_us_per_record: f64,
    /// Our processes that it is held against, and what they cost together.
    pub(crate) held_against: Vec<String>,
    pub(crate) ours_cpu_us_per_record: f64,
    /// Ours divided by the floor.
    pub(crate) cpu_ratio: f64,
    pub(crate) roles: Vec<RoleReport>,
}

/// One turn of each.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RoundReport {
    pub(crate) records_per_second: f64,
    pub(crate) floor_records_per_second: f64,
}

/// What came to one place.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ArrivedReport {
    pub(crate) place: String,
    pub(crate) expected: u64,
    pub(crate) arrived: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) duplicates: u64,
    pub(crate) redelivered: u64,
    pub(crate) dedupe_mib: f64,
    /// Ids that the dedupe store forgot because it was full.
    pub(crate) dedupe_evicted: u64,
    /// Age of the oldest id that it knew at the end.
    pub(crate) effective_window_seconds: Option<f64>,
}

// === impl Report ===

impl Report {
    /// Puts `figures` together.
    pub(crate) fn of(plan: &Plan, mut figures: Figures) -> Self {
        if plan.lose_one {
            lose_one(&mut figures);
        }
        let rounds = &figures.rounds;
        let records: u64 = rounds.iter().map(|round| round.records).sum();
        let seconds: f64 = rounds.iter().map(|round| round.seconds).sum();
        let arrived: Vec<_> = figures.arrived.iter().map(ArrivedReport::of).collect();
        let mut report = Self {
            kind: plan.kind.name(),
            records,
            seconds: rounded(seconds),
            records_per_second: rate(records, seconds),
            ack_ms: figures.latencies.as_ref().map(|latencies| AckMs {
                p50: rounded(latencies.ms(0.5)),
                p99: rounded(latencies.ms(0.99)),
                p999: rounded(latencies.ms(0.999)),
                max: rounded(latencies.ms(1.0)),
            }),
            lost: arrived.iter().map(|it| it.lost).sum(),
            doubled: arrived.iter().map(|it| it.doubled).sum(),
            roles: roles(&figures.ours, records),
            floor: FloorReport::of(&figures, records),
            payload_bytes: plan.payload_bytes,
            batch: plan.batch,
            connections: plan.connections,
            rate: plan.rate,
            rounds: rounds.iter().map(RoundReport::of).collect(),
            resent: figures.sent.resent,
            duplicates_at_gateway: figures.sent.duplicates,
            refused: figures.sent.refused,
            unsent: figures.sent.unsent,
            retried: figures.sent.retried,
            arrived,
            complaints: Vec::new(),
            points: Vec::new(),
        };
        report.complaints = complaints(&report, &figures);
        report.points = figures.points;
        report
    }
}

/// The test hook: takes one acknowledged record out of what arrived.
fn lose_one(figures: &mut Figures) {
    let last = figures.sent.last;
    if let Some((arrived, last)) = figures.arrived.first_mut().zip(last) {
        arrived.ids = arrived.ids.without(last);
    }
}

fn complaints(report: &Report, figures: &Figures) -> Vec<String> {
    let mut complaints = Vec::new();
    if report.records == 0 {
        complaints.push("nothing was acknowledged".to_owned());
    }
    for it in &report.arrived {
        if it.lost + it.doubled > 0 {
            complaints.push(format!(
                "{}: at least {} lost and {} doubled: {} ids arrived, {} were acknowledged",
                it.place, it.lost, it.doubled, it.arrived, it.expected
            ));
        }
    }
    if report.refused > 0 {
        let first = figures.sent.complaint.as_deref().unwrap_or_default();
        complaints.push(format!("{} records were refused: {first}", report.refused));
    }
    if report.unsent > 0 {
        complaints.push(format!(
            "{} records were due and never sent: this machine does not carry that rate, and the \
             times leave them out",
            report.unsent
        ));
    }
    let sent = &figures.sent;
    let again = sent.resent - sent.duplicates.min(sent.resent);
    for arrived in &figures.arrived {
        let Some(state) = arrived.consumer else {
            continue;
        };
        let place = &arrived.place;
        // What the client sent once more by itself may lie in the log twice, or not.
        if state.duplicates < again || state.duplicates > again + sent.retried {
            complaints.push(format!(
                "{place}: {again} records were sent again, {} recognised as duplicates",
                state.duplicates
            ));
        }
        if state.set_aside > 0 {
            let count = state.set_aside;
            complaints.push(format!(
                "{place}: {count} records were not delivered but set aside"
            ));
        }
    }
    complaints
}

fn roles(costs: &Costs, records: u64) -> Vec<RoleReport> {
    let role = |cost: &super::costs::Cost| RoleReport {
        name: cost.name.clone(),
        cpu_us_per_record: rounded(costs.micros(records, |name| name == cost.name)),
        peak_rss_mib: rounded(cost.peak_kib as f64 / 1_024.0),
    };
    costs.0.iter().map(role).collect()
}

// === impl FloorReport, RoundReport, ArrivedReport ===

impl FloorReport {
    fn of(figures: &Figures, ours_records: u64) -> Self {
        let records: u64 = figures.rounds.iter().map(|round| round.floor_records).sum();
        let seconds: f64 = figures.rounds.iter().map(|round| round.floor_seconds).sum();
        let compared = |name: &str| figures.compared.iter().any(|it| it == name);
        let ours = figures.ours.micros(ours_records, compared);
        let floor = figures
            .floor
            .micros(records, |name| name.starts_with("floor"));
        Self {
            is: figures.floor_is,
            records,
            seconds: rounded(seconds),
            records_per_second: rate(records, seconds),
            cpu_us_per_record: rounded(floor),
            held_against: figures.compared.clone(),
            ours_cpu_us_per_record: rounded(ours),
            // A floor too short for the system's clock has cost nothing: no ratio.
            cpu_ratio: if floor > 0.0 {
                rounded(ours / floor)
            } else {
                0.0
            },
            roles: roles(&figures.floor, records),
        }
    }
}

impl RoundReport {
    fn of(round: &Round) -> Self {
        Self {
            records_per_second: rate(round.records, round.seconds),
            floor_records_per_second: rate(round.floor_records, round.floor_seconds),
        }
    }
}

impl ArrivedReport {
    fn of(arrived: &Arrived) -> Self {
        let (lost, doubled) = compared(arrived.expected, arrived.ids);
        let state = arrived.consumer.unwrap_or_default();
        Self {
            place: arrived.place.clone(),
            expected: arrived.expected.count(),
            arrived: arrived.ids.count(),
            lost,
            doubled,
            duplicates: state.duplicates,
            redelivered: state.redelivered,
            dedupe_mib: rounded(state.dedupe_bytes as f64 / f64::from(1 << 20)),
            dedupe_evicted: state.dedupe_evicted,
            effective_window_seconds: state.effective_window_seconds.map(rounded),
        }
    }
}

/// How many ids are missing, and how many are there too often: at least. As many of one as of the
/// other leave the count as it is, but not the sum.
fn compared(expected: Sum, arrived: Sum) -> (u64, u64) {
    let (wanted, there) = (expected.count(), arrived.count());
    match wanted.cmp(&there) {
        std::cmp::Ordering::Greater => (wanted - there, 0),
        std::cmp::Ordering::Less => (0, there - wanted),
        std::cmp::Ordering::Equal if expected == arrived => (0, 0),
        std::cmp::Ordering::Equal => (1, 1),
    }
}

fn rate(records: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        (records as f64 / seconds).round()
    } else {
        0.0
    }
}

/// To three digits behind the point: more would say what was not measured.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::identity::Id16;

    #[test]
    fn what_is_missing_and_what_is_there_twice_is_told_apart() {
        let id = |byte| Sum::one(Id16([byte; 16]));
        let both = id(1).with(id(2));
        assert_eq!(compared(both, both), (0, 0));
        assert_eq!(compared(both, id(1)), (1, 0));
        assert_eq!(compared(both, both.with(id(2))), (0, 1));
        assert_eq!(compared(both, id(1).with(id(1))), (1, 1));
    }
}
