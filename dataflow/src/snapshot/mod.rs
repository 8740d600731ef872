//! A snapshot, from the barrier to the bytes and back: align, capture, encode; restore.
//!
//! Receives barriers and captured state from [`crate::task`], hands shares to whoever runs the
//! engine, and restored state back. Knows no operator.

mod align;
mod capture;
mod encoder;
mod fit;
mod restore;
pub mod share;
mod store;

pub(crate) use align::{Align, Combined};
pub(crate) use capture::{Captures, Cut};
pub(crate) use encoder::encoder;
pub use encoder::{Durable, Encoder, Late, Share, ShareFacts};
pub use restore::{Restore, RestoredList, RestoredPart};
pub(crate) use share::{Packed, Packer};
pub use store::{Put, Store};

/// The checksum that manifests and shares carry: CRC32C.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
