//! The project's own chores: `cargo xtask tidy`, `cargo xtask generate`.
//!
//! Receives a command line from a person or the Makefile, hands the repository to a chore, and
//! fails when the chore finds something. A chore reads files and prints; none of them needs the
//! network.

mod generate;
mod tidy;
mod yaml;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str =
    "usage: cargo xtask tidy              check the house rules that rustc cannot see
       cargo xtask generate          make what is made from other files
       cargo xtask generate --check  say whether it is as it would be made
       cargo xtask release-crds      note resources and chart as released: later ones take as much";

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => return run_tidy(),
        ["generate"] => return generate::run(repository(), false),
        ["generate", "--check"] => return generate::run(repository(), true),
        ["release-crds"] => return generate::release(repository()),
        _ => {}
    }
    eprintln!("{USAGE}");
    Ok(ExitCode::from(2))
}

fn run_tidy() -> Result<ExitCode> {
    let tree = tidy::Tree::read(repository())?;
    let findings = tidy::check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to mend", tree.files.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} to mend in {} files", findings.len(), tree.files.len());
    Ok(ExitCode::FAILURE)
}

/// The root of the repository: the folder above this crate.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate's folder is not the root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let tree = tidy::Tree::read(repository()).expect("the tree can be read");
        assert!(tree.files.len() > 20, "read only {} files", tree.files.len());
        let findings: Vec<String> = tidy::check(&tree).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
