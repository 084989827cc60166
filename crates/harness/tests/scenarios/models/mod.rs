//! The protocols as models, of which every reachable state is looked at.
//!
//! [`leases`] is `record` mode and HTTP: claims with a lease, marks, dead letters. [`chain`] is
//! `batch` mode: look up, create, mark, commit. Each has wrong variants that must be found out, so
//! that a model which sees nothing is seen itself. Evidence for `docs/dedupe.md`.

mod chain;
mod explore;
mod leases;
