//! [`Slices`]: a table per slice of time, as one keyed state.
//!
//! Written by [`super::sliced`], captured like every [`State`]. Entries are (slice start, key,
//! accumulator). Invariant: a slice is closed as a whole and for good, by time alone; so no entry
//! leaves a tombstone, and a restore passes over entries of slices that had been closed.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use millstream_protocol::id::Epoch;
use millstream_protocol::key_hash::key_hash;

use super::grid::Grid;
use super::reached::GivenUp;
use crate::data::{Data, Key};
use crate::error::{Error, Result};
use crate::state::{Buckets, Chunk, Entry, Shape, State, Table, TableChunk};

/// A table per slice. Tables of closed slices are used again: worth 1.65x (measured).
pub(super) struct Slices<K, A> {
    grid: Grid,
    /// Slice start to its place in `tables`.
    open: BTreeMap<i64, usize>,
    tables: Vec<Table<K, A>>,
    /// Empty ones.
    free: Vec<usize>,
    /// Closed ones that a capture still has to take.
    leaving: Vec<(i64, usize)>,
    /// Closed ones, with the next segment to be emptied.
    dirty: Vec<(usize, usize)>,
    capturing: bool,
    /// Captured, and not known to be published yet.
    in_flight: Option<Epoch>,
    /// There is a published capture that another may build upon.
    has_base: bool,
    given_up: GivenUp,
}

impl<K: Key, A: Data> Slices<K, A> {
    pub(super) fn new(grid: Grid) -> Self {
        Self {
            grid,
            open: BTreeMap::new(),
            tables: Vec::new(),
            free: Vec::new(),
            leaving: Vec::new(),
            dirty: Vec::new(),
            capturing: false,
            in_flight: None,
            has_base: false,
            given_up: GivenUp::default(),
        }
    }

    /// Entries of these slices are not to be restored.
    pub(super) fn pass_over(&mut self, given_up: GivenUp) {
        self.given_up = given_up;
    }

    /// The place of the table of a slice, which is opened if it is not.
    pub(super) fn open(&mut self, slice: i64) -> usize {
        if let Some(place) = self.open.get(&slice) {
            return *place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.tables.push(Table::default());
            self.tables.len() - 1
        });
        self.open.insert(slice, place);
        place
    }

    #[inline]
    pub(super) fn table(&self, place: usize) -> &Table<K, A> {
        &self.tables[place]
    }

    #[inline]
    pub(super) fn table_mut(&mut self, place: usize) -> &mut Table<K, A> {
        &mut self.tables[place]
    }

    /// The open slices from `from` up to but without `to`, in order, with their tables.
    pub(super) fn range(
        &self,
        from: i64,
        to: i64,
    ) -> impl DoubleEndedIterator<Item = (i64, &Table<K, A>)> {
        let range = self.open.range(from..to.max(from));
        range.map(|(slice, place)| (*slice, &self.tables[*place]))
    }

    /// The first open slice from a time on.
    pub(super) fn first_from(&self, from: i64) -> Option<i64> {
        self.open.range(from..).next().map(|(slice, _)| *slice)
    }

    /// The place of the table of a slice, if it is open.
    pub(super) fn place_of(&self, slice: i64) -> Option<usize> {
        self.open.get(&slice).copied()
    }

    /// Closes the first slice if `is_over` says so of its start. Whether it did.
    pub(super) fn close_first(&mut self, is_over: impl FnOnce(i64) -> bool) -> bool {
        let Some(first) = self.open.first_entry().filter(|first| is_over(*first.key())) else {
            return false;
        };
        let (slice, place) = first.remove_entry();
        if self.tables[place].is_capturing() {
            self.leaving.push((slice, place));
        } else {
            self.dirty.push((place, 0));
        }
        true
    }

    /// Empties tables of closed slices, about so many entries of them: one of 10 M entries at once
    /// would take 100 ms.
    pub(super) fn sweep(&mut self, mut budget: usize) {
        while let Some((place, segment)) = self.dirty.last_mut().filter(|_| budget > 0) {
            let table = &mut self.tables[*place];
            if *segment < table.segment_count() {
                let emptied = table.clear_segment(*segment);
                budget = budget.saturating_sub(emptied.max(1));
                *segment += 1;
            } else {
                table.clear();
                let place = *place;
                self.dirty.pop();
                self.free.push(place);
            }
        }
    }
}

impl<K: Key, A: Data> State for Slices<K, A> {
    fn can_delta(&self) -> bool {
        self.has_base
    }

    fn len(&self) -> usize {
        self.open.values().map(|place| self.tables[*place].len()).sum()
    }

    fn begin(&mut self, epoch: Epoch, full: bool) {
        self.has_base &= !full;
        self.in_flight = Some(epoch);
        self.capturing = true;
        for place in self.open.values() {
            self.tables[*place].begin_capture(epoch, full);
        }
    }

    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>> {
        while let Some((slice, place)) = self.leaving.last().copied() {
            if let Some(chunk) = self.tables[place].scan(budget) {
                return Some(Box::new(SliceChunk { slice, chunk }));
            }
            self.leaving.pop();
            self.dirty.push((place, 0));
        }
        if !self.capturing {
            return None;
        }
        for (slice, place) in &self.open {
            if let Some(chunk) = self.tables[*place].scan(budget) {
                return Some(Box::new(SliceChunk { slice: *slice, chunk }));
            }
        }
        self.capturing = false;
        None
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        for table in &mut self.tables {
            table.settled(epoch, published);
        }
        if self.in_flight == Some(epoch) {
            self.in_flight = None;
            self.has_base |= published;
            self.capturing = false;
            self.dirty.extend(self.leaving.drain(..).map(|(_, place)| (place, 0)));
        }
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<()> {
        if entry.removed {
            return Err(Error::corrupt("a slice of a window has a removed entry"));
        }
        let (slice, key, acc): (i64, K, A) = postcard::from_bytes(entry.body)?;
        let hash = key_hash(&key)?;
        if !self.given_up.holds(self.grid.last_end(slice), hash) {
            let place = self.open(slice);
            self.tables[place].restore(hash, key, acc);
        }
        Ok(())
    }

    fn restored(&mut self) {
        self.has_base = true;
        self.given_up = GivenUp::default();
        for place in self.open.values() {
            self.tables[*place].restored();
        }
    }
}

/// An accumulator per slice and key, as snapshots keep it.
pub(super) struct PerSlice<K>(PhantomData<K>);

impl<K: Key> Shape for PerSlice<K> {
    type Entry<V: Data> = (i64, K, V);

    fn map<V: Data, W: Data>((slice, key, acc): (i64, K, V), to: impl Fn(V) -> W) -> (i64, K, W) {
        (slice, key, to(acc))
    }
}

/// Captured entries of one slice.
struct SliceChunk<K, A> {
    slice: i64,
    chunk: TableChunk<K, A>,
}

impl<K: Key, A: Data> Chunk for SliceChunk<K, A> {
    fn encode(self: Box<Self>, into: &mut Buckets) -> Result<()> {
        let Self { slice, chunk } = *self;
        chunk.entries.iter().try_for_each(|(key, acc)| into.put(key, &(slice, key, acc)))
    }

    fn len(&self) -> usize {
        self.chunk.entries.len()
    }
}
