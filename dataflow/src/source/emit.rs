//! [`Emit`]: where a reader puts its records.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use serde::Serialize;

use super::{Backlog, Malformed, OnMalformed, Place};
use crate::batch::batch_records;
use crate::error::{Error, Result};
use crate::time::{BadTime, Timestamp};

/// A split, by its place among those that the reader has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitIndex(pub(crate) usize);

/// A stretch of records of one split.
pub(crate) struct Stretch {
    pub(crate) split: usize,
    pub(crate) records: usize,
}

/// A word about a split that is not a record.
pub(crate) struct Quiet {
    pub(crate) split: usize,
    pub(crate) word: Word,
    /// Records that were emitted before.
    records: usize,
}

/// What is said of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Empty, until a record comes.
    Empty,
    /// Empty up to now.
    WasEmpty,
    /// Nobody knows.
    Unknown,
    Finished,
}

/// Where a reader puts its records, and says of splits what watermarks need to know.
pub struct Emit<T> {
    pub(crate) splits: Vec<Arc<str>>,
    /// Of each split.
    pub(crate) backlogs: Vec<Arc<Backlog>>,
    /// Sources of files have thousands of them.
    pub(crate) by_id: HashMap<Arc<str>, usize>,
    pub(crate) records: Vec<T>,
    pub(crate) stretches: Vec<Stretch>,
    quiet: Vec<Quiet>,
    /// Splits that are not to be read now; those behind its end are.
    pub(crate) held: Vec<bool>,
    pub(crate) now: Timestamp,
    /// Where each record stands; empty unless it is asked for.
    pub(crate) places: Vec<Place>,
    pub(crate) wants_places: bool,
    pub(crate) on_malformed: OnMalformed,
    /// Malformed records go to the side output, whatever `on_malformed` says.
    pub(crate) aside: bool,
    /// For the side output.
    pub(crate) malformed: Vec<Malformed>,
    pub(crate) failed: u64,
    /// Splits of which a malformed record was logged.
    warned: HashSet<usize>,
}

impl<T> Emit<T> {
    pub(crate) fn new() -> Self {
        Self {
            splits: Vec::new(),
            backlogs: Vec::new(),
            by_id: HashMap::new(),
            records: Vec::new(),
            stretches: Vec::new(),
            quiet: Vec::new(),
            held: Vec::new(),
            now: Timestamp::MIN,
            places: Vec::new(),
            wants_places: false,
            on_malformed: OnMalformed::Fail,
            aside: false,
            malformed: Vec::new(),
            failed: 0,
            warned: HashSet::new(),
        }
    }

    /// Names a split. A name that was given before yields the same index.
    pub fn split(&mut self, id: &str) -> SplitIndex {
        if let Some(known) = self.by_id.get(id) {
            return SplitIndex(*known);
        }
        let (id, index): (Arc<str>, _) = (id.into(), self.splits.len());
        self.by_id.insert(id.clone(), index);
        self.splits.push(id);
        self.backlogs.push(Arc::default());
        SplitIndex(index)
    }

    /// Where to tell how many records of a split wait to be read, now and later, from any thread.
    /// A source that knows it should: how far the job is behind is shown from there, and whether it
    /// is caught up.
    pub fn backlog(&self, split: SplitIndex) -> &Arc<Backlog> {
        &self.backlogs[split.0]
    }

    /// How many more records this poll should emit; malformed ones count.
    pub fn room(&self) -> usize {
        batch_records::<T>().saturating_sub(self.records.len() + self.failed as usize)
    }

    /// Whether a split is too far ahead of others to be read now. What was fetched of it already
    /// may be emitted.
    pub fn is_held(&self, split: SplitIndex) -> bool {
        self.held.get(split.0).is_some_and(|held| *held)
    }

    /// Whether any split is.
    pub(crate) fn holds_any(&self) -> bool {
        self.held.contains(&true)
    }

    /// Processing time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Emits a record of a split.
    #[inline]
    pub fn record(&mut self, split: SplitIndex, record: T) {
        if self.records.capacity() == 0 {
            self.records.reserve(batch_records::<T>());
        }
        self.records.push(record);
        match self.stretches.last_mut() {
            Some(last) if last.split == split.0 => last.records += 1,
            _ => self.stretches.push(Stretch { split: split.0, records: 1 }),
        }
    }

