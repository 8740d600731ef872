//! `generate`: makes the files that are made from others, or says which are not as they would be.
//!
//! Received from: `main`. Handed to: the tree, where the results are committed, so that whoever
//! builds the project needs nothing for it.

mod chart;
mod resources;
mod stubs;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

/// A file that is made: its path in the repository, its text, and what it is made from.
struct Made {
    path: String,
    text: String,
    from: &'static str,
}

/// Makes all of them; with `check` only compares.
pub fn run(repository: &Path, check: bool) -> Result<ExitCode> {
    let mut all = stubs::made(repository)?;
    all.extend(resources::made()?);
    let mut code = ExitCode::SUCCESS;
    for Made { path, text, from } in all {
        let target = repository.join(&path);
        if fs::read_to_string(&target).is_ok_and(|there| there == text) {
            continue;
        }
        if check {
            println!("{path}: is not what {from} makes: cargo xtask generate");
            code = ExitCode::FAILURE;
        } else {
            write(&target, &text)?;
            println!("{path}: made");
        }
    }
    Ok(code)
}

/// Notes what this tree's resources are as what a release has: what every later one must take; and
/// its chart, which later ones are upgraded from.
pub fn release(repository: &Path) -> Result<ExitCode> {
    for Made { path, text, .. } in resources::released()? {
        write(&repository.join(&path), &text)?;
        println!("{path}: is what the last release has");
    }
    chart::release(repository)?;
    Ok(ExitCode::SUCCESS)
}

fn write(target: &Path, text: &str) -> Result<()> {
    let shown = || target.display().to_string();
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).with_context(shown)?;
    }
    fs::write(target, text).with_context(shown)
}
