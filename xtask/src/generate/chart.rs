//! The chart as it was released last, which a story of e2e upgrades to the one of this tree while a
//! job runs.
//!
//! Received from: `charts/millstream`. Handed to: `e2e/released`, where it is committed, since a
//! clone may have no history.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const CHART: &str = "charts/millstream";
/// Where the last release's lies.
const RELEASED: &str = "e2e/released/millstream";

/// Notes the chart of this tree as released.
pub(super) fn release(repository: &Path) -> Result<()> {
    let released = repository.join(RELEASED);
    if released.exists() {
        fs::remove_dir_all(&released).context(RELEASED)?;
    }
    copy(&repository.join(CHART), &released)?;
    println!("{RELEASED}: is what the last release has");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let (entry, to) = entry.map(|it| (it.path(), to.join(it.file_name())))?;
        if entry.is_dir() {
            copy(&entry, &to)?;
        } else {
            fs::copy(&entry, &to).with_context(|| entry.display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository;

    /// The version of a chart.
    fn version(chart: &str) -> String {
        let text = fs::read_to_string(repository().join(chart).join("Chart.yaml")).unwrap();
        let line = text.lines().find_map(|it| it.strip_prefix("version: "));
        line.unwrap().to_owned()
    }

    /// The release that the changelog tells of last; before the first one what is to be it.
    fn last_release() -> String {
        let text = fs::read_to_string(repository().join("CHANGELOG.md")).unwrap();
        let mut releases = text.lines().filter_map(|it| it.strip_prefix("## "));
        let last = releases.find(|it| it.starts_with(|c: char| c.is_ascii_digit()));
        let named = last.and_then(|it| it.split_whitespace().next()).map(str::to_owned);
        named.unwrap_or_else(|| version(CHART))
    }

    #[test]
    fn the_chart_that_is_upgraded_in_e2e_is_that_of_the_last_release() {
        let last = last_release();
        assert_eq!(
            version(RELEASED),
            last,
            "{RELEASED} is not the chart of {last}: run `cargo xtask release-crds` in the tree of \
             that release, and commit what it writes"
        );
    }

    #[test]
    fn a_copy_has_all_files() {
        let folder = std::env::temp_dir().join(format!("chart-{}", std::process::id()));
        copy(&repository().join(CHART), &folder).unwrap();
        let of = |it: &str| fs::read(folder.join(it)).unwrap();
        let there = |it: &str| fs::read(repository().join(CHART).join(it)).unwrap();
        for file in ["Chart.yaml", "templates/crds/streamjobs.yaml"] {
            assert_eq!(of(file), there(file));
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
