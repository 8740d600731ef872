//! Where `make tools` has put what it installs.
//!
//! Asked by the parts of this crate. The versions are those of the script that installs them.

use std::path::PathBuf;
use std::{env, fs};

/// The script, for the versions it pins.
const SCRIPT: &str = include_str!("../../scripts/tools.sh");

/// A tool's file or folder. The name is that of its folder without the version.
///
/// # Panics
/// Where it is not installed.
pub(crate) fn path(tool: &str, file: &str) -> PathBuf {
    let path = tools().join(format!("{tool}-{}", version(tool))).join(file);
    let there = fs::exists(&path).unwrap_or(false);
    assert!(there, "{} is missing: run `make tools`, which installs it", path.display());
    path
}

/// As the scripts have it.
fn tools() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|it| !it.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache");
    cache.unwrap_or_else(home).join("millstream/tools")
}

fn version(tool: &str) -> &'static str {
    let line = SCRIPT.lines().find_map(|line| line.strip_prefix(tool)?.strip_prefix("_version="));
    line.unwrap_or_else(|| panic!("scripts/tools.sh names no version of {tool}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_read_from_the_script() {
        for tool in ["seaweedfs", "kafka"] {
            let version = super::version(tool);
            assert!(version.split('.').all(|number| number.parse::<u32>().is_ok()), "{version:?}");
        }
    }
}