    /// Emits records of a split.
    pub fn records(&mut self, split: SplitIndex, records: impl IntoIterator<Item = T>) {
        let before = self.records.len();
        if self.records.capacity() == 0 {
            self.records.reserve(batch_records::<T>());
        }
        self.records.extend(records);
        let records = self.records.len() - before;
        if records > 0 {
            self.stretches.push(Stretch { split: split.0, records });
        }
    }

    /// Emits records of a split by letting `fill` append them.
    pub fn fill(&mut self, split: SplitIndex, fill: impl FnOnce(&mut Vec<T>)) {
        let before = self.records.len();
        fill(&mut self.records);
        let records = self.records.len().saturating_sub(before);
        if records > 0 {
            self.stretches.push(Stretch { split: split.0, records });
        }
    }

    fn say(&mut self, split: SplitIndex, word: Word) {
        self.quiet.push(Quiet { split: split.0, word, records: self.records.len() });
    }

    /// The split has nothing to read, and that stands until it has a record; the outside said so. A
    /// time-out or an error is no such word. Once it has stood for
    /// [`idle_after`](crate::Watermarks::idle_after), the split is idle.
    pub fn is_empty(&mut self, split: SplitIndex) {
        self.say(split, Word::Empty);
    }

    /// The split has had nothing to read since its last record; the outside, which may be out of
    /// reach at any time, said so now. It is idle once two such words are
    /// [`idle_after`](crate::Watermarks::idle_after) apart: ask, and say it, again and again.
    pub fn was_empty(&mut self, split: SplitIndex) {
        self.say(split, Word::WasEmpty);
    }

    /// The outside does not say whether the split has something to read: it is not idle until
    /// [`Self::was_empty`] is said once more.
    pub fn is_unknown(&mut self, split: SplitIndex) {
        self.say(split, Word::Unknown);
    }

    /// The split will never have more: it no longer holds the watermark back.
    pub fn is_finished(&mut self, split: SplitIndex) {
        self.say(split, Word::Finished);
    }

    /// Takes what was said of splits; that one is empty counts no more once it has a record behind.
    pub(crate) fn take_quiet(&mut self) -> Vec<Quiet> {
        let mut quiet = std::mem::take(&mut self.quiet);
        let mut end = 0;
        for stretch in &self.stretches {
            if quiet.is_empty() {
                break;
            }
            end += stretch.records;
            quiet.retain(|said| {
                said.word == Word::Finished || said.split != stretch.split || said.records >= end
            });
        }
        quiet
    }

    /// Whether anybody wants to know where records stand: event times are read, and may be bad.
    pub fn wants_places(&self) -> bool {
        self.wants_places
    }

    /// Says where the records stand that are emitted next, one place for each. Not needed unless
    /// [`Self::wants_places`]; without it, of a bad event time only the split is told.
    pub fn places(&mut self, places: impl IntoIterator<Item = Place>) {
        self.places.extend(places);
    }

    /// A record of a split is malformed. It must be told of when the position of the split passes
    /// it, in the poll that emits the records around it.
    ///
    /// `shown` is how messages call the split: with the path of a directory, the name of a topic.
    ///
    /// # Errors
    /// What the reader then returns, where the job is to fail.
    #[cold]
    pub fn malformed(
        &mut self,
        split: SplitIndex,
        shown: &dyn Display,
        mut malformed: Malformed,
    ) -> Result<()> {
        if self.aside {
            self.splits[split.0].as_ref().clone_into(&mut malformed.split);
            self.malformed.push(malformed);
        } else if self.on_malformed == OnMalformed::Fail {
            let message = malformed.message(shown);
            return Err(Error::invalid(format!(
                "{message} (to leave such records out: on_malformed)"
            )));
        } else if self.warned.insert(split.0) {
            let message = malformed.message(shown);
            tracing::warn!("left out a malformed record, the first here: {message}");
        }
        self.failed += 1;
        Ok(())
    }
}

