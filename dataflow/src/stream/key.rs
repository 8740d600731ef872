//! Key functions, applied a batch at a time: a virtual call per batch, none per record.

use millstream_protocol::key_hash::key_hash;

use crate::data::Key;
use crate::error::{Kind, Result};

/// A key function.
pub(crate) trait SelectKeys<K, T>: Send {
    /// Appends the key of each record.
    fn keys(&self, records: &[T], into: &mut Vec<K>);

    /// Appends the hash of the key of each record.
    fn hashes(&self, records: &[T], into: &mut Vec<u64>) -> Result<()>;

    fn clone_box(&self) -> Box<dyn SelectKeys<K, T>>;
}

struct ByFn<F>(F);

impl<K: Key, T, F: Fn(&T) -> K + Clone + Send + 'static> SelectKeys<K, T> for ByFn<F> {
    fn keys(&self, records: &[T], into: &mut Vec<K>) {
        into.extend(records.iter().map(&self.0));
    }

    fn hashes(&self, records: &[T], into: &mut Vec<u64>) -> Result<()> {
        let mut failed = None;
        // A loop that does not stop early: with a length known ahead, it checks no capacity.
        into.extend(records.iter().map(|record| {
            let hash = key_hash(&(self.0)(record));
            hash.unwrap_or_else(|error| {
                failed.get_or_insert(error);
                0
            })
        }));
        let failed = failed.map(|error| crate::Error::new(Kind::Invalid, error.to_string()));
        failed.map_or(Ok(()), Err)
    }

    fn clone_box(&self) -> Box<dyn SelectKeys<K, T>> {
        Box::new(Self(self.0.clone()))
    }
}

pub(crate) fn boxed<K: Key, T>(
    key: impl Fn(&T) -> K + Clone + Send + 'static,
) -> Box<dyn SelectKeys<K, T>> {
    Box::new(ByFn(key))
}
