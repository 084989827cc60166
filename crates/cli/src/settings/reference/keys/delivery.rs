//! The keys of how a destination is written to.

use super::super::{Key, Kind};
use super::{at_least, count, key};

/// The keys, in the order of the page.
pub(in super::super) const KEYS: &[Key] = &[
    key(
        "destinations.*.concurrency",
        at_least("writes", 1),
        "Writes running or unmarked at one time, in this process; in mode batch uploads, over all \
         partitions.",
    ),
    key(
        "destinations.*.flush_bytes",
        at_least("bytes", 1),
        "A segment closes at so much payload, uncompressed (mode batch).",
    ),
    key(
        "destinations.*.flush_records",
        count("offsets", 1, 4_294_967_295),
        "A segment closes when it covers so many (mode batch).",
    ),
    key(
        "destinations.*.flush_interval",
        Kind::OptionalTime("250ms"),
        "A segment closes so long after its first record (mode batch). Without it: 250ms for \
         file:// and null://, 1s for clouds.",
    ),
    key(
        "destinations.*.attempt_timeout",
        Kind::OptionalTime("8s"),
        "An attempt to write ends after so long; in mode record at most half of dedupe.lease. \
         Without it: 30s, in mode record and for HTTP 8s.",
    ),
    key(
        "destinations.*.attempts",
        count("failures", 1, 4_294_967_295),
        "A record is dead-lettered after so many failures of its own: not those in which the \
         destination was away, asked for time or let nobody in (mode record, and HTTP).",
    ),
    key(
        "destinations.*.retry_percent",
        count("retries", 1, 100),
        "Retries for a hundred successes, over all partitions; more wait. 10 a second go in any case.",
    ),
    key(
        "destinations.*.failure_percent",
        count("failures", 1, 100),
        "When so many of a hundred attempts fail, the destination is left alone for a moment. It is \
         also when nothing succeeds any more, and at once when it lets nobody in.",
    ),
    key(
        "destinations.*.buffer_bytes",
        at_least("bytes", 1),
        "Payload in segments that are open or on their way, over all partitions of the topic, \
         uncompressed: segments close sooner where flush_bytes would be more (mode batch).",
    ),
    key(
        "destinations.*.instance_id",
        Kind::Text("aws-1"),
        "Name of this member within the group, for static membership. Without it: none.",
    ),
];
