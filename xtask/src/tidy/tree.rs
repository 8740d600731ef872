//! The repository's files, read once.
//!
//! Receives the root from `main`, hands every rule the same [`File`]s. Invariant: what git ignores
//! is not in it, and paths are relative with forward slashes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result};

use super::source::Source;

/// Folders that a checkout without git (an unpacked archive) may hold beside the sources.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// Written by `cargo xtask generate`, for no reader.
const GENERATED: [&str; 2] =
    ["protocol/src/grpc/millstream.v1.control.rs", "protocol/src/grpc/millstream.v1.data.rs"];

/// The files that belong to the project.
pub struct Tree {
    /// Sorted by path.
    pub files: Vec<File>,
}

/// One file of the tree.
pub struct File {
    /// Relative to the root, with forward slashes.
    pub path: String,
    /// Length in bytes.
    pub bytes: usize,
    /// The content, where it is text.
    pub text: Option<String>,
    /// The content with code, comments and tests told apart, where it is Rust.
    pub rust: Option<Source>,
}

impl File {
    /// A file from its bytes.
    pub fn new(path: &str, bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        let text = String::from_utf8(bytes).ok().filter(|_| !GENERATED.contains(&path));
        let is_rust = has_extension(path, "rs");
        let rust = text.as_deref().filter(|_| is_rust).map(|text| Source::parse(path, text));
        Self { path: path.to_owned(), bytes: len, text, rust }
    }

    /// The extension is `extension`, in lower case.
    pub fn is(&self, extension: &str) -> bool {
        has_extension(&self.path, extension)
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension() == Some(OsStr::new(extension))
}

impl Tree {
    /// Reads every file that git tracks, or would after `git add`. Errors name the file.
    pub fn read(root: &Path) -> Result<Self> {
        let mut paths = match listed_by_git(root) {
            Some(paths) => paths,
            None => walked(root)?,
        };
        paths.sort();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            match fs::read(root.join(&path)) {
                Ok(bytes) => files.push(File::new(&path, bytes)),
                // Deleted, but not yet in git's index; or a link to a folder.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if e.kind() == io::ErrorKind::IsADirectory => {}
                Err(e) => return Err(e).with_context(|| format!("could not read {path}")),
            }
        }
        Ok(Self { files })
    }

    /// Whether a file or a folder of that path is in the tree.
    pub fn holds(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }

    /// The file of that path.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files, each with its source.
    pub fn rust(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    /// A tree for tests.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files =
            files.iter().map(|(path, text)| File::new(path, text.as_bytes().to_vec())).collect();
        Self { files }
    }
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn walked(root: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("could not list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("could not list {}", folder.display()))?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if !SKIPPED.iter().any(|skipped| entry.file_name() == OsStr::new(skipped)) {
                    folders.push(path);
                }
            } else {
                let relative = path.strip_prefix(root).context("a walk left its root")?;
                paths.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_the_files_in_it() {
        let tree = Tree::of(&[("docs/a.md", "")]);
        assert!(tree.holds("docs") && tree.holds("docs/") && tree.holds("docs/a.md"));
        assert!(!tree.holds("doc") && !tree.holds("docs/b.md"));
    }

    #[test]
    fn bytes_that_are_no_text_have_no_text() {
        let file = File::new("a.rs", vec![0xff, 0xfe]);
        assert_eq!((file.bytes, file.text.is_none(), file.rust.is_none()), (2, true, true));
    }
}
