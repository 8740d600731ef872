//! [`Job`]: what a program builds its dataflow on.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::plan::Role;

use super::{Args, Environment, Secret, Stream};
use crate::error::Result;
use crate::plan::{Graph, Make, MaxDrift, Node};
use crate::source::{Malformed, OnMalformed, Source};
use crate::state::Backend;
use crate::task::{MalformedParts, SourceParts, SourceTask, Task};
use crate::time::{EventTime, Timestamp, TryTime, Watermarks};

/// What of a job's spec the engine needs.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// The arguments of the program.
    pub args: Args,
    /// The number of key groups.
    pub key_groups: KeyGroups,
    /// How long a record may wait for its batch to fill, unless [`Job::linger`] says otherwise.
    pub linger: Duration,
    /// Where the program's secrets come from.
    pub environment: Environment,
    /// What holds keyed state.
    pub backend: Backend,
}

/// How long a record may wait for its batch to fill.
const LINGER: Duration = Duration::from_millis(5);

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            args: Args::default(),
            key_groups: KeyGroups::default(),
            linger: LINGER,
            environment: Environment::default(),
            backend: Backend::default(),
        }
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
    ///
    /// What they lend may be kept while sources are added, and more may be asked for behind them:
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::{FileSink, Files};
    /// # use millstream_dataflow::{Args, Job, JobSettings, Result};
    /// fn copy(job: &mut Job) -> Result<()> {
    ///     let args = job.args();
    ///     let (input, output) = (args.get("input")?, args.get("output")?);
    ///     let lines = job.source("lines", Files::lines(input));
    ///     lines.sink("copy", FileSink::json(output));
    ///     if args.parse_or("twice", false)? {
    ///         lines.sink("second", FileSink::json(format!("{output}-2")));
    ///     }
    ///     Ok(())
    /// }
    /// # let given = [("input", "in"), ("output", "out"), ("twice", "true")];
    /// # let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    /// # let args = Args::new(given.into());
    /// # let mut job = Job::new(JobSettings { args, ..JobSettings::default() });
    /// # copy(&mut job).unwrap();
    /// # job.args().refuse_unknown().unwrap();
    /// ```
    pub fn args(&self) -> &Args {
        &self.settings.args
    }

    /// A variable of the worker's environment, for what must not stand in the job's file. Where it
    /// is not set, whoever needs its value fails, not the program: a plan can be made without it.
    ///
    /// ```
    /// # use millstream_dataflow::{Environment, Job, JobSettings};
    /// let environment = Environment::new(|name| std::env::var(name).ok());
    /// let job = Job::new(JobSettings { environment, ..JobSettings::default() });
    /// let password = job.env("KAFKA_PASSWORD");
    /// ```
    pub fn env(&self, name: &str) -> Secret {
        self.settings.environment.secret(name)
    }

    /// Bounds how far the sources of the job drift apart: a split (a partition, a file) whose
    /// watermark is more than this ahead of the smallest one of the job is not read until that has
    /// caught up. What joins and windows hold in memory is bounded by it. Idle splits hold nobody
    /// back.
    ///
    /// Without this it is a minute for the sources in front of joins, and off for all others. With
    /// a duration it counts for all sources of the job that have event times; `None` switches it
    /// off.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream_dataflow::{connector::collection::Collection, Job, Timestamp, Watermarks};
    /// # let job = Job::new(Default::default());
    /// job.max_drift(Duration::from_secs(30));
    /// let numbers = job.source("numbers", Collection::of(vec![1i64, 2]));
    /// numbers.event_time(|n| Timestamp(*n), Watermarks::ascending());
    /// ```
    #[track_caller]
    pub fn max_drift(&self, drift: impl Into<Option<Duration>>) {
        let drift = drift.into().map(crate::time::millis);
        let at = Location::caller();
        self.graph.borrow_mut().max_drift =
            drift.map_or(MaxDrift::Off, |max_ms| MaxDrift::Of(max_ms, at));
    }

    /// How long a record may wait for its batch to fill, on its way to another task. Whole
    /// milliseconds count. Without this it is 5 ms; with zero, what a task has put out in one turn
    /// goes on in the next. A task that has nothing more to take in sends what it has anyway: this
    /// is for input that comes in a little at a time, without a pause.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream_dataflow::Job;
    /// # let job = Job::new(Default::default());
    /// job.linger(Duration::ZERO);
    /// ```
    pub fn linger(&self, linger: Duration) {
        self.graph.borrow_mut().linger = Some(linger);
    }

    /// Adds a source. Its id names its positions for the life of the job.
    #[track_caller]
    pub fn source<S: Source>(&self, id: &str, source: S) -> SourceStream<S> {
        let (event_time, fate) = (EventTimes::<S>::default(), Rc::<Cell<Fate>>::default());
        let (times, then) = (event_time.clone(), fate.clone());
        let index = crate::plan::NodeIndex(self.graph.borrow().nodes.len());
        let states = vec![source.schema()];
        let parallelism_max = source.parallelism_max();
        let make = Make::Source(Box::new(move |wiring, info, doorbell| {
            let times = times.borrow();
            let event_time = times.as_ref().map(|(times, marks)| (times.clone_box(), *marks));
            let next = wiring.output::<S::Item>(index, 0, info.task)?;
            let side = wiring.output::<Malformed>(index, 1, info.task)?;
            let (source, Fate { on_malformed, aside }) = (source.clone(), then.get());
            let malformed = MalformedParts { side, on_malformed, aside };
            let seat = wiring.seat(index, &doorbell);
            let parts = SourceParts { info, source, event_time, next, malformed, doorbell, seat };
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
        SourceStream { stream: Stream::at(self.graph.clone(), node, 0), event_time, fate }
    }
}

type EventTimes<S> = Rc<RefCell<Option<(Box<dyn EventTime<<S as Source>::Item>>, Watermarks)>>>;

/// What becomes of malformed records.
#[derive(Clone, Copy, Default)]
struct Fate {
    on_malformed: OnMalformed,
    /// They go to the side output.
    aside: bool,
}

/// The stream of a source: a [`Stream`] that can be given event times, and told what becomes of
/// malformed records.
pub struct SourceStream<S: Source> {
    stream: Stream<S::Item>,
    event_time: EventTimes<S>,
    fate: Rc<Cell<Fate>>,
}

impl<S: Source> SourceStream<S> {
    /// Says where a record's event time is found, and how watermarks follow from it.
    ///
    /// [`Timestamp::MIN`] and [`Timestamp::MAX`] are the engine's own: a record for which the
    /// function returns one of them is malformed.
    pub fn event_time(
        self,
        time: impl Fn(&S::Item) -> Timestamp + Clone + Send + 'static,
        watermarks: Watermarks,
    ) -> Stream<S::Item> {
        self.timed(Box::new(time), watermarks)
    }

    /// The same with a function that may fail. A record whose event time cannot be read is
    /// malformed, as is one that does not decode: [`Self::on_malformed`] and
    /// [`Self::with_malformed`] say what becomes of both.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::files::Files, Job, Watermarks};
    /// # let job = Job::new(Default::default());
    /// let lines = job.source("log", Files::lines("server.log"));
    /// let lines = lines.try_event_time(
    ///     |line| Ok(line.split(' ').next().unwrap_or_default().parse()?),
    ///     Watermarks::ascending(),
    /// );
    /// ```
    pub fn try_event_time(
        self,
        time: impl Fn(&S::Item) -> Result<Timestamp> + Clone + Send + 'static,
        watermarks: Watermarks,
    ) -> Stream<S::Item> {
        self.timed(Box::new(TryTime(time)), watermarks)
    }

    fn timed(self, time: Box<dyn EventTime<S::Item>>, watermarks: Watermarks) -> Stream<S::Item> {
        *self.event_time.borrow_mut() = Some((time, watermarks));
        self.stream.graph.borrow_mut().timed.push(self.stream.node);
        self.stream
    }

    /// What becomes of a record that is malformed; without this, the job fails.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::files::Files, source::OnMalformed, Job};
    /// # let job = Job::new(Default::default());
    /// let readings = job.source("readings", Files::json::<f64>("readings/"));
    /// let readings = readings.on_malformed(OnMalformed::Skip);
    /// ```
    #[must_use]
    pub fn on_malformed(self, then: OnMalformed) -> Self {
        self.fate.set(Fate { on_malformed: then, ..self.fate.get() });
        self
    }

    /// The same stream, and its malformed records as a second one, whatever [`Self::on_malformed`]
    /// says. They are counted as failed, have no event time, and are put out exactly once for the
    /// state and the sinks behind it.
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::{FileSink, Files};
    /// # let mut job = millstream_dataflow::Job::new(Default::default());
    /// let (readings, malformed) =
    ///     job.source("readings", Files::json::<f64>("readings/")).with_malformed();
    /// malformed.sink("malformed", FileSink::json("malformed"));
    /// ```
    pub fn with_malformed(self) -> (Self, Stream<Malformed>) {
        self.fate.set(Fate { aside: true, ..self.fate.get() });
        let malformed = self.stream.side();
        (self, malformed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::collection::Collection;
    use crate::operator::aggregate::Count;
    use crate::plan::resolve;
    use crate::window::Tumbling;

    #[test]
    fn malformed_records_have_no_event_time_to_build_windows_by() {
        let job = Job::new(JobSettings::default());
        let source = job.source("numbers", Collection::of(vec![1u64, 2]));
        let (numbers, malformed) = source.with_malformed();
        let numbers = numbers.event_time(|n| Timestamp(*n as i64), Watermarks::ascending());
        let second = Tumbling::of(Duration::from_secs(1));
        numbers.key_by(|n| *n).window(second).aggregate("good", |_| (), Count);
        let malformed = malformed.map(|record| record.split).key_by(String::clone);
        malformed.window(second).aggregate("bad", |_| (), Count);
        let resolved = resolve(&job.graph.borrow(), 1, job.settings.key_groups);
        let message = resolved.map_or_else(|error| error.to_string(), |_| String::new());
        let expected = "operator bad: an event-time window needs event times";
        assert!(message.contains(expected) && !message.contains("good"), "{message}");
    }
}
