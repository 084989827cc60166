//! The generated contract, `cloudsync.v1`: messages, the client, and (feature `server`) the
//! server trait. The documentation of every field stands in `proto/cloudsync/v1/data_sync.proto`.

pub use crate::wire::{SyncDataRequest, SyncDataStreamRequest, SyncRecordRequest};
pub use generated::*;

/// The encoded `FileDescriptorSet` of the contract, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[allow(
    missing_docs,
    rustdoc::broken_intra_doc_links,
    clippy::all,
    clippy::use_self,
    clippy::or_fun_call,
    clippy::future_not_send,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_imports,
    clippy::missing_errors_doc,
    clippy::too_many_lines,
    clippy::clone_on_ref_ptr,
    unreachable_pub,
    unused_qualifications,
    missing_debug_implementations,
    reason = "generated"
)]
mod generated {
    tonic::include_proto!("cloudsync.v1");
}
