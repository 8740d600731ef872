//! [`SourceTask`]: a task that polls a reader. Puts event times and watermarks to what it emits.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use millstream_protocol::id::Epoch;

use super::hold::{Held, Hold};
use super::positions::{LIST, list, own};
use super::split::Split;
use super::{BoxNode, Control, Doorbell, Seat, Step, Task, TaskEvent, TaskInfo, Turn, count};
use crate::batch::{BATCH_RECORDS, Batch};
use crate::error::{Error, Result};
use crate::snapshot::{Captures, Cut, Restore, ShareFacts};
use crate::source::{Emit, Malformed, OnMalformed, Poll, Quiet, Reader, Source, SourceContext};
use crate::state::StateTypes;
use crate::time::{EventTime, Timestamp, Watermarks, millis};

/// Polls per step: each emits up to a batch.
const STEP_POLLS: usize = 4;

/// What a source task is made of.
pub(crate) struct SourceParts<S: Source> {
    pub(crate) info: TaskInfo,
    pub(crate) source: S,
    pub(crate) event_time: Option<(Box<dyn EventTime<S::Item>>, Watermarks)>,
    pub(crate) next: BoxNode<S::Item>,
    pub(crate) malformed: MalformedParts,
    pub(crate) doorbell: Doorbell,
    /// Its place among the sources that are held together; none where it is not.
    pub(crate) seat: Option<Seat>,
}

/// What becomes of malformed records.
pub(crate) struct MalformedParts {
    pub(crate) side: BoxNode<Malformed>,
    pub(crate) on_malformed: OnMalformed,
    /// They go to the side output.
    pub(crate) aside: bool,
}

/// A task that polls a reader.
pub(crate) struct SourceTask<S: Source> {
    parts: SourceParts<S>,
    reader: Option<S::Reader>,
    emit: Emit<S::Item>,
    splits: Vec<Split>,
    hold: Option<Hold>,
    restored: HashMap<String, Timestamp>,
    captures: Captures,
    watermark: Timestamp,
    idle: bool,
    finished: bool,
    ended: bool,
    /// The last barrier was a stopping one: emit nothing behind it.
    stopped: bool,
    flushed: bool,
    poll_at: Timestamp,
}

impl<S: Source> SourceTask<S> {
    pub(crate) fn new(mut parts: SourceParts<S>) -> Self {
        let hold = parts.seat.take().map(Hold::new);
        let captures = Captures::new(parts.info.clone(), None, Vec::new());
        let mut emit = Emit::new();
        emit.on_malformed = parts.malformed.on_malformed;
        emit.aside = parts.malformed.aside;
        emit.wants_places = parts.event_time.is_some();
        parts.info.counters.timed.store(emit.wants_places, Ordering::Relaxed);
        Self {
            parts,
            reader: None,
            emit,
            splits: Vec::new(),
            hold,
            restored: HashMap::new(),
            captures,
            watermark: Timestamp::MIN,
            idle: false,
            finished: false,
            ended: false,
            stopped: false,
            flushed: true,
            poll_at: Timestamp::MIN,
        }
    }

    /// Polls the reader once and sends what it emitted. Whether it may have more.
    fn poll_reader(&mut self, step: &mut Step) -> Result<bool> {
        self.emit.now = step.now;
        let reader = self.reader.as_mut().ok_or_else(|| Error::bug("polled before restore"))?;
        step.operator = Some(self.parts.info.operator.clone());
        let poll = reader.poll(&mut self.emit);
        let poll = poll.map_err(|error| error.in_operator(&self.parts.info.operator))?;
        step.operator = None;
        let emitted = !self.emit.records.is_empty() || !self.emit.malformed.is_empty();
        self.name_splits();
        let quiet = self.emit.take_quiet();
        self.send(step)?;
        self.send_malformed(step)?;
        self.note(quiet, step.now);
        match poll {
            Poll::Ready | Poll::Pending => self.poll_at = Timestamp::MIN,
            Poll::Until(time) => self.poll_at = time,
            Poll::Finished => {
                self.finished = true;
                return Ok(false);
            }
        }
        Ok(emitted || poll == Poll::Ready)
    }

    /// Gives each newly named split its clock.
    fn name_splits(&mut self) {
        let known = self.splits.len();
        for (id, backlog) in self.emit.splits.iter().zip(&self.emit.backlogs).skip(known) {
            let restored = self.restored.get(&**id).copied().unwrap_or(Timestamp::MIN);
            let told = self.parts.info.counters.add_split(id, backlog.clone());
            self.splits.push(Split::new(restored, told));
        }
    }

    /// Notes which splits have nothing to read. Behind the records that were emitted before that
    /// was said.
    fn note(&mut self, quiet: Vec<Quiet>, now: Timestamp) {
        for Quiet { split, word, .. } in quiet {
            self.splits[split].hear(word, now);
        }
    }

