//! The sink of files in a bucket: each object is an upload in parts, completed when the snapshot
//! that names it is published.
//!
//! [`ObjectWriter`] encodes; [`uploads`] sends parts, on the runtime of
//! [`bucket`](super::super::bucket); [`ObjectCommitter`] completes uploads and gives up what lower
//! runs left. [`key`] spells every key. Invariant: an object can be seen when a published snapshot
//! names it, and not before.

mod commit;
mod key;
mod uploads;
mod write;

pub(super) use commit::{ObjectCommitter, complete_all};
pub(super) use key::Keys;
pub(super) use write::ObjectWriter;
