//! [`Grid`]: the arithmetic of aligned windows and their slices. Pure.
//!
//! Windows are `[start, start + size)` with starts at `offset + k * slide`. A slice is the longest
//! stretch that no window's edge cuts, `gcd(size, slide)` long: each window is a run of slices.
//! All in milliseconds; results stop at the ends of `i64`.

use serde::{Deserialize, Serialize};

/// Where aligned windows and their slices lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grid {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    pub(crate) offset: i64,
    pub(crate) slice: i64,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Grid {
    /// Both at least 1, and `slide <= size`.
    pub(crate) fn new(size: i64, slide: i64, offset: i64) -> Self {
        Self { size, slide, offset: offset.rem_euclid(slide), slice: gcd(size, slide) }
    }

    /// The largest `offset + k * step` that is not larger than `time`.
    #[inline]
    fn floor(self, time: i64, step: i64) -> i64 {
        let past = time.wrapping_sub(self.offset).rem_euclid(step);
        if time < i64::MIN.saturating_add(self.offset) {
            i64::MIN
        } else {
            time.saturating_sub(past)
        }
    }

    /// The start of the slice that holds a time.
    #[inline]
    pub(crate) fn slice_of(self, time: i64) -> i64 {
        self.floor(time, self.slice)
    }

    /// Where a slice ends.
    #[inline]
    pub(crate) fn slice_end(self, slice: i64) -> i64 {
        slice.saturating_add(self.slice)
    }

    /// Whether a window is a single slice.
    pub(crate) fn is_tumbling(self) -> bool {
        self.size == self.slice
    }

    /// The first window end after a time; of the time's own slice, the first window that holds it.
    pub(crate) fn next_end(self, time: i64) -> i64 {
        let start = self.floor(time.saturating_sub(self.size), self.slide);
        start.saturating_add(self.slide).saturating_add(self.size)
    }

    /// The end of the last window that holds a slice.
    #[inline]
    pub(crate) fn last_end(self, slice: i64) -> i64 {
        self.floor(slice, self.slide).saturating_add(self.size)
    }

    /// The first slice of the window with this end.
    pub(crate) fn window_start(self, end: i64) -> i64 {
        end.saturating_sub(self.size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slices_and_ends_agree_with_the_windows_themselves(
            size in 1i64..40, slide in 1i64..40, offset in 0i64..40, time in -200i64..200
        ) {
            let grid = Grid::new(size.max(slide), slide.min(size), offset);
            let starts = (-300 / grid.slide..=300 / grid.slide).map(|k| offset + k * grid.slide);
            let ends = starts.map(|start| start + grid.size);
            let ends: Vec<_> = ends.filter(|end| (end - grid.size..*end).contains(&time)).collect();
            let slice = grid.slice_of(time);
            prop_assert!(slice <= time && time < grid.slice_end(slice));
            prop_assert_eq!(grid.next_end(slice), ends[0]);
            prop_assert_eq!(grid.last_end(slice), *ends.last().unwrap());
            prop_assert!(grid.next_end(time) > time);
            prop_assert!(grid.next_end(time) - grid.slide <= time);
        }
    }

    #[test]
    fn nothing_overflows_at_the_ends_of_time() {
        for grid in [Grid::new(10, 10, 3), Grid::new(60, 7, 6), Grid::new(i64::MAX, 1, 0)] {
            for time in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
                let slice = grid.slice_of(time);
                assert!(slice <= time);
                assert!(grid.last_end(slice) >= slice);
                grid.next_end(time);
            }
        }
    }
}