impl<T: Serialize> Emit<T> {
    /// Takes out the records whose event times cannot be read: they are malformed too.
    #[cold]
    pub(crate) fn take_out(&mut self, bad: Vec<BadTime>, times: &mut Vec<Timestamp>) -> Result<()> {
        let has_places = self.places.len() == self.records.len();
        let (mut stretch, mut end) = (0, self.stretches.first().map_or(0, |first| first.records));
        let mut keep = vec![true; self.records.len()];
        for BadTime { index, error } in bad {
            while index >= end {
                stretch += 1;
                end += self.stretches[stretch].records;
            }
            keep[index] = false;
            let split = self.stretches[stretch].split;
            let malformed = Malformed {
                split: String::new(),
                place: has_places.then(|| self.places[index]),
                bytes: serde_json::to_vec(&self.records[index]).unwrap_or_default(),
                error: format!("event time: {error}"),
            };
            let shown = self.splits[split].clone();
            self.malformed(SplitIndex(split), &shown, malformed)?;
        }
        let mut kept = keep.iter();
        for stretch in &mut self.stretches {
            let records = kept.by_ref().take(stretch.records);
            stretch.records = records.filter(|kept| **kept).count();
        }
        let mut kept = keep.iter();
        self.records.retain(|_| kept.next().is_some_and(|kept| *kept));
        let mut kept = keep.iter();
        times.retain(|_| kept.next().is_some_and(|kept| *kept));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn emitted() -> (Emit<u32>, Vec<Timestamp>) {
        let mut emit = Emit::new();
        let (a, b) = (emit.split("a"), emit.split("b"));
        emit.records(a, [1, 2]);
        emit.records(b, [3, 4]);
        emit.record(a, 5);
        (emit, (1..=5).map(Timestamp).collect())
    }

    #[test]
    fn a_split_is_empty_behind_its_records_and_not_before_them() {
        let (mut emit, _) = emitted();
        let (a, b, c) = (emit.split("a"), emit.split("b"), emit.split("c"));
        emit.is_empty(a);
        emit.is_empty(c);
        emit.is_finished(b);
        emit.records(c, [6]);
        let quiet = emit.take_quiet();
        let quiet: Vec<_> = quiet.iter().map(|said| (said.split, said.word)).collect();
        assert_eq!(quiet, [(0, Word::Empty), (1, Word::Finished)]);
        assert!(emit.take_quiet().is_empty());
    }

    fn bad(indices: [usize; 2]) -> Vec<BadTime> {
        indices.map(|index| BadTime { index, error: "no".to_owned() }).into()
    }

    #[test]
    fn records_without_a_time_are_taken_out_of_their_stretches() {
        let (mut emit, mut times) = emitted();
        emit.aside = true;
        emit.places((1..=5).map(Place::Line));
        emit.take_out(bad([0, 3]), &mut times).unwrap();
        assert_eq!(emit.records, [2, 3, 5]);
        assert_eq!(times, [2, 3, 5].map(Timestamp));
        let stretches = emit.stretches.iter().map(|stretch| (stretch.split, stretch.records));
        assert_eq!(stretches.collect::<Vec<_>>(), [(0, 1), (1, 1), (0, 1)]);
        let lines: Vec<_> = emit.malformed.iter().map(Malformed::to_string).collect();
        assert_eq!(lines, ["a, line 1: event time: no: 1", "b, line 4: event time: no: 4"]);
        assert_eq!(emit.failed, 2);
    }

    #[test]
    fn without_places_the_split_is_told_and_by_default_the_job_fails() {
        let (mut emit, mut times) = emitted();
        let error = emit.take_out(bad([4, 4]), &mut times).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let expected = "a: event time: no: 5 (to leave such records out: on_malformed)";
        assert_eq!(error.to_string(), expected);
        emit.on_malformed = OnMalformed::Skip;
        emit.take_out(bad([1, 4]), &mut times).unwrap();
        assert_eq!((&*emit.records, emit.failed), (&[1, 3, 4][..], 2));
        assert_eq!(emit.malformed, []);
    }
}
