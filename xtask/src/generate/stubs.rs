//! The stubs of the services between processes.
//!
//! Received from: `protocol/proto`. Handed to: [`super::run`].

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Made;

/// Where the services between processes are written down.
const PROTOS: &str = "protocol/proto";
const PROTO: &str = "millstream/v1/worker.proto";
/// Where their stubs lie.
const STUBS: &str = "protocol/src/grpc";

/// The stubs.
pub(super) fn made(repository: &Path) -> Result<Vec<Made>> {
    let scratch = std::env::temp_dir().join(format!("millstream-generate-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let made = made_in(repository, &scratch);
    fs::remove_dir_all(&scratch)?;
    made
}

fn made_in(repository: &Path, scratch: &Path) -> Result<Vec<Made>> {
    let protos = repository.join(PROTOS);
    let files = protox::compile([protos.join(PROTO)], [&protos])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(scratch)
        .compile_fds(files)?;
    let mut all = Vec::new();
    for made in fs::read_dir(scratch)? {
        let made = made?;
        let name = made.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(made.path())?;
        all.push(Made { path: format!("{STUBS}/{name}"), text, from: PROTO });
    }
    Ok(all)
}
