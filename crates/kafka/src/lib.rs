//! The Kafka client: configuration, producer, consumer loop, topics, lag.
//!
//! The only package that knows librdkafka. In the order of a record's way through it:
//! [`settings`] where the log is and how it is used, [`topics`] making the two topics,
//! [`producer`] a batch in and a result for each of its records out, [`consumer`] records out of
//! the log with a watermark back into it, [`dead_letter`] what is set aside, [`mod@lag`] how far a
//! group is behind, [`mod@inspect`] what the topics are like, [`read`] a whole topic from start to
//! end without a group, [`fetch`] the same as fast as it goes, to be held against.
//!
//! Every wait is bounded, every queue is bounded, and no blocking call of librdkafka runs on an
//! async worker.

// 1. where the log is
pub mod duration;
pub mod error;
pub mod position;
pub mod settings;

mod client;
mod librdkafka;
mod record;
mod trouble;

// 2. into the log
pub mod producer;
pub mod topics;

// 3. out of the log
pub mod consumer;

// 4. what is set aside, and how far everyone is
pub mod commits;
pub mod dead_letter;
pub mod fetch;
pub mod inspect;
pub mod lag;
pub mod read;

pub use commits::{CommittedOffsets, GroupCommits};
pub use consumer::commit_table::{CommitError, Committer};
pub use consumer::event::{AssignedPartition, Committed, Event, RevokeAck};
pub use consumer::outcome::{Outcome, Reason, Receipt};
pub use consumer::partition::{PartitionRecords, PolledRecord};
pub use consumer::tracker::{CommitTracker, Epoch, TrackerError, Watermark};
pub use consumer::{Consumer, GroupSettings};
pub use dead_letter::again::{MAX_REDRIVES, Redrive, Redriver};
pub use dead_letter::entry::{DeadLetterEntry, EntryId, Fold, Line, Settled};
pub use dead_letter::headers::DeadLetterHeaders;
pub use dead_letter::{Cause, DeadLetter, DeadLetterProducer};
pub use error::KafkaError;
pub use fetch::fetch_topic;
pub use inspect::{Inspection, TopicInspection, inspect};
pub use lag::{PartitionLag, lag};
pub use position::Position;
pub use producer::batch::{ProduceBatch, ProduceEntry};
pub use producer::{ProduceError, ProduceRecord, Produced, Producer};
pub use read::{
    Ends, read_range, read_topic, read_topic_since, read_topic_with_headers, topic_ends,
};
pub use record::RecordHeaders;
pub use settings::{KafkaSettings, SettingsError};
pub use topics::{TopicReport, TopicState, ensure_topics};
pub use trouble::trouble;
