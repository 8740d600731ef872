//! [`InputTask`]: a task that reads from other tasks. Takes events, aligns their marks, drives its
//! chain.

use super::probe::Work;
use super::{Control, Node, Stage, Step, Task, TaskEvent, Turn};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::exchange::{AnyBatch, Event, Receiver};
use crate::operator::TwoInputs;
use crate::snapshot::{Align, Combined, Restore};

/// Events taken per step before the next task has its turn: some 100 us of work at full batches.
const STEP_EVENTS: usize = 8;

/// The first node of a chain, with one input port or two.
pub(crate) trait Head: Send {
    /// Hands a batch to the node that takes those of this port.
    fn batch(&mut self, step: &mut Step, port: usize, batch: AnyBatch) -> Result<()>;

    /// The node, for everything but batches.
    fn control(&mut self) -> &mut dyn Control;
}

fn open<T: 'static>(batch: AnyBatch) -> Result<Batch<T>> {
    let batch = batch.downcast::<Batch<T>>();
    batch.map(|batch| *batch).map_err(|_| Error::bug("an edge carries records of another type"))
}

/// A chain that takes one type of records.
pub(crate) struct OnePort<T>(pub(crate) Box<dyn Node<T>>);

impl<T: 'static> Head for OnePort<T> {
    fn batch(&mut self, step: &mut Step, _: usize, batch: AnyBatch) -> Result<()> {
        self.0.batch(step, open(batch)?)
    }

    fn control(&mut self) -> &mut dyn Control {
        &mut *self.0
    }
}

/// A chain that begins with an operator of two inputs.
pub(crate) struct TwoPorts<P: TwoInputs>(pub(crate) Stage<P>);

impl<P: TwoInputs> Head for TwoPorts<P> {
    fn batch(&mut self, step: &mut Step, port: usize, batch: AnyBatch) -> Result<()> {
        if port == 0 { self.0.batch(step, open(batch)?) } else { self.0.right(step, open(batch)?) }
    }

    fn control(&mut self) -> &mut dyn Control {
        &mut self.0
    }
}

struct Input {
    receiver: Receiver,
    port: usize,
}

/// A task that reads from other tasks.
pub(crate) struct InputTask {
    inputs: Vec<Input>,
    next_input: usize,
    align: Align,
    head: Box<dyn Head>,
    ended: bool,
    /// Inputs have run dry and everything buffered was sent.
    flushed: bool,
}

impl InputTask {
    pub(crate) fn new(inputs: Vec<(usize, Receiver)>, head: Box<dyn Head>) -> Self {
        let align = Align::new(inputs.len());
        let inputs = inputs.into_iter().map(|(port, receiver)| Input { receiver, port }).collect();
        Self { inputs, next_input: 0, align, head, ended: false, flushed: true }
    }

    /// The next event, from the inputs in turn.
    fn receive(&mut self) -> Result<Option<(usize, Event)>> {
        for _ in 0..self.inputs.len() {
            let index = self.next_input;
            self.next_input = (index + 1) % self.inputs.len();
            if self.align.is_held(index) {
                continue;
            }
            if let Some(event) = self.inputs[index].receiver.receive()? {
                return Ok(Some((index, event)));
            }
        }
        Ok(None)
    }

    fn handle(&mut self, step: &mut Step, input: usize, event: Event) -> Result<()> {
        let combined = match event {
            Event::Batch(batch) => {
                return self.head.batch(step, self.inputs[input].port, batch);
            }
            Event::Watermark(time) => self.align.watermark(input, time),
            Event::Idle => self.align.idle(input),
            Event::End => self.align.end(input),
            Event::Barrier(barrier) => {
                self.align.barrier(input, barrier);
                Combined::Nothing
            }
        };
        match combined {
            Combined::Nothing => Ok(()),
            Combined::Watermark(time) => self.head.control().watermark(step, time),
            Combined::Idle => self.head.control().idle(step),
        }
    }

    /// What follows when marks have come together: the barrier passes, the end passes.
    fn settle_marks(&mut self, step: &mut Step) -> Result<()> {
        if step.unfinished {
            return Ok(());
        }
        // The end goes first: a barrier announced to an ended task cuts its ended state.
        if !self.ended && self.align.has_ended() {
            self.ended = true;
            self.head.control().end(step)?;
        }
        if let Some(barrier) = self.align.aligned() {
            let since = step.meter.now();
            self.head.control().barrier(step, barrier)?;
            step.barrier_due = false;
            step.meter.spent(Work::Barrier, since);
        }
        Ok(())
    }
}

impl Task for InputTask {
    fn step(&mut self, step: &mut Step) -> Result<Turn> {
        step.barrier_due = self.align.is_expecting();
        self.head.control().poll(step)?;
        if !step.may_go_on() {
            return Ok(Turn::of(step, false));
        }
        self.settle_marks(step)?;
        let mut events = 0;
        while events < STEP_EVENTS && step.may_go_on() {
            step.meter.lap();
            let Some((input, event)) = self.receive()? else { break };
            events += 1;
            self.handle(step, input, event)?;
            self.settle_marks(step)?;
        }
        if events > 0 {
            self.flushed = false;
        } else if !self.flushed && step.may_go_on() {
            step.flush = true;
            self.head.control().poll(step)?;
            self.flushed = !step.blocked;
        }
        Ok(Turn::of(step, events > 0))
    }

    fn on_event(&mut self, _: &mut Step, event: TaskEvent) -> Result<()> {
        match event {
            TaskEvent::Barrier(barrier) => {
                // The next step acts on it, when no watermark is being worked on.
                self.align.announce(barrier);
                Ok(())
            }
            TaskEvent::Settled { epoch, published } => {
                if !published {
                    self.align.abort(epoch);
                }
                self.head.control().settled(epoch, published);
                Ok(())
            }
            TaskEvent::GoOn => Ok(()),
        }
    }

    fn restore(&mut self, restore: &Restore) -> Result<()> {
        self.head.control().restore(restore)
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}
