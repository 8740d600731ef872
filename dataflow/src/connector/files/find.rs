//! [`Pattern`]: which files a source reads. Turns a path, a directory or a glob into a list of
//! files.
//!
//! Used by the source when it opens and, where it follows, by its thread. Invariant: a file's id is
//! its path below the pattern's root, so it stays the same wherever and whenever it is found.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::fail;
use crate::error::{Context, Error, Kind, Result};

/// Which files to read.
#[derive(Clone, Debug)]
pub(super) struct Pattern(String);

/// The files that were found, by id: in order of name.
pub(super) type Found = BTreeMap<String, PathBuf>;

/// Hidden files are none of ours: pending output of a sink, temporary files of a copy.
const GLOB: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

impl Pattern {
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// The files that are there now. None at all is fine; a path that does not exist is not.
    pub(super) fn find(&self) -> Result<Found> {
        let path = Path::new(&self.0);
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                let mut found = Found::new();
                walk(path, path, &mut found)?;
                Ok(found)
            }
            Ok(meta) if meta.is_file() => {
                let root = path.parent().unwrap_or(Path::new(""));
                Ok([(id(root, path)?, path.to_owned())].into())
            }
            Ok(_) => Err(Error::invalid(format!(
                "{} is neither a file nor a directory: the files source reads nothing else",
                self.0
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_glob() => self.glob(),
            Err(error) => Err(fail("cannot look at", path, error)),
        }
    }

    fn is_glob(&self) -> bool {
        self.0.contains(['*', '?', '['])
    }

    fn glob(&self) -> Result<Found> {
        let paths = glob::glob_with(&self.0, GLOB)
            .or_kind(Kind::Invalid, || format!("{} is no pattern of file names", self.0))?;
        let root = self.glob_root();
        let mut found = Found::new();
        for path in paths {
            let path = path.map_err(|error| {
                let path = error.path().to_owned();
                fail("cannot list", &path, error.into())
            })?;
            match fs::metadata(&path) {
                Ok(meta) if meta.is_file() => {
                    found.insert(id(&root, &path)?, path);
                }
                // A directory; or gone since it was listed.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(fail("cannot look at", &path, error)),
            }
        }
        Ok(found)
    }

    /// The directories in front of the first that is a pattern.
    fn glob_root(&self) -> PathBuf {
        let parts = Path::new(&self.0).components();
        parts
            .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
            .collect()
    }

    /// The error of a bounded source that finds nothing.
    pub(super) fn nothing(&self) -> Error {
        let what = if self.is_glob() { "no file matches" } else { "there is no file in" };
        Error::invalid(format!(
            "{what} {}: correct the path, put the files there, or follow it to wait for them",
            self.0
        ))
    }
}

/// All regular files below a directory, but for those whose name begins with a dot.
fn walk(root: &Path, directory: &Path, found: &mut Found) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(|error| fail("cannot list", directory, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| fail("cannot list", directory, error))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => walk(root, &path, found)?,
            Ok(meta) if meta.is_file() => {
                found.insert(id(root, &path)?, path);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail("cannot look at", &path, error)),
        }
    }
    Ok(())
}

fn id(root: &Path, path: &Path) -> Result<String> {
    let name = path.strip_prefix(root).unwrap_or(path);
    name.to_str().map(str::to_owned).ok_or_else(|| {
        let path = path.display();
        Error::invalid(format!("the name of {path} is not UTF-8: rename the file"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(path: &Path) -> Vec<String> {
        Pattern::new(path.to_str().unwrap()).find().unwrap().into_keys().collect()
    }

    #[test]
    fn a_file_a_directory_and_a_glob_name_the_same_file_alike() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "sub/c.json", ".pending/d.json", "sub/.e.json", "f.csv"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(ids(dir.path()), ["a.json", "b.json", "f.csv", "sub/c.json"]);
        assert_eq!(ids(&dir.path().join("b.json")), ["b.json"]);
        assert_eq!(ids(&dir.path().join("*.json")), ["a.json", "b.json"]);
        assert_eq!(ids(&dir.path().join("**/*.json")), ["a.json", "b.json", "sub/c.json"]);
        assert_eq!(ids(&dir.path().join("*.txt")), [""; 0]);
    }

    #[test]
    fn a_link_that_leads_back_to_itself_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("loop.json");
        std::os::unix::fs::symlink(&link, &link).unwrap();
        for path in [&*link, dir.path(), &dir.path().join("*.json")] {
            let error = Pattern::new(path.to_str().unwrap()).find().unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
            assert!(error.to_string().contains("loop.json: "), "{error}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.json");
        let error = Pattern::new(missing.to_str().unwrap()).find().unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("missing.json"), "{error}");
        let error = Pattern::new("/dev/null").find().unwrap_err();
        assert!(error.to_string().contains("neither"), "{error}");
    }
}
