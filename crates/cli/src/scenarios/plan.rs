//! The six scenarios as data (pure, no I/O).
//!
//! In: how many records the sixth one sends. Out: for each scenario its steps. Promises: the same
//! ids in the same order at every call.

use crate::input::generate::mix;
use std::time::Duration;

/// What the sixth scenario sends if nothing else is said, repetitions included.
pub(crate) const MANY: u32 = 100_000;

/// One of the six.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// 1 to 6.
    pub(crate) number: u8,
    /// What it does, for a person.
    pub(crate) name: String,
    /// In their order.
    pub(crate) steps: Vec<Step>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many clients send the same, each over a connection of its own, at once; until every record
    /// has its verdict.
    Send {
        /// How many clients.
        clients: usize,
        /// From one record to the next.
        every: Duration,
        /// The numbers of the records, in their order; the same number is the same record.
        records: Vec<u32>,
    },
    /// Nothing, for so long.
    Pause(Duration),
    /// Everything is ended and started again.
    Restart,
}

/// All six; the last one sends `many` records.
pub(crate) fn six(many: u32) -> [Scenario; 6] {
    let hundred = || send(1, 0, (0..100).collect());
    let again = "again after 5 s and after a restart";
    let at_once = "three clients, the same ids at once";
    [
        scenario(
            1,
            "20 messages, one every 0.5 s",
            [send(1, 500, (0..20).collect())],
        ),
        scenario(
            2,
            "50 messages, one every 0.1 s",
            [send(1, 100, (0..50).collect())],
        ),
        scenario(3, "the same one five times", [send(1, 0, vec![0; 5])]),
        scenario(
            4,
            again,
            [
                hundred(),
                Step::Pause(Duration::from_secs(5)),
                hundred(),
                Step::Restart,
                hundred(),
            ],
        ),
        scenario(5, at_once, [send(3, 0, (0..200).collect())]),
        scenario(
            6,
            "a fifth sent before, at random",
            [send(1, 0, mixed(many))],
        ),
    ]
}

fn scenario(number: u8, name: &str, steps: impl Into<Vec<Step>>) -> Scenario {
    Scenario {
        number,
        name: name.to_owned(),
        steps: steps.into(),
    }
}

fn send(clients: usize, millis: u64, records: Vec<u32>) -> Step {
    Step::Send {
        clients,
        every: Duration::from_millis(millis),
        records,
    }
}

/// `count` records, about a fifth of which were sent before, any of them with the same chance.
fn mixed(count: u32) -> Vec<u32> {
    let mut fresh = 0;
    let one = |at: u32| {
        let dice = mix(u64::from(at));
        if fresh > 0 && dice.is_multiple_of(5) {
            // Less than `fresh`, so it fits.
            u32::try_from((dice >> 8) % u64::from(fresh)).unwrap_or(0)
        } else {
            fresh += 1;
            fresh - 1
        }
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_fifth_of_the_sixth_scenario_was_sent_before() {
        let records = mixed(100_000);
        let ids: HashSet<_> = records.iter().collect();
        let again = records.len() - ids.len();
        assert!((19_000..21_000).contains(&again), "{again}");
        // Every number up to the last one, each for the first time in its turn.
        assert_eq!(
            records.iter().max().map(|last| *last as usize),
            Some(ids.len() - 1)
        );
        // Some are repeated at once, some after nearly everything else.
        let far = records
            .iter()
            .zip(0u32..)
            .filter(|(record, at)| at - *record > 70_000);
        assert!(far.count() > 100);
    }
}
