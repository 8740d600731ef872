//! A source task that plays a script: records, watermarks and snapshots exactly where the test
//! wants them.

use std::collections::VecDeque;
use std::rc::Rc;

use millstream_protocol::plan::Role;

use crate::batch::Batch;
use crate::data::Data;
use crate::error::{Error, Result};
use crate::plan::{Make, Node, NodeIndex};
use crate::snapshot::{Captures, Cut, Restore};
use crate::state::StateTypes;
use crate::stream::{Job, Stream};
use crate::task::{Barrier, BoxNode, Step, Task, TaskEvent, TaskInfo, Turn};
use crate::time::Timestamp;

/// What a scripted source plays.
#[derive(Clone, Debug, PartialEq)]
pub enum Element<T> {
    /// A record with its event time.
    Record(T, Timestamp),
    /// No record with a smaller time will come.
    Watermark(Timestamp),
    /// The source is idle until the next record or watermark.
    Idle,
    /// Here the harness takes a snapshot, and may restore from it.
    Snapshot,
}

/// Adds a source that plays these elements, then ends.
#[track_caller]
pub(super) fn source<T: Data + PartialEq>(
    job: &mut Job,
    id: &str,
    elements: Vec<Element<T>>,
) -> Stream<T> {
    let index = NodeIndex(job.graph.borrow().nodes.len());
    let elements = Rc::new(elements);
    let make = Make::Source(Box::new(move |wiring, info, _| {
        let next = wiring.output::<T>(index, 0, info.task)?;
        let captures = Captures::new(info.clone(), None, Vec::new());
        let elements = elements.iter().cloned().collect();
        Ok(Box::new(Script {
            info,
            next,
            captures,
            elements,
            played: 0,
            barrier: None,
            ended: false,
        }) as _)
    }));
    let node = job.graph.borrow_mut().add(Node {
        id: id.to_owned(),
        method: "script",
        role: Role::Source,
        parallelism: Some(1),
        parallelism_max: Some(1),
        keyed: false,
        keeps: true,
        states: StateTypes::default(),
        inputs: Vec::new(),
        make,
        location: std::panic::Location::caller(),
    });
    job.graph.borrow_mut().timed.push(node);
    Stream::at(job.graph.clone(), node, 0)
}

struct Script<T> {
    info: TaskInfo,
    next: BoxNode<T>,
    captures: Captures,
    elements: VecDeque<Element<T>>,
    played: u64,
    /// A barrier that came before its place in the script.
    barrier: Option<Barrier>,
    ended: bool,
}

impl<T: Data + PartialEq> Script<T> {
    fn play(&mut self, step: &mut Step) -> Result<bool> {
        let Some(element) = self.elements.front().cloned() else {
            self.next.watermark(step, Timestamp::MAX)?;
            if !step.unfinished {
                self.ended = true;
                self.next.end(step)?;
            }
            return Ok(true);
        };
        if element == Element::Snapshot {
            return self.cut(step);
        }
        self.elements.pop_front();
        self.played += 1;
        match element {
            Element::Record(record, time) => {
                self.next.batch(step, Batch::timed(vec![record], vec![time]))?;
            }
            Element::Watermark(time) => {
                self.next.watermark(step, time)?;
                // A router may let records overtake a watermark: here the script's order counts.
                let flush = std::mem::replace(&mut step.flush, true);
                self.next.poll(step)?;
                step.flush = flush;
            }
            Element::Idle => self.next.idle(step)?,
            Element::Snapshot => {}
        }
        Ok(true)
    }

    /// Cuts where the script says so, if the barrier is there.
    fn cut(&mut self, step: &mut Step) -> Result<bool> {
        let Some(barrier) = self.barrier.take() else { return Ok(false) };
        self.played += u64::from(self.elements.pop_front().is_some());
        let items = vec![postcard::to_stdvec(&self.played)?];
        let lists = vec![("played".to_owned(), items)];
        let cut = Cut { epoch: barrier.epoch, lists, ..Cut::default() };
        self.captures.begin(step, Vec::new(), cut);
        self.next.barrier(step, barrier)?;
        Ok(true)
    }
}

impl<T: Data + PartialEq> Task for Script<T> {
    fn step(&mut self, step: &mut Step) -> Result<Turn> {
        self.captures.poll(step, Vec::new());
        self.next.poll(step)?;
        let mut moved = false;
        while step.may_go_on() && !self.ended && self.play(step)? {
            moved = true;
        }
        if self.ended {
            moved |= self.cut(step)?;
        }
        if !moved && step.may_go_on() {
            step.flush = true;
            self.next.poll(step)?;
        }
        Ok(Turn::of(step, moved))
    }

    fn on_event(&mut self, _: &mut Step, event: TaskEvent) -> Result<()> {
        match event {
            TaskEvent::Barrier(barrier) => {
                self.barrier = Some(barrier);
                Ok(())
            }
            TaskEvent::Settled { epoch, published } => {
                self.captures.settled(epoch, published, Vec::new());
                self.next.settled(epoch, published);
                Ok(())
            }
            TaskEvent::GoOn => Ok(()),
        }
    }

    fn restore(&mut self, restore: &Restore) -> Result<()> {
        let types = StateTypes::default();
        let fit = restore.fit(&self.info.operator, &types)?;
        let lists = restore.lists(&self.info.operator, None, &fit);
        for item in lists.into_iter().flat_map(|it| it.items) {
            self.played = postcard::from_bytes(&item)?;
            if self.played as usize > self.elements.len() {
                return Err(Error::bug("a script was restored that is longer than this one"));
            }
            self.elements.drain(..self.played as usize);
        }
        self.next.restore(restore)
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}
