//! Windows: finite pieces of a keyed stream, and what is made of each.
//!
//! Reached by [`KeyedStream::window`]. [`kind`] describes windows, [`fold`] what becomes of their
//! records; the operators are [`sliced`] (tumbling, hop), [`session`], [`count`] and [`global`].
//! Invariant: a window's result depends on records, times and watermarks alone, not on batches,
//! threads or restores.

mod count;
mod due;
mod firing;
mod fold;
mod global;
mod grid;
mod kind;
mod reached;
mod running;
mod session;
mod sliced;
mod slices;
#[cfg(test)]
mod tests;
mod unkeyed;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Data, Key};
use crate::error::Error;
use crate::operator::aggregate::Aggregate;
use crate::state::{Also, Migrations};
use crate::stream::{KeyedStream, Stream};
use crate::time::{Timestamp, millis};
use fold::{Aggregated, Applied};
pub use global::{Fire, Trigger, TriggerContext};
pub(crate) use grid::Grid;
pub(crate) use kind::check_event_time;
pub use kind::{CountWindow, EventTimeWindow, Global, Hop, Session, Tumbling, WindowKind};

/// Where a window lies: `[start, end)`.
///
/// For count and global windows these are the time of the first record, and 1 ms behind that of
/// the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first millisecond in it.
    pub start: Timestamp,
    /// The first millisecond behind it.
    pub end: Timestamp,
}

impl Window {
    /// The time that a result of it carries: its last millisecond.
    pub fn time(self) -> Timestamp {
        self.end.saturating_add(-1)
    }
}

/// The result of a window for a key. As a record it carries the time `end - 1 ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The first millisecond in the window.
    pub start: Timestamp,
    /// The first millisecond behind the window.
    pub end: Timestamp,
    /// What came of the records in it.
    pub value: V,
}

/// A keyed stream cut into windows. See [`KeyedStream::window`].
pub struct WindowedStream<K, T, W, M = ()> {
    pub(crate) keyed: KeyedStream<K, T>,
    kind: W,
    lateness_ms: i64,
    migrations: M,
}

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Cuts the stream of each key into windows.
    ///
    /// Event-time windows ([`Tumbling`], [`Hop`], [`Session`]) need a source with
    /// [`event_time`](crate::SourceStream::event_time); without one the program does not build.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job, Timestamp, Watermarks};
    /// # use millstream_dataflow::{operator::aggregate::Sum, window::Tumbling};
    /// # use std::time::Duration;
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let numbers = numbers.event_time(|n| Timestamp(*n as i64), Watermarks::ascending());
    /// let windows = numbers.key_by(|n| n % 2).window(Tumbling::of(Duration::from_secs(10)));
    /// let sums = windows.aggregate("sums", |n| *n, Sum);
    /// ```
    pub fn window<W: WindowKind>(&self, kind: W) -> WindowedStream<K, T, W> {
        WindowedStream { keyed: self.clone(), kind, lateness_ms: 0, migrations: () }
    }
}

impl<K: Key, T: Data, W: EventTimeWindow, M> WindowedStream<K, T, W, M> {
    /// Keeps windows for so long after the watermark has passed their end (default 0; counted in
    /// whole milliseconds): a record that comes in this time puts the corrected result out at once,
    /// as another result of the same window.
    #[must_use]
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        Self { lateness_ms: millis(lateness), ..self }
    }
}

