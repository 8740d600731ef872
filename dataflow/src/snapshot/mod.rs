//! A snapshot, from the barrier to the bytes and back: align, capture, encode; restore.
//!
//! Receives barriers and captured state from [`crate::task`], hands shares to whoever runs the
//! engine, and restored state back. Knows no operator.

mod align;
mod body;
mod capture;
mod encoder;
mod fit;
mod needs;
mod restore;
pub mod share;
mod spool;
mod store;

pub(crate) use align::{Align, Combined};
pub use body::Body;
pub(crate) use capture::{Captures, Cut};
pub use encoder::{Durable, Encoder, Late, Share, ShareFacts};
pub(crate) use encoder::{EncoderSpec, encoder};
pub(crate) use needs::Need;
pub use needs::Needs;
pub use restore::{Restore, RestoredList, RestoredPart};
pub(crate) use share::{Packed, Packer};
pub(crate) use spool::SpoolBound;
pub use store::{Put, Store};

/// The checksum that manifests and shares carry, CRC32C: of bytes behind others, whose checksum is
/// `before` (0 of none).
pub fn append_checksum(before: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(before, bytes)
}
