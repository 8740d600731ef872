//! [`Spill`]: a local file for what finds no room in memory.
//!
//! Written to at its end by one thread, read by any. Without a name, so that it goes with its last
//! handle and with the process, however that ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that nobody else sees.
#[derive(Debug)]
pub(crate) struct Spill {
    file: Arc<File>,
    /// Where it was made, for messages.
    path: PathBuf,
    end: AtomicU64,
}

impl Spill {
    /// Makes one in a directory; `what` is a part of the name that it has for a moment. An error
    /// comes with the path.
    pub(crate) fn create(directory: &Path, what: &str) -> Result<Self, (PathBuf, io::Error)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("millstream-{what}-{}-{number}", process::id()));
            let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            match opened.and_then(|file| std::fs::remove_file(&path).map(|()| file)) {
                Ok(file) => {
                    return Ok(Self { file: Arc::new(file), path, end: AtomicU64::new(0) });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err((path, error)),
            }
        }
    }

    /// Writes behind what there is; says where that begins.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let start = self.end.load(Ordering::Relaxed);
        self.file.write_all_at(bytes, start)?;
        self.end.store(start + bytes.len() as u64, Ordering::Relaxed);
        Ok(start)
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }
}
