//! Features: each one is in the Makefile's list, so that `make check` builds it alone.
//!
//! Receives the manifests and the Makefile from [`super::check`], returns what is in one only.

use super::manifest::Manifest;
use super::{Finding, Tree};

const MAKEFILE: &str = "Makefile";

/// Features that nobody builds alone, and entries that name no feature.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let listed = listed(tree.file(MAKEFILE).and_then(|file| file.text.as_deref()).unwrap_or(""));
    let mut declared = Vec::new();
    let mut findings = Vec::new();
    // Two levels deep is a member; what lies deeper is outside the workspace and has its own
    // checks.
    let is_member = |path: &str| path.ends_with("/Cargo.toml") && path.matches('/').count() == 1;
    for file in tree.files.iter().filter(|file| is_member(&file.path)) {
        let manifest = Manifest::parse(file.text.as_deref().unwrap_or_default());
        for feature in &manifest.features {
            let feature = format!("{}/{feature}", manifest.name);
            if !listed.contains(&feature.as_str()) {
                let message = format!("add {feature} to FEATURES in the Makefile");
                findings.push(Finding::new(&file.path, 0, message));
            }
            declared.push(feature);
        }
    }
    for entry in listed.iter().filter(|entry| !declared.iter().any(|feature| feature == *entry)) {
        findings.push(Finding::new(
            MAKEFILE,
            0,
            format!("FEATURES names {entry}: no such feature"),
        ));
    }
    findings
}

/// The words after `FEATURES :=`, over continued lines.
fn listed(makefile: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut inside = false;
    for line in makefile.lines() {
        let rest = if inside { Some(line) } else { line.strip_prefix("FEATURES :=") };
        let Some(rest) = rest else { continue };
        inside = rest.ends_with('\\');
        words.extend(rest.split_whitespace().filter(|word| *word != "\\"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(makefile: &str) -> Vec<String> {
        let manifest = "[package]\nname = \"m-a\"\n[features]\ndefault = [\"x\"]\nx = []\ny = []\n";
        let tree = Tree::of(&[("Makefile", makefile), ("a/Cargo.toml", manifest)]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_list_and_the_manifests_agree() {
        assert_eq!(found("FEATURES := m-a/x m-a/y\nall:\n"), [""; 0]);
        assert_eq!(found("FEATURES := \\\n  m-a/x \\\n  m-a/y\n\nall: b/c\n"), [""; 0]);
        assert_eq!(found("FEATURES := m-a/x"), ["add m-a/y to FEATURES in the Makefile"]);
        assert_eq!(
            found("FEATURES := m-a/x m-a/y m-a/z"),
            ["FEATURES names m-a/z: no such feature"]
        );
    }
}
