//! [`Job`]: what a program builds its dataflow on.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::plan::Role;

use super::{Args, Stream};
use crate::plan::{Graph, Make, Node};
use crate::source::Source;
use crate::task::{SourceParts, SourceTask, Task};
use crate::time::{EventTime, Timestamp, Watermarks};

/// What of a job's spec the engine needs.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// The arguments of the program.
    pub args: Args,
    /// The number of key groups.
    pub key_groups: KeyGroups,
    /// How long a record may wait for its batch to fill.
    pub linger: Duration,
}

/// How long a record may wait for its batch to fill.
const LINGER: Duration = Duration::from_millis(5);

impl Default for JobSettings {
    fn default() -> Self {
        Self { args: Args::default(), key_groups: KeyGroups::default(), linger: LINGER }
    }
}

/// What a program builds its dataflow on.
///
/// Methods on it and on the handles never fail: mistakes are collected with the place in the
/// program, and reported all at once when the program has returned.
pub struct Job {
    pub(crate) graph: Rc<RefCell<Graph>>,
    pub(crate) settings: JobSettings,
}

impl Job {
    /// An empty job.
    pub fn new(settings: JobSettings) -> Self {
        Self { graph: Rc::default(), settings }
    }

    /// The arguments from `spec.program.args`.
    pub fn args(&self) -> &Args {
        &self.settings.args
    }

    /// Adds a source. Its id names its positions for the life of the job.
    #[track_caller]
    pub fn source<S: Source>(&mut self, id: &str, source: S) -> SourceStream<S> {
        let event_time: Rc<RefCell<Option<EventTimes<S>>>> = Rc::default();
        let times = event_time.clone();
        let index = crate::plan::NodeIndex(self.graph.borrow().nodes.len());
        let states = vec![source.schema()];
        let parallelism_max = source.parallelism_max();
        let make = Make::Source(Box::new(move |wiring, info, doorbell| {
            let times = times.borrow();
            let event_time = times.as_ref().map(|(times, marks)| (times.clone_box(), *marks));
            let next = wiring.output::<S::Item>(index, 0, info.task)?;
            let source = source.clone();
            let parts = SourceParts { info, source, event_time, next, doorbell };
            Ok(Box::new(SourceTask::new(parts)) as Box<dyn Task>)
        }));
        let node = self.graph.borrow_mut().add(Node {
            id: id.to_owned(),
            method: "source",
            role: Role::Source,
            parallelism: None,
            parallelism_max,
            keyed: false,
            keeps: true,
            states: states.into(),
            inputs: Vec::new(),
            make,
            location: Location::caller(),
        });
        SourceStream { stream: Stream::at(self.graph.clone(), node, 0), event_time }
    }
}

type EventTimes<S> = (Box<dyn EventTime<<S as Source>::Item>>, Watermarks);

/// The stream of a source: a [`Stream`] that can be given event times.
pub struct SourceStream<S: Source> {
    stream: Stream<S::Item>,
    event_time: Rc<RefCell<Option<EventTimes<S>>>>,
}

impl<S: Source> SourceStream<S> {
    /// Says where a record's event time is found, and how watermarks follow from it.
    pub fn event_time(
        self,
        time: impl Fn(&S::Item) -> Timestamp + Clone + Send + 'static,
        watermarks: Watermarks,
    ) -> Stream<S::Item> {
        *self.event_time.borrow_mut() = Some((Box::new(time), watermarks));
        self.stream.graph.borrow_mut().timed.push(self.stream.node);
        self.stream
    }

    /// Sets how many instances the source has.
    pub fn parallelism(self, instances: u32) -> Self {
        self.stream.graph.borrow_mut().node_mut(self.stream.node).parallelism = Some(instances);
        self
    }
}

impl<S: Source> std::ops::Deref for SourceStream<S> {
    type Target = Stream<S::Item>;

    fn deref(&self) -> &Stream<S::Item> {
        &self.stream
    }
}
