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
    /// Acknowledged for the first time while it was measured; `consumer`: delivered.
    pub(crate) records: u64,
    /// Acknowledged again meanwhile, sent so on purpose; processor time is for each of both.
    pub(crate) records_again: u64,
    /// Until the last acknowledgement; `consumer`: until the last one was delivered.
    pub(crate) seconds: f64,
    /// From there until everything had come to every consumer, of all rounds together.
    pub(crate) tail_seconds: f64,
    /// Of `seconds` where there was a schedule, which says how fast is sent. Else of both: what
    /// piles up in the log is not carried yet.
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
    /// Ours divided by the floor: the median of the rounds.
    pub(crate) cpu_ratio: f64,
    pub(crate) roles: Vec<RoleReport>,
}

/// One turn of each.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RoundReport {
    pub(crate) records_per_second: f64,
    pub(crate) cpu_us_per_record: f64,
    pub(crate) floor_records_per_second: f64,
    pub(crate) floor_cpu_us_per_record: f64,
    pub(crate) cpu_ratio: f64,
}

/// What was measured, and what it cost.
struct Total {
    records: u64,
    again: u64,
    seconds: f64,
    tail_seconds: f64,
    costs: Costs,
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
        let total = Total::of(&figures.rounds);
        let paced = plan.rate.is_some();
        let rounds = figures.rounds.iter();
        let rounds = rounds.map(|round| RoundReport::of(round, paced, &figures.compared));
        let rounds: Vec<_> = rounds.collect();
        let arrived: Vec<_> = figures.arrived.iter().map(ArrivedReport::of).collect();
        let mut report = Self {
            kind: plan.kind.name(),
            records: total.records,
            records_again: total.again,
            seconds: rounded(total.seconds),
            tail_seconds: rounded(total.tail_seconds),
            records_per_second: total.per_second(paced),
            ack_ms: figures.latencies.as_ref().map(|latencies| AckMs {
                p50: rounded(latencies.ms(0.5)),
                p99: rounded(latencies.ms(0.99)),
                p999: rounded(latencies.ms(0.999)),
                max: rounded(latencies.ms(1.0)),
            }),
            lost: arrived.iter().map(|it| it.lost).sum(),
            doubled: arrived.iter().map(|it| it.doubled).sum(),
            roles: roles(&total.costs, total.sent()),
            floor: FloorReport::of(&figures, &total, &rounds),
            payload_bytes: plan.payload_bytes,
            batch: plan.batch,
            connections: plan.connections,
            rate: plan.rate,
            rounds,
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

// === impl Total, FloorReport, RoundReport, ArrivedReport ===

impl Total {
    fn of(rounds: &[Round]) -> Self {
        Self {
            records: rounds.iter().map(|round| round.records).sum(),
            again: rounds.iter().map(|round| round.resent).sum(),
            seconds: rounds.iter().map(|round| round.seconds).sum(),
            tail_seconds: rounds.iter().map(|round| round.tail_seconds).sum(),
            costs: rounds
                .iter()
                .fold(Costs::default(), |sum, round| sum.with(&round.ours)),
        }
    }

    /// Everything that cost processor time.
    fn sent(&self) -> u64 {
        self.records + self.again
    }

    fn per_second(&self, paced: bool) -> f64 {
        let tail = if paced { 0.0 } else { self.tail_seconds };
        rate(self.records, self.seconds + tail)
    }

    fn micros(&self, compared: &[String]) -> f64 {
        let of = |name: &str| compared.iter().any(|it| it == name);
        self.costs.micros(self.sent(), of)
    }
}

/// What the floor's own processes cost.
fn floor_micros(costs: &Costs, records: u64) -> f64 {
    costs.micros(records, |name| name.starts_with("floor"))
}

/// A floor that has cost nothing gives no ratio.
pub(crate) fn ratio(ours: f64, floor: f64) -> f64 {
    if floor > 0.0 { ours / floor } else { 0.0 }
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    match values.len() {
        0 => 0.0,
        count if count.is_multiple_of(2) => f64::midpoint(at(count / 2 - 1), at(count / 2)),
        count => at(count / 2),
    }
}

impl FloorReport {
    fn of(figures: &Figures, ours: &Total, rounds: &[RoundReport]) -> Self {
        let records: u64 = figures.rounds.iter().map(|round| round.floor_records).sum();
        let seconds: f64 = figures.rounds.iter().map(|round| round.floor_seconds).sum();
        let costs = figures.rounds.iter();
        let costs = costs.fold(Costs::default(), |sum, round| sum.with(&round.floor));
        Self {
            is: figures.floor_is,
            records,
            seconds: rounded(seconds),
            records_per_second: rate(records, seconds),
            cpu_us_per_record: rounded(floor_micros(&costs, records)),
            held_against: figures.compared.clone(),
            ours_cpu_us_per_record: rounded(ours.micros(&figures.compared)),
            cpu_ratio: rounded(median(rounds.iter().map(|it| it.cpu_ratio).collect())),
            roles: roles(&costs, records),
        }
    }
}

impl RoundReport {
    fn of(round: &Round, paced: bool, compared: &[String]) -> Self {
        let total = Total::of(std::slice::from_ref(round));
        let ours = total.micros(compared);
        let floor = floor_micros(&round.floor, round.floor_records);
        Self {
            records_per_second: total.per_second(paced),
            cpu_us_per_record: rounded(ours),
            floor_records_per_second: rate(round.floor_records, round.floor_seconds),
            floor_cpu_us_per_record: rounded(floor),
            cpu_ratio: rounded(ratio(ours, floor)),
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
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudsync::identity::Id16;

    /// A run of 2,000 a second says so, however long the last ones took to arrive; without a
    /// schedule they count. What is sent again is no record more, but has its cost.
    #[test]
    fn a_schedule_is_judged_by_its_time_and_the_rest_by_all_of_it() {
        let mut round = Round {
            records: 2_000,
            resent: 500,
            seconds: 1.0,
            tail_seconds: 0.25,
            ..Round::default()
        };
        let gateway = "gateway".to_owned();
        round.ours = Costs(vec![super::super::costs::Cost {
            name: gateway.clone(),
            cpu: std::time::Duration::from_millis(5),
            peak_kib: 1,
        }]);
        let of = |paced| RoundReport::of(&round, paced, std::slice::from_ref(&gateway));
        assert_eq!(of(true).records_per_second, 2_000.0);
        assert_eq!(of(false).records_per_second, 1_600.0);
        assert_eq!(of(true).cpu_us_per_record, 2.0);
        assert_eq!(of(true).cpu_ratio, 0.0, "a floor without a cost");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(Vec::new()), 0.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }

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
