//! `process_fn`: process functions as closures.

use std::marker::PhantomData;

use super::context::{ProcessContext, Timer};
use super::declare::States;
use super::run::Handlers;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::stream::{KeyedStream, Stream};

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Runs a closure on each record, with state per key. `build` declares the states and returns
    /// the closure.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let mut job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3, 5]));
    /// let gaps = numbers.key_by(|n| n % 2).process_fn("gaps", |st| {
    ///     let last = st.value::<u64>("last");
    ///     move |n, cx| {
    ///         let before = cx.get(&last).copied();
    ///         cx.set(&last, n);
    ///         before.map_or(Ok(()), |before| cx.emit(n - before))
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn process_fn<U, F>(&self, id: &str, build: impl FnOnce(&mut States<K>) -> F) -> Stream<U>
    where
        U: Data,
        F: Fn(T, &mut ProcessContext<'_, K, U>) -> Result<()> + Clone + Send + 'static,
    {
        let mut states = States::default();
        let on_record = build(&mut states);
        let on_timer = |_: Timer, _: &mut ProcessContext<'_, K, U>| Ok(());
        let handlers = Closures { on_record, on_timer, marker: PhantomData };
        self.processed(id, "process_fn", states, handlers)
    }

    /// The same with a second closure, for timers. `build` returns both.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let mut job = Job::new(Default::default());
    /// let clicks = job.source("clicks", Collection::of(vec![1u64, 2, 3]));
    /// let users = clicks.key_by(|user| *user);
    /// let a_minute_later = users.process_fn_with_timers("later", |_| {
    ///     (
    ///         |_, cx| Ok(cx.set_processing_timer(cx.now().saturating_add(60_000))),
    ///         |_, cx| cx.emit(*cx.key()),
    ///     )
    /// });
    /// ```
    #[track_caller]
    pub fn process_fn_with_timers<U, F, G>(
        &self,
        id: &str,
        build: impl FnOnce(&mut States<K>) -> (F, G),
    ) -> Stream<U>
    where
        U: Data,
        F: Fn(T, &mut ProcessContext<'_, K, U>) -> Result<()> + Clone + Send + 'static,
        G: Fn(Timer, &mut ProcessContext<'_, K, U>) -> Result<()> + Clone + Send + 'static,
    {
        let mut states = States::default();
        let (on_record, on_timer) = build(&mut states);
        let handlers = Closures { on_record, on_timer, marker: PhantomData };
        self.processed(id, "process_fn", states, handlers)
    }
}

struct Closures<F, G, U> {
    on_record: F,
    on_timer: G,
    marker: PhantomData<fn() -> U>,
}

impl<F: Clone, G: Clone, U> Clone for Closures<F, G, U> {
    fn clone(&self) -> Self {
        let (on_record, on_timer) = (self.on_record.clone(), self.on_timer.clone());
        Self { on_record, on_timer, marker: PhantomData }
    }
}

impl<K, T, U, F, G> Handlers<K, T> for Closures<F, G, U>
where
    K: Key,
    T: Data,
    U: Data,
    F: Fn(T, &mut ProcessContext<'_, K, U>) -> Result<()> + Clone + Send + 'static,
    G: Fn(Timer, &mut ProcessContext<'_, K, U>) -> Result<()> + Clone + Send + 'static,
{
    type Out = U;
    type Side = ();
    type Shared = ();
    type Right = ();

    fn on_record(&self, (): &(), record: T, cx: &mut ProcessContext<'_, K, U>) -> Result<()> {
        (self.on_record)(record, cx)
    }

    fn on_timer(&self, (): &(), timer: Timer, cx: &mut ProcessContext<'_, K, U>) -> Result<()> {
        (self.on_timer)(timer, cx)
    }

    fn on_right(&self, (): &mut (), (): ()) -> Result<()> {
        Ok(())
    }
}
