//! Holds an endpoint against the journal, by what it has done under each request id.

use super::{Verdict, is_for, lost};
use crate::endpoint::Endpoint;
use crate::journal::{Entry, Journal, Name};
use std::collections::{HashMap, HashSet};

/// Compares what `endpoint`, the destination `name`, has done under each request id with `journal`,
/// in which no two records share one.
pub fn check_endpoint(endpoint: &Endpoint, name: &str, journal: &Journal) -> Verdict {
    let mut verdict = Verdict::default();
    let (seen, mut found) = (endpoint.seen(), HashSet::new());
    let names: HashMap<&str, (&Name, &Entry)> = journal
        .entries()
        .map(|(name, entry)| (name.id.as_str(), (name, entry)))
        .collect();
    for (id, seen) in seen.iter().filter(|(_, seen)| seen.effects > 0) {
        verdict.lines += seen.effects as usize;
        let Some((wanted, entry)) = names
            .get(id.as_str())
            .filter(|(_, entry)| is_for(entry, name))
        else {
            let (tenant, key) = (String::new(), seen.key.clone());
            let id = id.clone();
            verdict.phantoms.push(Name { tenant, key, id });
            continue;
        };
        found.insert(*wanted);
        let is_sent = |payload| entry.payloads.contains(&payload);
        if !seen.payload.is_some_and(is_sent) || seen.key != wanted.key {
            verdict.altered.push((*wanted).clone());
        }
        if seen.effects > 1 {
            verdict.doubled.push(((*wanted).clone(), Vec::new()));
        }
    }
    verdict.lost = lost(journal, name, |wanted| found.contains(wanted));
    verdict
}
