//! [`Chunk`]: decoded records on their way from the thread to the engine, by runs of one partition.
//!
//! Filled by [`super::thread`], emptied by [`super::reader`]. Invariant: a run accounts for every
//! offset between the one it begins behind and `next`: emitted, malformed, or none of a record's.

/// Bytes of keys and values in a chunk, besides its last record: this and the bound on chunks under
/// way bound what a task holds outside of librdkafka.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Decoded records, in the order they were read.
pub(super) struct Chunk<T> {
    pub(super) records: Vec<T>,
    /// Of each record.
    pub(super) offsets: Vec<i64>,
    pub(super) runs: Vec<Run>,
    /// Bytes that the records had in Kafka.
    pub(super) bytes: usize,
}

/// Records of one partition that follow each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The partition, by its place among the task's.
    pub(super) split: usize,
    /// How many records are its.
    pub(super) records: usize,
    /// The offset behind it.
    pub(super) next: i64,
    /// The leader's epoch of its last record; -1 where none is known.
    pub(super) leader_epoch: i32,
    pub(super) malformed: Vec<Undecoded>,
    /// What comes behind it.
    pub(super) then: Then,
}

/// What comes behind a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// More, perhaps at once.
    More,
    /// Nothing up to now: the broker said so.
    Empty,
    /// The broker does not say.
    Unknown,
    /// Nothing ever: the source ends here.
    End,
}

/// A record that does not decode.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecoded {
    /// Records of its run that stand before it.
    pub(super) before: usize,
    pub(super) offset: i64,
    pub(super) bytes: Vec<u8>,
    pub(super) error: String,
}

impl<T> Chunk<T> {
    pub(super) fn with_capacity(records: usize) -> Self {
        let (records, offsets) = (Vec::with_capacity(records), Vec::with_capacity(records));
        Self { records, offsets, runs: Vec::new(), bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    /// Each run by itself, with its share of the bytes.
    pub(super) fn apart(self) -> impl Iterator<Item = Self> {
        let all = self.records.len().max(1);
        let (mut records, mut offsets) = (self.records.into_iter(), self.offsets.into_iter());
        let bytes = self.bytes;
        self.runs.into_iter().map(move |run| {
            let count = run.records;
            Self {
                records: records.by_ref().take(count).collect(),
                offsets: offsets.by_ref().take(count).collect(),
                runs: vec![run],
                bytes: bytes / all * count + bytes % all * count / all,
            }
        })
    }

    /// The run of a partition: the last one, if it is its and goes on.
    #[inline]
    fn run(&mut self, split: usize) -> &mut Run {
        let goes_on = |run: &Run| run.split == split && run.then == Then::More;
        if !self.runs.last().is_some_and(goes_on) {
            let (malformed, then) = (Vec::new(), Then::More);
            let new = Run { split, records: 0, next: 0, leader_epoch: -1, malformed, then };
            self.runs.push(new);
        }
        self.runs.last_mut().expect("one was pushed if there was none")
    }

    #[inline]
    pub(super) fn record(&mut self, split: usize, offset: i64, leader_epoch: i32, record: T) {
        self.records.push(record);
        self.offsets.push(offset);
        let run = self.run(split);
        run.records += 1;
        (run.next, run.leader_epoch) = (offset + 1, leader_epoch);
    }

    #[cold]
    pub(super) fn malformed(&mut self, split: usize, offset: i64, bytes: &[u8], error: String) {
        let run = self.run(split);
        let (before, bytes) = (run.records, bytes.to_vec());
        run.malformed.push(Undecoded { before, offset, bytes, error });
        run.next = offset + 1;
    }

    /// What comes behind the partition's records so far, which are read up to here.
    pub(super) fn then(&mut self, split: usize, next: i64, then: Then) {
        let run = self.run(split);
        (run.next, run.then) = (next, then);
    }
}
