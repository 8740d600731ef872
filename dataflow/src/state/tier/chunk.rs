//! [`OutsideChunk`]: what was outside at a cut, read when it is encoded.
//!
//! Made by [`crate::state::table`], encoded by [`mod@crate::snapshot`] off the engine threads,
//! which streams through it: neither holds more than an entry at a time, and nothing is decoded,
//! since a body in a snapshot is the key and the value one behind the other, as they stand here.

use millstream_protocol::id::KeyGroup;

use super::{Frozen, Tier};
use crate::error::{Error, Result};
use crate::state::Buckets;

/// Entries of one table that were outside at the cut.
pub(crate) struct OutsideChunk {
    pub(crate) tier: Tier,
    pub(crate) prefix: Vec<u8>,
    pub(crate) frozen: Box<dyn Frozen>,
    pub(crate) wanted: Wanted,
    /// How many there are.
    pub(crate) entries: usize,
}

/// Which of them a capture wants.
pub(crate) enum Wanted {
    All,
    /// Those last written to in a generation later than the first, and no later than the second.
    Written(u32, u32),
}

/// Bytes of a generation in front of a value.
pub(crate) const STAMP_BYTES: usize = 4;

/// Splits what is stored into the generation of the last write and the value.
pub(crate) fn split_stamp(stored: &[u8]) -> Result<(u32, &[u8])> {
    let parts = stored.split_first_chunk::<STAMP_BYTES>();
    let (stamp, value) = parts.ok_or_else(|| Error::corrupt("a value outside is cut short"))?;
    Ok((u32::from_le_bytes(*stamp), value))
}

impl OutsideChunk {
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Appends each entry to the bucket of its key group; a body begins with `head`.
    pub(crate) fn encode(self, head: &[u8], into: &mut Buckets) -> Result<()> {
        let put = |group_key: &[u8], value: &[u8], into: &mut Buckets| {
            let parts = group_key.split_first_chunk::<2>();
            let (group, key) = parts.ok_or_else(|| Error::corrupt("a key outside is cut short"))?;
            into.put_raw(KeyGroup(u16::from_be_bytes(*group)), &[head, key, value])
        };
        let Self { tier, prefix, frozen, wanted, entries: _ } = self;
        match wanted {
            Wanted::All => {
                let (from, to) = tier.bounds(&prefix);
                frozen.walk(tier.family, &from, &to, &mut |key, stored| {
                    put(&key[prefix.len()..], split_stamp(stored)?.1, into)?;
                    Ok(true)
                })
            }
            Wanted::Written(base, last) => {
                let from = tier.changed_key(&prefix, base + 1, &[]);
                let to = tier.changed_key(&prefix, last + 1, &[]);
                let stamp_at = from.len() - STAMP_BYTES;
                frozen.walk(tier.changed, &from, &to, &mut |place, _| {
                    let (stamp, group_key) = place[stamp_at..].split_at(STAMP_BYTES);
                    let key = [&prefix, group_key].concat();
                    let Some(stored) = frozen.get(tier.family, &key)? else { return Ok(true) };
                    let (written, value) = split_stamp(&stored)?;
                    // The index may name what has come in meanwhile and gone out again.
                    if written.to_be_bytes() == stamp {
                        put(group_key, value, into)?;
                    }
                    Ok(true)
                })
            }
        }
    }
}
