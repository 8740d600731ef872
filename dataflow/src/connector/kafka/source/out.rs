//! [`Out`]: chunks on their way into the engine, and the positions of what went out.
//!
//! Given chunks by [`super::reader`], which has it emit them. Invariant: the position of a
//! partition is behind the last of its records that was emitted, malformed ones included, and
//! before the next.

use std::iter::Peekable;
use std::sync::Arc;

use super::aside::Aside;
use super::chunk::{Chunk, Run, Then, Undecoded};
use super::lag::Backlogs;
use super::position::{KafkaPosition, Partition};
use crate::error::Result;
use crate::source::{Emit, Malformed, Place, SplitIndex};

/// A partition as the engine knows it.
struct Split {
    id: Arc<str>,
    /// For messages.
    shown: String,
    position: KafkaPosition,
}

impl Split {
    fn new(partition: &Partition, position: KafkaPosition) -> Self {
        let Partition { topic, number } = partition;
        let shown = format!("topic {topic}, partition {number}");
        Self { id: partition.id(), shown, position }
    }
}

/// A chunk whose records are on their way out.
struct Current<T> {
    records: std::vec::IntoIter<T>,
    offsets: Vec<i64>,
    runs: std::vec::IntoIter<Run>,
    run: Option<Going>,
}

/// A run whose records are on their way out.
struct Going {
    run: Run,
    malformed: Peekable<std::vec::IntoIter<Undecoded>>,
    emitted: usize,
}

impl<T> Current<T> {
    fn new(chunk: Chunk<T>) -> Self {
        let Chunk { records, offsets, runs, .. } = chunk;
        Self { records: records.into_iter(), offsets, runs: runs.into_iter(), run: None }
    }

    fn next_run(&mut self) -> Option<&mut Going> {
        if self.run.is_none() {
            self.run = self.runs.next().map(|mut run| {
                let malformed = std::mem::take(&mut run.malformed).into_iter().peekable();
                Going { run, malformed, emitted: 0 }
            });
        }
        self.run.as_mut()
    }
}

/// The partitions of a task, and the chunk that is on its way out.
pub(super) struct Out<T> {
    splits: Vec<Split>,
    /// Those that were named to the engine.
    named: Vec<SplitIndex>,
    current: Option<Current<T>>,
    aside: Aside<T>,
    backlogs: Arc<Backlogs>,
}

impl<T> Out<T> {
    pub(super) fn new(splits: &[(Partition, KafkaPosition)], backlogs: Arc<Backlogs>) -> Self {
        let splits = splits.iter().map(|(partition, position)| Split::new(partition, *position));
        let (splits, aside) = (splits.collect(), Aside::new());
        Self { splits, named: Vec::new(), current: None, aside, backlogs }
    }

    /// A partition more.
    pub(super) fn add(&mut self, partition: &Partition, position: KafkaPosition) {
        self.splits.push(Split::new(partition, position));
    }

    /// The next chunk. Once nothing is [left](Self::is_empty) of the one before. What is too far
    /// ahead is kept.
    pub(super) fn put(&mut self, chunk: Chunk<T>, emit: &Emit<T>) {
        if emit.holds_any() {
            let named = &self.named;
            self.aside.put(chunk, |split| emit.is_held(named[split]));
        } else {
            self.current = Some(Current::new(chunk));
        }
    }

