//! What the compiler says of a window on a stream without a key.
//!
//! Receives a program that does not compile. Invariant: no [`Stream`] is [`Keyed`], so nothing here
//! is ever called.

use super::{WindowKind, WindowedStream};
use crate::data::Data;
use crate::stream::Stream;

/// Is there for its message alone.
///
/// ```compile_fail,E0277
/// # use millstream_dataflow::{connector::collection::Collection, window::CountWindow, Job};
/// # let job = Job::new(Default::default());
/// let windows = job.source("numbers", Collection::of(vec![1u64])).window(CountWindow::of(2));
/// ```
#[diagnostic::on_unimplemented(
    message = "windows are per key, and this stream has no key",
    label = "put `.key_by(..)` before this",
    note = "for windows over all records give them one key: `.key_by(|_| ())`"
)]
pub trait Keyed {}

impl<T: Data> Stream<T> {
    /// Windows are per key: put `.key_by(..)` before them.
    #[doc(hidden)]
    pub fn window<W: WindowKind>(&self, kind: W) -> WindowedStream<(), T, W>
    where
        Self: Keyed,
    {
        self.key_by(|_| ()).window(kind)
    }
}
