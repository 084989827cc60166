//! The chain of one partition: in `batch` mode it decides what is written, not a lease.
//!
//! A destination holds, for each partition of a log, segments that follow each other from the
//! group's origin on. Each start has one segment, because creating it is conditional; each next
//! start follows from the end of the one before; and the committed offset stands only on a
//! boundary. So whoever reads on from there, after a crash or in the place of another, either
//! creates the next segment or finds it created: nothing is written twice and nothing left out.
//!
//! [`name`] where a segment lies, [`mod@line`] a record as a line, [`lines`] many of
//! them packed, [`segment`] and [`reader`] the
//! bytes, [`start`] where a chain goes on, [`open`] judging and filling (the state machine),
//! [`closed`] what a segment covers, [`adopt`] a segment found in place.

// 1. what lies at a destination
pub mod name;

pub mod line;
pub mod lines;

pub mod segment;

pub mod reader;

// 2. where a chain goes on
pub mod start;

// 3. judging and filling
pub mod open;

pub mod closed;

// 4. a segment found in place
pub mod adopt;

pub use adopt::{Adoption, Found, Whose};
pub use closed::{ClosedSegment, Entry, Fault, Verdict};
pub use name::{ChainName, SegmentName};
pub use open::{Chain, Limits};
