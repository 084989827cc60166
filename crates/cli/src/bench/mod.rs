//! `cloudsync bench`: what the parts carry and cost, beside a floor measured in the same run.
//!
//! In the order of a run: [`plan`] what was asked for, [`crew`] the processes from outside and
//! [`role`] from inside, [`messages`] what they say to each other, [`records`] what is sent,
//! [`load`] the clients that send it, [`measured`] what they see, [`usage`] and [`costs`] what the
//! system says a process used, [`measure`] who does what when, [`report`] what came of it, as a
//! [`table`] or a [`plot`]. [`by_store`] is the pipeline with each dedupe store, and [`stores`] is
//! `bench dedupe`, which sends no records.

// 1. what is asked for
pub(crate) mod plan;

// 2. the processes
pub(crate) mod crew;
pub(crate) mod messages;
pub(crate) mod role;

// 3. the load
mod load;
mod measured;
mod records;

// 4. the figures
mod costs;
pub(crate) mod measure;
mod usage;

// 5. what came of it
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod table;

// 6. the same with each dedupe store
pub(crate) mod by_store;

// 7. the dedupe stores alone
pub(crate) mod stores;