    /// Runs what the source's outputs have in common.
    fn both(
        &mut self,
        step: &mut Step,
        mut call: impl FnMut(&mut dyn Control, &mut Step) -> Result<()>,
    ) -> Result<()> {
        call(&mut *self.parts.next, step)?;
        call(&mut *self.parts.malformed.side, step)
    }

    /// The event times of what was emitted; records that have none are taken out.
    fn read_times(&mut self, step: &mut Step) -> Result<Vec<Timestamp>> {
        let Some((event_time, _)) = &self.parts.event_time else { return Ok(Vec::new()) };
        let mut times = Vec::with_capacity(self.emit.records.len());
        step.operator = Some(self.parts.info.operator.clone());
        let bad = event_time.times(&self.emit.records, &mut times);
        step.operator = None;
        if !bad.is_empty() {
            let taken = self.emit.take_out(bad, &mut times);
            taken.map_err(|error| error.in_operator(&self.parts.info.operator))?;
        }
        self.emit.places.clear();
        Ok(times)
    }

    fn send(&mut self, step: &mut Step) -> Result<()> {
        if self.emit.records.is_empty() {
            self.emit.stretches.clear();
            return Ok(());
        }
        let times = self.read_times(step)?;
        let records = std::mem::take(&mut self.emit.records);
        count(&self.parts.info.counters.records_out, records.len() as u64);
        let mut start = 0;
        for stretch in self.emit.stretches.drain(..) {
            let split = &mut self.splits[stretch.split];
            split.read();
            if !times.is_empty() {
                split.clock.observe(&times[start..start + stretch.records]);
            }
            start += stretch.records;
        }
        if records.is_empty() {
            return Ok(());
        }
        self.parts.next.batch(step, Batch::timed(records, times))
    }

    /// Counts malformed records, and sends them to the side output.
    fn send_malformed(&mut self, step: &mut Step) -> Result<()> {
        if self.emit.failed == 0 {
            return Ok(());
        }
        let failed = std::mem::take(&mut self.emit.failed);
        self.parts.info.counters.failed.fetch_add(failed, Ordering::Relaxed);
        let mut malformed = std::mem::take(&mut self.emit.malformed).into_iter();
        while malformed.len() > 0 {
            let batch = Batch::untimed(malformed.by_ref().take(BATCH_RECORDS).collect());
            self.parts.malformed.side.batch(step, batch)?;
        }
        Ok(())
    }

    /// Sends the watermark if it has risen, and says when all splits are idle.
    fn send_watermark(&mut self, step: &mut Step) -> Result<()> {
        let Some((_, watermarks)) = &self.parts.event_time else { return Ok(()) };
        let idle_ms = millis(watermarks.idle_after);
        for split in &mut self.splits {
            if let Some(due) = split.rest(idle_ms, step.now) {
                step.wake_by(due);
            }
            if !split.is_live() {
                split.tell_quiet();
            }
        }
        let bound_ms = watermarks.bound_ms;
        let live = self.splits.iter().filter(|split| split.is_live());
        let smallest = live.map(|split| split.watermark(bound_ms)).min();
        if let Some(hold) = &mut self.hold {
            let stands = smallest.map_or(Timestamp::MAX, |time| time.max(self.watermark));
            hold.stand(stands, &mut self.splits, bound_ms);
        }
        match smallest {
            Some(time) if time > self.watermark || (self.idle && time >= self.watermark) => {
                self.watermark = time;
                self.set_idle(false);
                self.parts.info.counters.watermark.store(time.0, Ordering::Relaxed);
                self.both(step, |node, step| node.watermark(step, time))
            }
            Some(_) => Ok(()),
            None if self.idle || self.finished => Ok(()),
            None => {
                self.set_idle(true);
                self.both(step, |node, step| node.idle(step))
            }
        }
    }

    fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
        self.parts.info.counters.idle.store(idle, Ordering::Relaxed);
    }

    /// Finds out what is too far ahead to be read. Whether that is everything.
    fn hold(&mut self, now: Timestamp) -> bool {
        let (Some(hold), Some((_, watermarks))) = (&mut self.hold, &self.parts.event_time) else {
            return false;
        };
        let held = hold.judge(&mut self.splits, watermarks.bound_ms, now);
        hold.note_time(held, now, &self.parts.info.counters.ahead_ns);
        self.emit.held.clear();
        if held == Held::Some {
            self.emit.held.extend(self.splits.iter().map(|split| split.held));
        }
        held == Held::All
    }

    /// Emits nothing from here on, or emits again. What was not read meanwhile was not idle.
    fn stop(&mut self, stops: bool, now: Timestamp) {
        if std::mem::replace(&mut self.stopped, stops) && !stops {
            self.splits.iter_mut().for_each(|split| split.wake(now));
        }
    }

    fn end(&mut self, step: &mut Step) -> Result<()> {
        if self.parts.event_time.is_some() {
            self.watermark = Timestamp::MAX;
            self.parts.info.counters.watermark.store(Timestamp::MAX.0, Ordering::Relaxed);
            if let Some(hold) = &mut self.hold {
                hold.stand(Timestamp::MAX, &mut [], 0);
            }
            self.both(step, |node, step| node.watermark(step, Timestamp::MAX))?;
            if step.unfinished {
                return Ok(());
            }
        }
        self.ended = true;
        self.both(step, |node, step| node.end(step))
    }

    fn cut(&mut self, step: &mut Step, epoch: Epoch) -> Result<()> {
        let bound = self.parts.event_time.as_ref().map_or(0, |(_, it)| it.bound_ms);
        let reader = self.reader.as_mut().ok_or_else(|| Error::bug("cut before restore"))?;
        let positions = reader.positions();
        reader.cut(epoch);
        let items = list(positions, |split| {
            let known = self.emit.by_id.get(split).and_then(|place| self.splits.get(*place));
            let watermark = known.map(|split| split.clock.watermark(bound));
            watermark.or(self.restored.get(split).copied())
        })?;
        let cut = Cut {
            epoch,
            watermark: self.watermark,
            floors: Vec::new(),
            lists: vec![(LIST.into(), items)],
            late: Vec::new(),
            durable: None,
            facts: ShareFacts { pending_commit: false, ended: self.ended },
        };
        self.captures.begin(step, Vec::new(), cut);
        Ok(())
    }
}

impl<S: Source> Task for SourceTask<S> {
    fn step(&mut self, step: &mut Step) -> Result<Turn> {
        self.captures.poll(step, Vec::new());
        self.both(step, |node, step| node.poll(step))?;
        let mut moved = false;
        if self.stopped || self.ended {
            return Ok(Turn::of(step, false));
        }
        for _ in 0..STEP_POLLS {
            let may_poll = step.may_go_on() && !self.finished && step.now >= self.poll_at;
            if !may_poll || self.hold(step.now) {
                break;
            }
            step.meter.lap();
            let more = self.poll_reader(step)?;
            moved |= more;
            if step.may_go_on() {
                self.send_watermark(step)?;
            }
            if !more {
                break;
            }
        }
        if step.may_go_on() && !moved {
            self.send_watermark(step)?;
        }
        if self.finished && step.may_go_on() {
            self.end(step)?;
            moved = true;
        }
        if moved {
            self.flushed = false;
        } else if !self.flushed && step.may_go_on() {
            step.flush = true;
            self.both(step, |node, step| node.poll(step))?;
            self.flushed = !step.blocked;
        }
        if self.poll_at > step.now && !self.finished {
            step.wake_by(self.poll_at);
        }
        Ok(Turn::of(step, moved))
    }

    fn on_event(&mut self, step: &mut Step, event: TaskEvent) -> Result<()> {
        match event {
            TaskEvent::Barrier(barrier) => {
                self.stop(barrier.stopping, step.now);
                self.cut(step, barrier.epoch)
                    .map_err(|error| error.in_operator(&self.parts.info.operator))?;
                self.both(step, |node, step| node.barrier(step, barrier))
            }
            TaskEvent::Settled { epoch, published } => {
                if let Some(reader) = self.reader.as_mut().filter(|_| published) {
                    reader.published(epoch);
                }
                self.captures.settled(epoch, published, Vec::new());
                self.parts.next.settled(epoch, published);
                self.parts.malformed.side.settled(epoch, published);
                Ok(())
            }
            TaskEvent::GoOn => {
                self.stop(false, step.now);
                Ok(())
            }
        }
    }

    fn restore(&mut self, restore: &Restore) -> Result<()> {
        let info = &self.parts.info;
        let mut positions = Vec::new();
        let types = StateTypes::from(vec![self.parts.source.schema()]);
        let fit = restore.fit(&info.operator, &types);
        let fit = fit.map_err(|error| error.in_operator(&info.operator))?;
        let lists = restore.lists(&info.operator, None, &fit);
        let owner = |split: &str| self.parts.source.owner(split, info.parallelism);
        let kept = own::<S::Position>(lists, info, owner);
        for kept in kept.map_err(|error| error.in_operator(&info.operator))? {
            self.restored.insert(kept.split.clone(), kept.watermark);
            positions.push((kept.split, kept.position));
        }
        let ctx = SourceContext {
            info: info.clone(),
            restored: positions,
            is_restored: restore.epoch > Epoch(0),
            doorbell: self.parts.doorbell.clone(),
        };
        let reader = self.parts.source.open(ctx);
        let reader = reader.map_err(|error| error.in_operator(&info.operator))?;
        if let Some(hold) = &mut self.hold {
            hold.by_split(reader.holds_splits());
        }
        self.reader = Some(reader);
        // Restored splits hold the watermark back from the first record on, whether read yet or
        // not.
        for split in self.restored.keys() {
            self.emit.split(split);
        }
        self.name_splits();
        self.parts.next.restore(restore)?;
        self.parts.malformed.side.restore(restore)
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}
