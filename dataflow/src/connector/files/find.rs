//! [`Pattern`]: which files a source reads. Turns a path, a directory or a glob into a list of
//! files.
//!
//! Used by the source when it opens and, where it follows, by its thread. Invariant: a file's id is
//! its path below the pattern's root, so it stays the same wherever and whenever it is found.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use millstream_protocol::access::Access;

use super::address::Address;
use super::fail;
use super::item::{Item, Stop};
use crate::error::{Context, Error, Kind, Result};

/// Which files to read.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    pub(super) access: Access,
}

/// The files that were found, by id: in order of name.
pub(super) type Found = BTreeMap<String, Item>;

/// Hidden files are none of ours: pending output of a sink, temporary files of a copy.
pub(super) const GLOB: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

impl Pattern {
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), access: Access::default() }
    }

    /// The files that are there now. None at all is fine; a path that does not exist is not.
    pub(super) fn find(&self, stop: &Stop) -> Result<Found> {
        let address = Address::parse(&self.text)?;
        address.check(&self.access)?;
        match address {
            Address::Path(path) => find(&path),
            #[cfg(feature = "s3")]
            Address::Bucket { bucket, key } => {
                super::bucket::find((&bucket, &key), &self.access, stop)
            }
            #[cfg(not(feature = "s3"))]
            Address::Bucket { bucket, key } => {
                let _ = stop;
                Err(super::address::not_built(&bucket, &key))
            }
        }
    }

    /// Whether it names objects in a bucket.
    pub(super) fn is_in_bucket(&self) -> bool {
        self.text.starts_with("s3://")
    }

    /// The error of a bounded source that finds nothing.
    pub(super) fn nothing(&self) -> Error {
        let what = if is_glob(&self.text) { "no file matches" } else { "there is no file in" };
        Error::invalid(format!(
            "{what} {}: correct the path, put the files there, or follow it to wait for them",
            self.text
        ))
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The files below a path, or that a glob names.
fn find(path: &Path) -> Result<Found> {
    let text = path
        .to_str()
        .ok_or_else(|| Error::invalid(format!("the path {} is not UTF-8", path.display())))?;
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let mut found = Found::new();
            walk(path, path, &mut found)?;
            Ok(found)
        }
        Ok(meta) if meta.is_file() => {
            let root = path.parent().unwrap_or(Path::new(""));
            Ok([(id(root, path)?, Item::file(path.to_owned()))].into())
        }
        Ok(_) => Err(neither(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_glob(text) => find_glob(text),
        Err(error) => Err(fail("cannot look at", path, error)),
    }
}

/// What a name that was listed stands for; none where it is gone since.
fn look(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() || meta.is_dir() => Ok(Some(meta)),
        Ok(_) => Err(neither(path)),
        // The link is there, what it leads to is not: its records would be missed in silence.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Err(Error::new(
                Kind::Unavailable,
                format!(
                    "{} is a link to what is not there: mend or remove the link",
                    path.display()
                ),
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail("cannot look at", path, error)),
    }
}

fn neither(path: &Path) -> Error {
    Error::invalid(format!(
        "{} is neither a file nor a directory: the files source reads nothing else",
        path.display()
    ))
}

fn find_glob(pattern: &str) -> Result<Found> {
    let paths = glob::glob_with(pattern, GLOB)
        .or_kind(Kind::Invalid, || format!("{pattern} is no pattern of file names"))?;
    let root = glob_root(pattern);
    let mut found = Found::new();
    for path in paths {
        let path = path.map_err(|error| {
            let path = error.path().to_owned();
            fail("cannot list", &path, error.into())
        })?;
        if look(&path)?.is_some_and(|meta| meta.is_file()) {
            found.insert(id(&root, &path)?, Item::file(path));
        }
    }
    Ok(found)
}

/// The directories in front of the first that is a pattern.
fn glob_root(pattern: &str) -> PathBuf {
    let parts = Path::new(pattern).components();
    parts.take_while(|part| !is_glob(&part.as_os_str().to_string_lossy())).collect()
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
        match look(&path)? {
            Some(meta) if meta.is_dir() => walk(root, &path, found)?,
            Some(_) => {
                found.insert(id(root, &path)?, Item::file(path));
            }
            None => {}
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
        Pattern::new(path.to_str().unwrap()).find(&Stop::default()).unwrap().into_keys().collect()
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
    fn what_cannot_be_read_is_not_passed_over_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.json"), "").unwrap();
        let check = |name: &str, kind: Kind| {
            for path in [dir.path(), &dir.path().join("*.json")] {
                let error =
                    Pattern::new(path.to_str().unwrap()).find(&Stop::default()).unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
                assert!(error.to_string().contains(name), "{error}");
            }
            fs::remove_file(dir.path().join(name)).unwrap();
        };
        let socket = dir.path().join("socket.json");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        check("socket.json", Kind::Invalid);
        std::os::unix::fs::symlink("nothing", dir.path().join("link.json")).unwrap();
        check("link.json", Kind::Unavailable);
        assert_eq!(ids(dir.path()), ["a.json"]);
    }

    #[test]
    fn a_link_that_leads_back_to_itself_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("loop.json");
        std::os::unix::fs::symlink(&link, &link).unwrap();
        for path in [&*link, dir.path(), &dir.path().join("*.json")] {
            let error = Pattern::new(path.to_str().unwrap()).find(&Stop::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
            assert!(error.to_string().contains("loop.json: "), "{error}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.json");
        let error = Pattern::new(missing.to_str().unwrap()).find(&Stop::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("missing.json"), "{error}");
        let error = Pattern::new("/dev/null").find(&Stop::default()).unwrap_err();
        assert!(error.to_string().contains("neither"), "{error}");
    }
}
