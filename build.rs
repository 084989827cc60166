//! Generates the Rust half of the contract from `proto/`, without protoc.
//!
//! The requests that carry records are not generated: `src/wire.rs` has them by hand, with each
//! record as undecoded bytes (an embedded message and a `bytes` field have the same encoding).

use prost::Message;
use std::{env, error::Error, fs, path::Path};

const PROTO: &str = "cloudsync/v1/data_sync.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile([PROTO], ["proto"])?;
    let out = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out).join("descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    let mut builder = tonic_prost_build::configure()
        .build_client(true)
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .bytes(".");
    for request in [
        "SyncDataRequest",
        "SyncDataStreamRequest",
        "SyncRecordRequest",
    ] {
        builder = builder.extern_path(
            format!(".cloudsync.v1.{request}"),
            format!("crate::wire::{request}"),
        );
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
