//! What each process used while it was measured.
//!
//! In: roles, at the beginning and at the end of an interval. Out: processor time of the intervals
//! together, and the most memory ever, by name.

use super::crew::Role;
use super::usage::Usage;
use std::time::Duration;

/// The account of some roles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs(pub(crate) Vec<Cost>);

/// The account of one role.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) name: String,
    /// Processor time of the measured intervals.
    pub(crate) cpu: Duration,
    /// The most memory resident, whenever.
    pub(crate) peak_kib: u64,
}

/// An interval that has begun.
#[derive(Debug)]
pub(crate) struct Meter(Vec<Usage>);

// === impl Meter, Costs ===

impl Meter {
    /// Begins to measure `roles`.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn begin(roles: &[&Role]) -> anyhow::Result<Self> {
        let usages = roles.iter().map(|role| role.usage());
        Ok(Self(usages.collect::<anyhow::Result<_>>()?))
    }

    /// Ends it, for the same roles.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn end(self, roles: &[&Role]) -> anyhow::Result<Costs> {
        let mut costs = Costs::default();
        for (role, before) in roles.iter().zip(self.0) {
            let after = role.usage()?;
            let cpu = after.cpu.saturating_sub(before.cpu);
            costs.add(role.name(), cpu, after.peak_kib);
        }
        Ok(costs)
    }
}

impl Costs {
    /// These and those of `more` together.
    #[must_use]
    pub(crate) fn with(mut self, more: &Self) -> Self {
        for cost in &more.0 {
            self.add(&cost.name, cost.cpu, cost.peak_kib);
        }
        self
    }

    fn add(&mut self, name: &str, cpu: Duration, peak_kib: u64) {
        let Some(cost) = self.0.iter_mut().find(|cost| cost.name == name) else {
            self.0.push(Cost {
                name: name.to_owned(),
                cpu,
                peak_kib,
            });
            return;
        };
        cost.cpu += cpu;
        cost.peak_kib = cost.peak_kib.max(peak_kib);
    }

    /// Processor microseconds of the roles that `of` picks, for each of `records`.
    pub(crate) fn micros(&self, records: u64, of: impl Fn(&str) -> bool) -> f64 {
        let picked = self.0.iter().filter(|cost| of(&cost.name));
        let cpu: Duration = picked.map(|cost| cost.cpu).sum();
        cpu.as_secs_f64() * 1e6 / records.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_add_up_and_the_peak_is_the_highest() {
        let mut costs = Costs::default();
        costs.add("a", Duration::from_millis(30), 7);
        costs.add("b", Duration::from_millis(50), 1);
        let mut more = Costs::default();
        more.add("a", Duration::from_millis(70), 5);
        let costs = costs.with(&more);
        assert_eq!((costs.0.len(), costs.0[0].peak_kib), (2, 7));
        assert!((costs.micros(1_000, |name| name == "a") - 100.0).abs() < 1e-9);
        assert!((costs.micros(1_000, |_| true) - 150.0).abs() < 1e-9);
    }
}
