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
    /// # let job = Job::new(Default::default());
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
        self.closures(id, |states| (build(states), |_, _| Ok(())))
    }

    /// The same; the second stream is what the closure puts out by
    /// [`emit_side`](ProcessContext::emit_side).
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let (even, odd) = numbers.key_by(|n| n % 2).process_fn_with_side("sort", |_| {
    ///     |n, cx| if n % 2 == 0 { cx.emit(n) } else { cx.emit_side(n) }
    /// });
    /// ```
    #[track_caller]
    pub fn process_fn_with_side<U, S, F>(
        &self,
        id: &str,
        build: impl FnOnce(&mut States<K>) -> F,
    ) -> (Stream<U>, Stream<S>)
    where
        U: Data,
        S: Data,
        F: Fn(T, &mut ProcessContext<'_, K, U, S>) -> Result<()> + Clone + Send + 'static,
    {
        self.process_fn_with_timers_and_side(id, |states| (build(states), |_, _| Ok(())))
    }

    /// [`Self::process_fn`] with a second closure, for timers. `build` returns both.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
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
        self.closures(id, build)
    }

    /// The same; the second stream is what the closures put out by
    /// [`emit_side`](ProcessContext::emit_side).
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let clicks = job.source("clicks", Collection::of(vec![1u64, 2, 3]));
    /// let users = clicks.key_by(|user| *user);
    /// let (clicks, away) = users.process_fn_with_timers_and_side("away", |st| {
    ///     let last = st.value("last");
    ///     let on_record = st.on_record(move |user: u64, cx| {
    ///         let now = cx.now();
    ///         cx.set(&last, now);
    ///         cx.set_processing_timer(now.saturating_add(60_000));
    ///         cx.emit(user)
    ///     });
    ///     let on_timer = st.on_timer(move |timer, cx| match cx.get(&last) {
    ///         Some(last) if last.saturating_add(60_000) > timer.time => Ok(()),
    ///         _ => cx.emit_side(*cx.key()),
    ///     });
    ///     (on_record, on_timer)
    /// });
    /// ```
    #[track_caller]
    pub fn process_fn_with_timers_and_side<U, S, F, G>(
        &self,
        id: &str,
        build: impl FnOnce(&mut States<K>) -> (F, G),
    ) -> (Stream<U>, Stream<S>)
    where
        U: Data,
        S: Data,
        F: Fn(T, &mut ProcessContext<'_, K, U, S>) -> Result<()> + Clone + Send + 'static,
        G: Fn(Timer, &mut ProcessContext<'_, K, U, S>) -> Result<()> + Clone + Send + 'static,
    {
        let out = self.closures(id, build);
        let side = out.side();
        (out, side)
    }

    #[track_caller]
    fn closures<U, S, F, G>(
        &self,
        id: &str,
        build: impl FnOnce(&mut States<K>) -> (F, G),
    ) -> Stream<U>
    where
        U: Data,
        S: Data,
        F: Fn(T, &mut ProcessContext<'_, K, U, S>) -> Result<()> + Clone + Send + 'static,
        G: Fn(Timer, &mut ProcessContext<'_, K, U, S>) -> Result<()> + Clone + Send + 'static,
    {
        let mut states = States::default();
        let (on_record, on_timer) = build(&mut states);
        let handlers = Closures { on_record, on_timer, marker: PhantomData };
        self.processed(id, "process_fn", states, handlers)
    }
}

impl<K: Key> States<K> {
    /// Returns the closure. A closure on records that is given a name before it is returned is
    /// written in here, or the compiler does not find the type of its context.
    pub fn on_record<T, U, S, F>(&self, closure: F) -> F
    where
        F: Fn(T, &mut ProcessContext<'_, K, U, S>) -> Result<()>,
    {
        closure
    }

    /// The same for a closure on timers.
    pub fn on_timer<U, S, G>(&self, closure: G) -> G
    where
        G: Fn(Timer, &mut ProcessContext<'_, K, U, S>) -> Result<()>,
    {
        closure
    }
}

struct Closures<F, G, U, S> {
    on_record: F,
    on_timer: G,
    marker: PhantomData<fn() -> (U, S)>,
}

impl<F: Clone, G: Clone, U, S> Clone for Closures<F, G, U, S> {
    fn clone(&self) -> Self {
        let (on_record, on_timer) = (self.on_record.clone(), self.on_timer.clone());
        Self { on_record, on_timer, marker: PhantomData }
    }
}

impl<K, T, U, S, F, G> Handlers<K, T> for Closures<F, G, U, S>
where
    K: Key,
    T: Data,
    U: Data,
    S: Data,
    F: Fn(T, &mut ProcessContext<'_, K, U, S>) -> Result<()> + Clone + Send + 'static,
    G: Fn(Timer, &mut ProcessContext<'_, K, U, S>) -> Result<()> + Clone + Send + 'static,
{
    type Out = U;
    type Side = S;
    type Shared = ();
    type Right = ();

    fn on_record(&self, (): &(), record: T, cx: &mut ProcessContext<'_, K, U, S>) -> Result<()> {
        (self.on_record)(record, cx)
    }

    fn on_timer(&self, (): &(), timer: Timer, cx: &mut ProcessContext<'_, K, U, S>) -> Result<()> {
        (self.on_timer)(timer, cx)
    }

    fn on_right(&self, (): &mut (), (): ()) -> Result<()> {
        Ok(())
    }
}