impl<K: Key, T: Data, W, M> WindowedStream<K, T, W, M> {
    /// Says how an accumulator is made of what an earlier version of the program kept in these
    /// windows (with `apply`, how the records of a window are), as [`KeyedStream::migrate`] does.
    /// May be called again, for still older types.
    ///
    /// The windows stay what they are: of another kind or size they are other windows.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # use millstream_dataflow::operator::aggregate::{Count, Max};
    /// # use millstream_dataflow::window::CountWindow;
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let windows = numbers.key_by(|n| n % 2).window(CountWindow::of(10));
    /// // A count alone before; the maximum is that of the records from now on.
    /// let windows = windows.migrate(|count: u64| (count, None));
    /// let both = windows.aggregate("both", |n| *n, (Count, Max));
    /// ```
    #[must_use]
    pub fn migrate<Old: Data, New: Data>(
        self,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> WindowedStream<K, T, W, Also<M, Old, New>> {
        let Self { keyed, kind, lateness_ms, migrations } = self;
        let migrations = Also::new(migrations, convert);
        WindowedStream { keyed, kind, lateness_ms, migrations }
    }

    /// Aggregates a value of each record, per key and window. Accumulators alone are kept, not
    /// records. The id names the state for the life of the job.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # use millstream_dataflow::{operator::aggregate::{Max, Mean}, window::CountWindow};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1.0, 2.5, 3.5]));
    /// let windows = numbers.key_by(|_| 0).window(CountWindow::of(2));
    /// let both = windows.aggregate("both", |n| *n, (Mean, Max));
    /// ```
    #[track_caller]
    pub fn aggregate<I, A>(
        self,
        id: &str,
        value: impl Fn(&T) -> I + Clone + Send + 'static,
        aggregate: A,
    ) -> Stream<Windowed<K, A::Out>>
    where
        I: 'static,
        A: Aggregate<I>,
        W: kind::Build<K, T>,
        M: Migrations<A::Acc>,
    {
        let fold = Aggregated::new(value, aggregate);
        kind::Build::build(self, ("aggregate", id), fold)
    }

    /// The same, and the records that came too late for every window of theirs, with their times.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job, Timestamp, Watermarks};
    /// # use millstream_dataflow::{operator::aggregate::Count, window::Tumbling};
    /// # use std::time::Duration;
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let numbers = numbers.event_time(|n| Timestamp(*n as i64), Watermarks::ascending());
    /// let windows = numbers.key_by(|n| n % 2).window(Tumbling::of(Duration::from_secs(10)));
    /// let (counts, late) = windows.aggregate_with_late("counts", |_| (), Count);
    /// ```
    #[track_caller]
    pub fn aggregate_with_late<I, A>(
        self,
        id: &str,
        value: impl Fn(&T) -> I + Clone + Send + 'static,
        aggregate: A,
    ) -> (Stream<Windowed<K, A::Out>>, Stream<T>)
    where
        I: 'static,
        A: Aggregate<I>,
        W: kind::Build<K, T> + EventTimeWindow,
        M: Migrations<A::Acc>,
    {
        let results = self.aggregate(id, value, aggregate);
        let late = results.side();
        (results, late)
    }

    /// Calls a function with all records of each window, in no particular order; they are all kept
    /// until then. What it returns carries the window's last millisecond as its time.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # use millstream_dataflow::window::CountWindow;
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let windows = numbers.key_by(|n| n % 2).window(CountWindow::of(2));
    /// let longest = windows.apply("spread", |key, window, records| {
    ///     Some((*key, window.start, records.iter().max()? - records.iter().min()?))
    /// });
    /// ```
    #[track_caller]
    pub fn apply<I>(
        self,
        id: &str,
        f: impl Fn(&K, Window, &[T]) -> I + Clone + Send + 'static,
    ) -> Stream<I::Item>
    where
        I: IntoIterator<Item: Data> + 'static,
        W: kind::Build<K, T>,
        M: Migrations<Vec<T>>,
    {
        kind::Build::build(self, ("apply", id), Applied(f))
    }

    /// The same, and the records that came too late for every window of theirs, with their times.
    #[track_caller]
    pub fn apply_with_late<I>(
        self,
        id: &str,
        f: impl Fn(&K, Window, &[T]) -> I + Clone + Send + 'static,
    ) -> (Stream<I::Item>, Stream<T>)
    where
        I: IntoIterator<Item: Data> + 'static,
        W: kind::Build<K, T> + EventTimeWindow,
        M: Migrations<Vec<T>>,
    {
        let results = self.apply(id, f);
        let late = results.side();
        (results, late)
    }
}

#[cold]
fn untimed() -> Error {
    Error::invalid(
        "records without event times reached an event-time window: give every source in front of \
         it an event_time",
    )
}
