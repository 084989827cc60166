//! The consumers against a real log in this process and destinations on disk.

mod batch;
mod measure;
mod outages;
mod places;
mod support;
