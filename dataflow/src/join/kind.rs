//! The windows of a join, as a program describes them.

use std::time::Duration;

use super::grid::Grid;
use crate::time::millis;

/// Windows of one size, one after the other: each record is in exactly one.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling {
    size: Duration,
    offset: Duration,
}

impl Tumbling {
    /// Windows of this size, in whole milliseconds; at least 1 ms.
    pub fn of(size: Duration) -> Self {
        Self { size, offset: Duration::ZERO }
    }

    /// Moves all windows by so much.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }
}

/// Windows of one size that begin at every slide.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    size: Duration,
    slide: Duration,
    offset: Duration,
}

impl Hop {
    /// Windows of `size`, one at every `slide`.
    pub fn of(size: Duration, slide: Duration) -> Self {
        Self { size, slide, offset: Duration::ZERO }
    }

    /// Moves all windows by so much.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }
}

impl From<Tumbling> for super::JoinWindow {
    fn from(kind: Tumbling) -> Self {
        let size = millis(kind.size).max(1);
        Self(Grid::new(size, size, millis(kind.offset)))
    }
}

impl From<Hop> for super::JoinWindow {
    fn from(kind: Hop) -> Self {
        let size = millis(kind.size).max(1);
        let slide = millis(kind.slide).clamp(1, size);
        Self(Grid::new(size, slide, millis(kind.offset)))
    }
}
