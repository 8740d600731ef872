//! `generate`: makes the files that are made from others, or says which are not as they would be.
//!
//! Received from: `main`. Handed to: the tree, where the results are committed, so that whoever
//! builds the project needs nothing for it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Where the services between processes are written down.
const PROTOS: &str = "protocol/proto";
const PROTO: &str = "millstream/v1/worker.proto";
/// Where their stubs lie.
const STUBS: &str = "protocol/src/grpc";

/// Makes all of them; with `check` only compares.
pub fn run(repository: &Path, check: bool) -> Result<ExitCode> {
    let scratch = std::env::temp_dir().join(format!("millstream-generate-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let result = stubs(repository, &scratch, check);
    fs::remove_dir_all(&scratch)?;
    result
}

fn stubs(repository: &Path, scratch: &Path, check: bool) -> Result<ExitCode> {
    let protos = repository.join(PROTOS);
    let files = protox::compile([protos.join(PROTO)], [&protos])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(scratch)
        .compile_fds(files)?;
    let mut code = ExitCode::SUCCESS;
    for made in fs::read_dir(scratch)? {
        let made = made?;
        let target = repository.join(STUBS).join(made.file_name());
        let text = fs::read_to_string(made.path())?;
        if fs::read_to_string(&target).is_ok_and(|there| there == text) {
            continue;
        }
        if check {
            println!("{}: is not what {PROTO} makes: cargo xtask generate", target.display());
            code = ExitCode::FAILURE;
        } else {
            fs::write(&target, text).with_context(|| target.display().to_string())?;
            println!("{}: made", target.display());
        }
    }
    Ok(code)
}
