//! The stubs of the services between processes.
//!
//! Received from: `protocol/proto`. Handed to: [`super::run`].

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Made;

/// Where the services between processes are written down.
const PROTOS: &str = "protocol/proto";
/// Where their stubs lie.
const STUBS: &str = "protocol/src/grpc";
/// The services of one file, and how their messages are coded.
struct Plane {
    proto: &'static str,
    stubs: &'static str,
    codec: &'static str,
}
const PLANES: [Plane; 2] = [
    Plane {
        proto: "millstream/v1/control.proto",
        stubs: "millstream.v1.control.rs",
        codec: "crate::grpc::codec::SmallCodec",
    },
    Plane {
        proto: "millstream/v1/data.proto",
        stubs: "millstream.v1.data.rs",
        codec: "tonic_prost::ProstCodec",
    },
];

/// The stubs.
pub(super) fn made(repository: &Path) -> Result<Vec<Made>> {
    let scratch = std::env::temp_dir().join(format!("millstream-generate-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let made = PLANES.iter().map(|plane| made_of(plane, repository, &scratch)).collect();
    fs::remove_dir_all(&scratch)?;
    made
}

fn made_of(plane: &Plane, repository: &Path, scratch: &Path) -> Result<Made> {
    let protos = repository.join(PROTOS);
    let files = protox::compile([protos.join(plane.proto)], [&protos])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path(plane.codec)
        .bytes(".")
        .out_dir(scratch)
        .compile_fds(files)?;
    // It is named after the package, which is the same.
    let text = fs::read_to_string(scratch.join("millstream.v1.rs"))?;
    Ok(Made { path: format!("{STUBS}/{}", plane.stubs), text, from: plane.proto })
}
