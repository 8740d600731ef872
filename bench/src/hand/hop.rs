//! The sum per key over a hopping window, by slices: add the new one, subtract the old one.
//!
//! Every live key has a dense index, so that slices and totals are plain arrays, added and
//! subtracted front to back; an index whose key has left the window is given out again.

use std::collections::VecDeque;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use millstream_bench_stream::Tally;
use millstream_bench_stream::workload::{HOP_SIZE_MS, HOP_SLIDE_MS};

use super::exchange::{self, Hashed, Task, hash_of};

/// Slices in a window.
const SLICES: usize = (HOP_SIZE_MS / HOP_SLIDE_MS) as usize;

/// Runs it, and counts the window results.
pub fn run(records: u64, keys: u64) -> Tally {
    exchange::run(records, keys, Hop::default)
}

/// What a key has in one slice; `records` tells a sum of 0 from nothing.
#[derive(Clone, Copy, Default)]
struct Cell {
    sum: i64,
    records: u32,
}

/// What a key has in the window, and how many records in this and in open slices hold its index.
#[derive(Clone, Copy, Default)]
struct Total {
    key: u64,
    sum: i64,
    records: u32,
}

/// The state of one thread.
#[derive(Default)]
pub struct Hop {
    /// Key to index.
    index: HashTable<(u64, u32)>,
    totals: Vec<Total>,
    free: Vec<u32>,
    /// The number of the first slice in `slices`.
    first: i64,
    /// The slices of the window (`added` of them), then the open ones.
    slices: VecDeque<Vec<Cell>>,
    added: usize,
    spare: Vec<Vec<Cell>>,
    tally: Tally,
}

impl Hop {
    /// The open slice of this number.
    fn slice(&mut self, number: i64) -> &mut Vec<Cell> {
        if self.slices.is_empty() {
            self.first = number;
        }
        while number < self.first {
            self.slices.push_front(self.spare.pop().unwrap_or_default());
            self.first -= 1;
        }
        let index = (number - self.first) as usize;
        while self.slices.len() <= index {
            self.slices.push_back(self.spare.pop().unwrap_or_default());
        }
        &mut self.slices[index]
    }

    /// Closes the next slice and puts out the window that ends with it.
    fn slide(&mut self) {
        if self.slices.len() == self.added {
            self.slices.push_back(self.spare.pop().unwrap_or_default());
        }
        for (total, cell) in self.totals.iter_mut().zip(&self.slices[self.added]) {
            total.sum += cell.sum;
            total.records += cell.records;
        }
        self.added += 1;
        let end = (self.first + self.added as i64) * HOP_SLIDE_MS;
        if self.added > SLICES {
            self.subtract_oldest();
        }
        for total in &self.totals {
            self.tally.add_if(total.records > 0, total.key, end - HOP_SIZE_MS, total.sum);
        }
        if self.index.is_empty() {
            self.spare.extend(self.slices.drain(..));
            self.added = 0;
        }
    }

    fn subtract_oldest(&mut self) {
        let mut oldest = self.slices.pop_front().expect("a full window has slices");
        self.first += 1;
        self.added -= 1;
        for (at, cell) in oldest.iter_mut().enumerate() {
            let cell = std::mem::take(cell);
            let total = &mut self.totals[at];
            total.sum -= cell.sum;
            total.records -= cell.records;
            if total.records == 0 && cell.records > 0 {
                let open = self.slices.range(self.added..);
                if open.into_iter().all(|s| s.get(at).is_none_or(|c| c.records == 0)) {
                    let key = total.key;
                    if let Ok(entry) = self.index.find_entry(hash_of(key), |i| i.0 == key) {
                        entry.remove();
                        self.free.push(at as u32);
                    }
                }
            }
        }
        self.spare.push(oldest);
    }
}

impl Task for Hop {
    type Item = Hashed;

    #[inline]
    fn batch(&mut self, items: &[Hashed]) {
        // Neighbours share their slice nearly always: it is looked up once per run of them.
        for run in items.chunk_by(|a, b| a.record.at / HOP_SLIDE_MS == b.record.at / HOP_SLIDE_MS) {
            let number = run[0].record.at / HOP_SLIDE_MS;
            let mut cells = std::mem::take(self.slice(number));
            cells.resize(self.totals.len(), Cell::default());
            for Hashed { hash, record } in run {
                let key = record.key;
                let at = match self.index.entry(*hash, |i| i.0 == key, |i| hash_of(i.0)) {
                    Entry::Occupied(entry) => entry.get().1 as usize,
                    Entry::Vacant(entry) => {
                        let at = self.free.pop().unwrap_or_else(|| {
                            self.totals.push(Total::default());
                            cells.push(Cell::default());
                            self.totals.len() as u32 - 1
                        });
                        self.totals[at as usize].key = key;
                        entry.insert((key, at));
                        at as usize
                    }
                };
                let cell = &mut cells[at];
                cell.sum += record.value;
                cell.records += 1;
            }
            *self.slice(number) = cells;
        }
    }

    fn watermark(&mut self, at: i64) {
        while !self.slices.is_empty() && (self.first + self.added as i64 + 1) * HOP_SLIDE_MS <= at {
            self.slide();
        }
    }

    fn end(mut self) -> Tally {
        self.watermark(i64::MAX);
        self.tally
    }
}
