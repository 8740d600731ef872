//! [`Holds`]: which files are too far ahead of others to be read now.
//!
//! Written by [`super::reader`], looked at by [`super::thread`] before each block. What was read of
//! one by then still comes.

use std::sync::{Mutex, PoisonError};

/// Which files are not to be read now, by their places; those behind its end are.
#[derive(Default)]
pub(super) struct Holds(Mutex<Vec<bool>>);

impl Holds {
    /// From here on these are not.
    pub(super) fn say(&self, held: Vec<bool>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// The place of the first of these files that may be read.
    pub(super) fn first(&self, mut files: impl Iterator<Item = usize>) -> Option<usize> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.position(|file| held.get(file) != Some(&true))
    }
}
