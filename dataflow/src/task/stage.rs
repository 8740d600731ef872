//! [`Stage`]: an operator in its chain. Runs it, and remembers for it what every operator needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_protocol::id::Epoch;
use millstream_protocol::key_group::KeyGroupRange;

use super::info::count;
use super::probe::Work;
use super::{Barrier, BoxNode, Control, Node, Step, TaskInfo};
use crate::batch::Batch;
use crate::error::{Error, Kind, Result};
use crate::operator::{Context, Operator, Output, Progress, TwoInputs};
use crate::snapshot::{Captures, Cut, Restore, ShareFacts};
use crate::state::{Base, State, StateTypes};
use crate::time::Timestamp;

/// An operator, its outputs, and the captures of its state.
pub(crate) struct Stage<P: Operator> {
    operator: P,
    info: TaskInfo,
    out: Output<P::Out>,
    side: Output<P::Side>,
    /// The watermark that the operator is done with.
    watermark: Timestamp,
    /// The one that it works on.
    advancing: Option<Timestamp>,
    /// The watermarks of restored key groups, where one is later than the task's.
    floors: Vec<(KeyGroupRange, Timestamp)>,
    /// None for an operator that leaves nothing in a snapshot.
    captures: Option<Captures>,
    keyed: bool,
    states: StateTypes,
    /// Some of its keyed states are bounded.
    bounded: bool,
    ended: bool,
}

/// What a stage keeps in snapshots.
pub(crate) struct Keeps {
    /// Whether it takes part in snapshots at all.
    pub(crate) any: bool,
    /// Whether its state is partitioned by key group.
    pub(crate) keyed: bool,
    /// Its states.
    pub(crate) states: StateTypes,
}

impl<P: Operator> Stage<P> {
    pub(crate) fn new(
        operator: P,
        info: TaskInfo,
        out: BoxNode<P::Out>,
        side: BoxNode<P::Side>,
        keeps: Keeps,
    ) -> Self {
        let groups = keeps.keyed.then(|| info.groups());
        let keyed = keeps.states.schemas.iter().filter(|_| keeps.keyed);
        let names: Vec<String> = keyed.map(|state| state.name.clone()).collect();
        let captures = keeps.any.then(|| Captures::new(info.clone(), groups, names));
        Self {
            operator,
            info,
            out: Output::new(out),
            side: Output::new(side),
            watermark: Timestamp::MIN,
            advancing: None,
            floors: Vec::new(),
            captures,
            keyed: keeps.keyed,
            states: keeps.states,
            bounded: false,
            ended: false,
        }
    }

    /// Bounds the memory of the keyed states that can be bounded.
    pub(crate) fn bound(&mut self, tiers: &Base) -> Result<()> {
        if !self.keyed {
            return Ok(());
        }
        let schemas = &self.states.schemas;
        for (state, schema) in self.operator.states().into_iter().zip(schemas) {
            state.bound(&mut || {
                self.bounded = true;
                tiers.tier(&self.info, &schema.name)
            })?;
        }
        Ok(())
    }

