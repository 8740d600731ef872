//! The images of the Dockerfile, around binaries that cargo has built already.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::cluster::{Cluster, repository, run};

/// The tag of the images that stories begin with.
pub const TAG: &str = "e2e";
/// The tag of a worker's image that a job is upgraded to.
pub const NEXT: &str = "next";

/// What an image is called in the cluster, without its tag.
pub fn name(target: &str) -> String {
    format!("docker.io/millstream/{target}")
}

/// The folder in which cargo has put binaries: that of this program.
///
/// # Errors
/// Where this program cannot be found.
pub fn built() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let folder =
        own.ancestors().find(|it| it.file_name() != Some(OsStr::new("deps")) && it.is_dir());
    Ok(folder.context("this program lies in no folder")?.to_owned())
}

/// Builds a stage of the Dockerfile around the binary `millstream-<target>`, and gives it to all
/// nodes under this tag.
///
/// # Errors
/// Where the binary is not there, or the image cannot be built.
pub fn give(cluster: &Cluster, target: &str, tag: &str) -> Result<()> {
    let scratch = TempDir::new().context("cannot make a temporary folder")?;
    let stage = scratch.path().join("built");
    std::fs::create_dir(&stage)?;
    // `COPY` of the other stage's binary is not run, so that it need not be there.
    strip(&built()?, &stage, &format!("millstream-{target}"))?;
    let file = scratch.path().join("image.tar");
    std::fs::write(&file, [])?;
    let mut build = cluster.script("build-image.sh");
    run(build
        .args([&repository(), Path::new(target), &stage])
        .arg(format!("{}:{tag}", name(target)))
        .arg(&file))?;
    run(cluster.script("import.sh").arg(&file))?;
    Ok(())
}

/// Copies a binary without what is for debuggers alone: most of it.
fn strip(from: &Path, to: &Path, binary: &str) -> Result<()> {
    let source = from.join(binary);
    run(Command::new("strip").arg("-o").arg(to.join(binary)).arg(&source))
        .with_context(|| format!("build {binary} first, as `make e2e` does"))?;
    Ok(())
}
