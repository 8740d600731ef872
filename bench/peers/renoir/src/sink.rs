//! Where output is counted: Renoir clones a closure per replica, so each clone counts for itself
//! and adds up when it is dropped.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use millstream_bench_stream::Tally;

/// A replica's tally.
#[derive(Default)]
pub struct Sink {
    all: Arc<Mutex<Tally>>,
    mine: Cell<Tally>,
}

impl Sink {
    /// Counts one record.
    #[inline]
    pub fn add(&self, key: u64, at: i64, value: i64) {
        let mut mine = self.mine.get();
        mine.add(key, at, value);
        self.mine.set(mine);
    }

    /// What all replicas have counted, once the job has ended.
    pub fn total(&self) -> Tally {
        *self.all.lock().expect("nobody panics while adding up")
    }
}

impl Clone for Sink {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), mine: Cell::default() }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Ok(mut all) = self.all.lock() {
            all.merge(self.mine.get());
        }
    }
}