    /// Whether nothing may go out.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && !self.aside.is_ready()
    }

    /// Whether nothing is kept that is too far ahead.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.aside.is_empty()
    }

    /// Finds out what is too far ahead now. The partitions of which so much is kept that they are
    /// not to be fetched, those of `paused` among them while they are held.
    pub(super) fn sort(&mut self, emit: &Emit<T>, paused: &[bool]) -> Vec<bool> {
        if !emit.holds_any() && self.aside.is_empty() && !paused.contains(&true) {
            return Vec::new();
        }
        let named = &self.named;
        self.aside.sort(|split| named.get(split).is_some_and(|split| emit.is_held(*split)));
        let held = self.named.iter().map(|split| emit.is_held(*split)).enumerate();
        let is_paused = |split| paused.get(split) == Some(&true);
        held.map(|(split, held)| held && (is_paused(split) || self.aside.is_full(split))).collect()
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = (&Arc<str>, KafkaPosition)> {
        self.splits.iter().map(|split| (&split.id, split.position))
    }

    /// Names partitions that the engine does not know yet: from here on they hold the watermark
    /// back.
    pub(super) fn name_splits(&mut self, emit: &mut Emit<T>) {
        for split in &self.splits[self.named.len()..] {
            let index = emit.split(&split.id);
            self.named.push(index);
            emit.backlog(index).emitted_to(split.position.next.unsigned_abs());
            self.backlogs.push(emit.backlog(index).clone());
            if split.position.is_at_end() {
                emit.is_finished(index);
            }
        }
    }

    /// Emits what there is room for.
    pub(super) fn emit(&mut self, emit: &mut Emit<T>) -> Result<()> {
        loop {
            if self.current.is_none() {
                self.current = self.aside.next().map(Current::new);
            }
            if self.current.is_none() || emit.room() == 0 {
                return Ok(());
            }
            self.emit_current(emit)?;
        }
    }

    /// Emits of the current chunk what there is room for.
    fn emit_current(&mut self, emit: &mut Emit<T>) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        while emit.room() > 0 {
            let begun = current.offsets.len() - current.records.len();
            let Some(going) = current.next_run() else {
                self.current = None;
                return Ok(());
            };
            let split = &mut self.splits[going.run.split];
            let index = self.named[going.run.split];
            let count = emit.room().min(going.run.records - going.emitted);
            going.emitted += count;
            let (emitted, is_done) = (going.emitted, going.emitted == going.run.records);
            let passed = |record: &Undecoded| is_done || record.before < emitted;
            while let Some(record) = going.malformed.next_if(passed) {
                let place = Place::Offset(record.offset.unsigned_abs());
                let malformed = Malformed::at(place, record.bytes, record.error);
                emit.malformed(index, &split.shown, malformed)?;
            }
            let Run { next, leader_epoch, then, .. } = going.run;
            let position = &mut split.position;
            if leader_epoch >= 0 {
                position.leader_epoch = leader_epoch;
            }
            if is_done {
                (position.next, current.run) = (next, None);
            } else if let Some(last) = (begun + count).checked_sub(1) {
                position.next = current.offsets[last] + 1;
            }
            emit.backlog(index).emitted_to(position.next.unsigned_abs());
            if emit.wants_places() {
                let offsets = current.offsets[begun..begun + count].iter();
                emit.places(offsets.map(|offset| Place::Offset(offset.unsigned_abs())));
            }
            emit.records(index, current.records.by_ref().take(count));
            match then {
                Then::Empty if is_done => emit.was_empty(index),
                Then::Unknown if is_done => emit.is_unknown(index),
                Then::End if is_done => emit.is_finished(index),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::source::OnMalformed;

    fn out() -> (Out<u32>, Emit<u32>) {
        let position = KafkaPosition { next: 10, end: None, topic_id: 0, leader_epoch: -1 };
        let topic = "t".into();
        let splits = [0, 1].map(|number| (Partition::new(&topic, number), position));
        let mut emit = Emit::new();
        emit.on_malformed = OnMalformed::Skip;
        let mut out = Out::new(&splits, Arc::default());
        out.name_splits(&mut emit);
        (out, emit)
    }

    fn nexts(out: &Out<u32>) -> Vec<i64> {
        out.positions().map(|(_, position)| position.next).collect()
    }

    /// Takes what was emitted, so that there is room again.
    fn taken(emit: &mut Emit<u32>) -> (Vec<u32>, u64) {
        emit.stretches.clear();
        (std::mem::take(&mut emit.records), std::mem::take(&mut emit.failed))
    }

    /// Records 10.. of partition 0, where every odd offset is no record's, then of partition 1.
    fn chunk() -> Chunk<u32> {
        let mut chunk = Chunk::with_capacity(0);
        for record in 0..600 {
            chunk.record(0, 10 + 2 * i64::from(record), 3, record);
        }
        chunk.malformed(0, 1210, b"no", "bad".to_owned());
        chunk.then(0, 1213, Then::Empty);
        for record in 600..1500 {
            chunk.record(1, i64::from(record), 4, record);
            if record % 500 == 0 {
                chunk.malformed(1, i64::from(record) + 1, b"no", "bad".to_owned());
            }
        }
        chunk
    }

    #[test]
    fn positions_follow_what_went_out_record_by_record() {
        let (mut out, mut emit) = out();
        out.put(chunk(), &emit);
        out.emit(&mut emit).unwrap();
        let quiet: Vec<_> = emit.take_quiet().iter().map(|said| said.split).collect();
        assert_eq!(quiet, [0]);
        let (records, failed) = taken(&mut emit);
        // A batch is full of 1024, the malformed ones among them.
        assert_eq!((records.len() as u64 + failed, failed), (1024 + 1, 2));
        assert_eq!(records, (0..records.len() as u32).collect::<Vec<_>>());
        assert_eq!(nexts(&out), [1213, i64::from(records[records.len() - 1]) + 1]);
        out.emit(&mut emit).unwrap();
        let (rest, failed) = taken(&mut emit);
        assert_eq!((rest[0], rest.len() + records.len(), failed), (records.len() as u32, 1500, 0));
        assert_eq!(nexts(&out), [1213, 1500]);
        assert_eq!(out.positions().next().unwrap().1.leader_epoch, 3);
        assert!(out.is_empty());
    }

    #[test]
    fn places_are_those_of_the_records() {
        let (mut out, mut emit) = out();
        emit.wants_places = true;
        out.put(chunk(), &emit);
        while !out.is_empty() {
            out.emit(&mut emit).unwrap();
            let offset = |record: &u32| if *record < 600 { 10 + 2 * record } else { *record };
            let places = emit.records.iter().map(|it| Place::Offset(offset(it).into()));
            assert_eq!(emit.places, places.collect::<Vec<_>>());
            emit.places.clear();
            taken(&mut emit);
        }
    }

    #[test]
    fn a_malformed_record_is_told_by_topic_partition_and_offset() {
        let (mut out, mut emit) = out();
        emit.on_malformed = OnMalformed::Fail;
        let mut chunk = Chunk::with_capacity(0);
        chunk.malformed(1, 10, b"no", "bad".to_owned());
        out.put(chunk, &emit);
        let error = out.emit(&mut emit).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(
            error.to_string().starts_with("topic t, partition 1, offset 10: bad: no"),
            "{error}"
        );
    }
}
