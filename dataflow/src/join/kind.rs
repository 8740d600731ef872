//! [`JoinWindow`]: the windows that a join may have, of the kinds in [`crate::window`].

use crate::window::{Grid, Hop, Tumbling};

/// The windows of a join: a [`Tumbling`] or a [`Hop`].
#[derive(Clone, Copy, Debug)]
pub struct JoinWindow {
    /// In milliseconds, as the program said it.
    pub(super) size: i64,
    pub(super) slide: i64,
    pub(super) offset: i64,
}

impl From<Tumbling> for JoinWindow {
    fn from(kind: Tumbling) -> Self {
        let (size, offset) = kind.shape();
        Self { size, slide: size, offset }
    }
}

impl From<Hop> for JoinWindow {
    fn from(kind: Hop) -> Self {
        let (size, slide, offset) = kind.shape();
        Self { size, slide, offset }
    }
}

impl JoinWindow {
    /// Where the windows lie, with a mistake mended that is reported anyway.
    pub(super) fn grid(self) -> Grid {
        let size = self.size.max(1);
        Grid::new(size, self.slide.clamp(1, size), self.offset)
    }
}