    /// Runs the operator, with its name on the door should it panic, and sends what it put out.
    fn run<R>(
        &mut self,
        step: &mut Step,
        watermark: Timestamp,
        call: impl FnOnce(&mut P, &mut Context<'_, P::Out, P::Side>) -> Result<R>,
    ) -> Result<R> {
        let before = step.operator.replace(self.info.operator.clone());
        let mut ctx = Context {
            step,
            out: &mut self.out,
            side: &mut self.side,
            info: &self.info,
            watermark,
            floors: &self.floors,
        };
        let result = call(&mut self.operator, &mut ctx);
        let result = result.map_err(|error| error.in_operator(&self.info.operator))?;
        self.out.flush(step)?;
        self.side.flush(step)?;
        count(&self.info.counters.records_out, self.out.take_sent() + self.side.take_sent());
        if self.bounded {
            self.operator.states().into_iter().for_each(State::shrink);
        }
        step.operator = before;
        Ok(result)
    }

    fn both(
        &mut self,
        step: &mut Step,
        mut call: impl FnMut(&mut dyn Control, &mut Step) -> Result<()>,
    ) -> Result<()> {
        call(&mut *self.out.next, step)?;
        call(&mut *self.side.next, step)
    }

    /// Works on the watermark; passes it on when the operator is done with it.
    fn advance(&mut self, step: &mut Step) -> Result<()> {
        let Some(time) = self.advancing else { return Ok(()) };
        let progress = self.run(step, time, |operator, ctx| operator.on_watermark(ctx, time))?;
        if progress == Progress::More {
            step.unfinished = true;
            return Ok(());
        }
        self.advancing = None;
        self.watermark = time;
        if !self.floors.is_empty() {
            self.floors.retain(|(_, floor)| *floor > time);
        }
        self.info.counters.watermark.store(time.0, Ordering::Relaxed);
        self.both(step, |node, step| node.watermark(step, time))
    }

    pub(super) fn right(&mut self, step: &mut Step, batch: Batch<P::Right>) -> Result<()>
    where
        P: TwoInputs,
    {
        self.count_in(batch.len());
        let watermark = self.watermark;
        self.run(step, watermark, |operator, ctx| operator.on_right(ctx, batch))
    }

    fn count_in(&self, records: usize) {
        count(&self.info.counters.records_in, records as u64);
        count(&self.info.counters.batches_in, 1);
    }

    fn restore_here(&mut self, restore: &Restore) -> Result<()> {
        let operator = self.info.operator.clone();
        let own = self.info.groups();
        let fit = restore.fit(&operator, &self.states)?;
        let lists = restore.lists(&operator, self.keyed.then_some(own), &fit);
        self.operator.restore_lists(&self.info, lists)?;
        let keyed = self.keyed && restore.epoch > Epoch(0);
        let Some(captures) = self.captures.as_mut().filter(|_| keyed) else { return Ok(()) };
        let mut states = self.operator.states();
        let (shares, entries) = restore.keyed(&operator, own, &fit, &mut states)?;
        if !restore.foreign && fit.is_whole {
            captures.restored(restore.epoch, shares, entries);
        }
        self.floors = restore.watermarks(&operator, own);
        self.floors.retain(|(_, floor)| *floor > Timestamp::MIN);
        Ok(())
    }
}

impl<P: Operator> Node<P::In> for Stage<P> {
    fn batch(&mut self, step: &mut Step, batch: Batch<P::In>) -> Result<()> {
        self.count_in(batch.len());
        let watermark = self.watermark;
        self.run(step, watermark, |operator, ctx| operator.on_batch(ctx, batch))
    }
}

impl<P: Operator> Control for Stage<P> {
    fn watermark(&mut self, step: &mut Step, time: Timestamp) -> Result<()> {
        if time < self.watermark {
            return Ok(());
        }
        self.advancing = Some(time);
        self.advance(step)
    }

    fn idle(&mut self, step: &mut Step) -> Result<()> {
        self.both(step, |node, step| node.idle(step))
    }

    fn barrier(&mut self, step: &mut Step, barrier: Barrier) -> Result<()> {
        if let Some(captures) = &mut self.captures {
            let saved = self.operator.save(barrier);
            let saved = saved.map_err(|error| error.in_operator(&self.info.operator))?;
            let cut = Cut {
                epoch: barrier.epoch,
                watermark: self.watermark,
                floors: self.floors.clone(),
                lists: saved.lists,
                late: saved.late,
                durable: saved.durable,
                facts: ShareFacts { pending_commit: saved.pending_commit, ended: self.ended },
            };
            captures.begin(step, self.operator.states(), cut);
        }
        self.both(step, |node, step| node.barrier(step, barrier))
    }

    fn end(&mut self, step: &mut Step) -> Result<()> {
        let watermark = self.watermark;
        self.run(step, watermark, P::on_end)?;
        self.ended = true;
        self.both(step, |node, step| node.end(step))
    }

    fn poll(&mut self, step: &mut Step) -> Result<()> {
        let advancing = self.advancing.is_some();
        if advancing {
            // First what stands behind: whoever waits for room must not be given more.
            self.both(step, |node, step| node.poll(step))?;
            if step.blocked {
                step.unfinished = true;
            } else {
                self.advance(step)?;
            }
        } else if !self.ended {
            let watermark = self.watermark;
            let progress = self.run(step, watermark, P::on_tick)?;
            step.unfinished |= progress == Progress::More;
        }
        if let Some(captures) = self.captures.as_mut().filter(|captures| captures.is_under_way()) {
            let since = step.meter.now();
            captures.poll(step, self.operator.states());
            step.meter.spent(Work::Capture, since);
        }
        if advancing { Ok(()) } else { self.both(step, |node, step| node.poll(step)) }
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        if let Some(captures) = &mut self.captures {
            captures.settled(epoch, published, self.operator.states());
        }
        self.operator.settled(epoch, published);
        self.out.next.settled(epoch, published);
        self.side.next.settled(epoch, published);
    }

    fn restore(&mut self, restore: &Restore) -> Result<()> {
        let operator: Arc<str> = self.info.operator.clone();
        let restored = self.restore_here(restore);
        restored.map_err(|error| {
            let kind = if error.kind() == Kind::User { Kind::Corrupt } else { error.kind() };
            Error::with_kind(error, kind).in_operator(&operator)
        })?;
        self.out.next.restore(restore)?;
        self.side.next.restore(restore)
    }
}
