//! [`LogChunk`]: captured records of a [`super::buffer`] on their way to the encoder.
//!
//! A record is written as its key, its time and itself; a settlement as the key and time alone.

use crate::data::{Data, Key};
use crate::error::Result;
use crate::state::{Buckets, Chunk};
use crate::time::Timestamp;

/// Captured records and settlements.
pub(super) struct LogChunk<K, T> {
    pub(super) keys: Vec<K>,
    pub(super) times: Vec<Timestamp>,
    pub(super) records: Vec<T>,
    pub(super) settled: Vec<K>,
    pub(super) settled_times: Vec<Timestamp>,
}

impl<K, T> Default for LogChunk<K, T> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            times: Vec::new(),
            records: Vec::new(),
            settled: Vec::new(),
            settled_times: Vec::new(),
        }
    }
}

impl<K: Key, T: Data> Chunk for LogChunk<K, T> {
    fn encode(self: Box<Self>, into: &mut Buckets) -> Result<()> {
        for ((key, time), record) in self.keys.iter().zip(&self.times).zip(&self.records) {
            into.put(key, &(key, time, Some(record)))?;
        }
        for (key, time) in self.settled.iter().zip(&self.settled_times) {
            into.put(key, &(key, time, None::<&T>))?;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.records.len() + self.settled.len()
    }
}
