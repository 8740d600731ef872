//! [`Holds`]: which partitions are not to be fetched now.
//!
//! Written by [`super::reader`], which keeps much of them [`super::aside`], taken by
//! [`super::thread`], which pauses them. What is under way between the two still comes. Invariant:
//! a partition that is paused goes on from where it was read to.

use std::sync::{Mutex, PoisonError};

use super::part::Part;
use super::queue::Queue;
use crate::error::Result;

/// Which partitions are not to be fetched now, by their places.
#[derive(Default)]
pub(super) struct Holds(Mutex<Option<Vec<bool>>>);

impl Holds {
    /// From here on these are not.
    pub(super) fn say(&self, held: Vec<bool>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }

    /// Pauses and resumes what it was said of since.
    pub(super) fn obey(&self, queue: &Queue, parts: &mut [Part]) -> Result<()> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut held) = said else { return Ok(()) };
        held.resize(parts.len(), false);
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (part, held) in parts.iter_mut().zip(held) {
            // One that is read to its end is assigned no more.
            if part.ended || part.held == held {
                continue;
            }
            part.held = held;
            (if held { &mut pause } else { &mut resume }).push(&part.partition);
        }
        if !pause.is_empty() {
            queue.pause(&pause);
        }
        if resume.is_empty() { Ok(()) } else { queue.resume(&resume) }
    }
}
