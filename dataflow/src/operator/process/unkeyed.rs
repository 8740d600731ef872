//! Process functions without a key: state per task, a list whose items are dealt out anew on a
//! restore.

use std::marker::PhantomData;

use millstream_protocol::plan::StateSchema;

use super::broadcast::{broadcast_schema, restore_broadcast, save_broadcast};
use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::operator::{Context, Operator, Saved, TwoInputs};
use crate::snapshot::RestoredList;
use crate::state::schema_of;
use crate::stream::{Described, Stream};
use crate::task::{Barrier, TaskInfo};
use crate::time::Timestamp;

/// The name of the list state.
const ITEMS: &str = "items";

/// What a process function without a key sees while it runs.
pub struct TaskContext<'a, O, S = ()> {
    time: Timestamp,
    engine: Context<'a, O, S>,
}

impl<O: Data, S: Data> TaskContext<'_, O, S> {
    /// The event time of the record, [`Timestamp::MIN`] where it has none; at the end, the
    /// watermark.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The watermark: no record with a smaller time will come.
    pub fn watermark(&self) -> Timestamp {
        self.engine.watermark()
    }

    /// Processing time, read once per step of the task; never falls within a run.
    pub fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// Which operator instance this is.
    pub fn info(&self) -> &TaskInfo {
        self.engine.info()
    }

    /// Puts a record out, with the time of [`Self::time`].
    pub fn emit(&mut self, record: O) -> Result<()> {
        self.engine.emit(record, self.time)
    }

    /// Puts a record out with a time of its own.
    pub fn emit_at(&mut self, record: O, time: Timestamp) -> Result<()> {
        self.engine.emit(record, time)
    }

    /// Puts a record out at the side output, with the time of [`Self::time`].
    pub fn emit_side(&mut self, record: S) -> Result<()> {
        self.engine.emit_side(record, self.time)
    }
}

/// A user's code over the records of a stream without a key.
///
/// Its state is a list of items per task, written down whole in each snapshot. On a restore the
/// items of all tasks, one task's behind another's, are dealt out: item j goes to task j % p.
///
/// # Errors
/// An error or a panic fails the job, which restarts from its snapshot. The message names the
/// operator.
pub trait TaskProcess<T: Data>: Clone + Send + 'static {
    /// What it puts out.
    type Out: Data;
    /// What it puts out at its side output; `()` if it has none.
    type Side: Data;
    /// What its list state holds.
    type Item: Data;

    /// A record arrived.
    fn on_record(
        &self,
        items: &mut Vec<Self::Item>,
        record: T,
        cx: &mut TaskContext<'_, Self::Out, Self::Side>,
    ) -> Result<()>;

    /// The stream has ended: the time to put out what is held.
    fn on_end(
        &self,
        items: &mut Vec<Self::Item>,
        cx: &mut TaskContext<'_, Self::Out, Self::Side>,
    ) -> Result<()> {
        let _ = (items, cx);
        Ok(())
    }
}

impl<T: Data> Stream<T> {
    /// Runs a user's [`TaskProcess`] on each record.
    #[track_caller]
    pub fn process<P: TaskProcess<T>>(&self, id: &str, process: P) -> Stream<P::Out> {
        let items =
            StateSchema { name: ITEMS.into(), kind: "list".into(), schema: schema_of::<P::Item>() };
        let described = Described {
            id: Some(id.to_owned()),
            method: "process",
            keeps: true,
            states: vec![items].into(),
            ..Described::default()
        };
        let make = move |_: &_| {
            Ok(Unkeyed { process: process.clone(), items: Vec::new(), marker: PhantomData })
        };
        self.then(described, make)
    }

    /// Runs a user's [`TaskProcess`] on each record; the second stream is its side output.
    #[track_caller]
    pub fn process_with_side<P: TaskProcess<T>>(
        &self,
        id: &str,
        process: P,
    ) -> (Stream<P::Out>, Stream<P::Side>) {
        let out = self.process(id, process);
        let side = out.side();
        (out, side)
    }

    /// Runs closures: one on each record, one when the stream has ended. Both are given the task's
    /// list.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let pairs = numbers.process_fn(
    ///     "pairs",
    ///     |held: &mut Vec<u64>, n, cx| match held.pop() {
    ///         Some(first) => cx.emit((first, n)),
    ///         None => Ok(held.push(n)),
    ///     },
    ///     |_, _| Ok(()),
    /// );
    /// ```
    #[track_caller]
    pub fn process_fn<I, U, E>(
        &self,
        id: &str,
        on_record: impl Fn(&mut Vec<I>, T, &mut TaskContext<'_, U>) -> Result<()>
        + Clone
        + Send
        + 'static,
        on_end: E,
    ) -> Stream<U>
    where
        I: Data,
        U: Data,
        E: Fn(&mut Vec<I>, &mut TaskContext<'_, U>) -> Result<()> + Clone + Send + 'static,
    {
        self.process(id, Closures { on_record, on_end, marker: PhantomData })
    }

    /// The same; the second stream is what the closures put out by
    /// [`emit_side`](TaskContext::emit_side).
    #[track_caller]
    pub fn process_fn_with_side<I, U, S, E>(
        &self,
        id: &str,
        on_record: impl Fn(&mut Vec<I>, T, &mut TaskContext<'_, U, S>) -> Result<()>
        + Clone
        + Send
        + 'static,
        on_end: E,
    ) -> (Stream<U>, Stream<S>)
    where
        I: Data,
        U: Data,
        S: Data,
        E: Fn(&mut Vec<I>, &mut TaskContext<'_, U, S>) -> Result<()> + Clone + Send + 'static,
    {
        self.process_with_side(id, Closures { on_record, on_end, marker: PhantomData })
    }

    /// Runs a closure on each record, with a state that another stream writes: `on_broadcast` is
    /// given every record of that stream, on every task.
    ///
    /// The state starts as its default. Each task keeps a copy; a snapshot keeps one of them,
    /// whole. Event time is that of the slower of the two streams.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let amounts = job.source("amounts", Collection::of(vec![10.0, 20.0]));
    /// let rates = job.source("rates", Collection::of(vec![1.1]));
    /// let converted = amounts.connect(
    ///     "convert",
    ///     &rates,
    ///     |newest: &mut f64, rate| Ok(*newest = rate),
    ///     |rate, amount, cx| cx.emit(amount * rate),
    /// );
    /// ```
    #[track_caller]
    pub fn connect<R: Data, B: Data + Default, U: Data>(
        &self,
        id: &str,
        other: &Stream<R>,
        on_broadcast: impl Fn(&mut B, R) -> Result<()> + Clone + Send + 'static,
        on_record: impl Fn(&B, T, &mut TaskContext<'_, U>) -> Result<()> + Clone + Send + 'static,
    ) -> Stream<U> {
        let described = Described {
            id: Some(id.to_owned()),
            method: "connect",
            keeps: true,
            states: vec![broadcast_schema::<B>()].into(),
            ..Described::default()
        };
        let inputs = vec![self.input(0), other.broadcast().input(1)];
        let make = move |info: &TaskInfo| {
            Ok(Connected {
                on_broadcast: on_broadcast.clone(),
                on_record: on_record.clone(),
                shared: B::default(),
                info: info.clone(),
                marker: PhantomData,
            })
        };
        self.then_two(inputs, described, make)
    }
}

struct Closures<F, G, I, U, S> {
    on_record: F,
    on_end: G,
    marker: PhantomData<fn() -> (I, U, S)>,
}

impl<F: Clone, G: Clone, I, U, S> Clone for Closures<F, G, I, U, S> {
    fn clone(&self) -> Self {
        let (on_record, on_end) = (self.on_record.clone(), self.on_end.clone());
        Self { on_record, on_end, marker: PhantomData }
    }
}

impl<T, I, U, S, F, G> TaskProcess<T> for Closures<F, G, I, U, S>
where
    T: Data,
    I: Data,
    U: Data,
    S: Data,
    F: Fn(&mut Vec<I>, T, &mut TaskContext<'_, U, S>) -> Result<()> + Clone + Send + 'static,
    G: Fn(&mut Vec<I>, &mut TaskContext<'_, U, S>) -> Result<()> + Clone + Send + 'static,
{
    type Out = U;
    type Side = S;
    type Item = I;

    fn on_record(
        &self,
        items: &mut Vec<I>,
        record: T,
        cx: &mut TaskContext<'_, U, S>,
    ) -> Result<()> {
        (self.on_record)(items, record, cx)
    }

    fn on_end(&self, items: &mut Vec<I>, cx: &mut TaskContext<'_, U, S>) -> Result<()> {
        (self.on_end)(items, cx)
    }
}

struct Unkeyed<T: Data, P: TaskProcess<T>> {
    process: P,
    items: Vec<P::Item>,
    marker: PhantomData<fn(T)>,
}

impl<T: Data, P: TaskProcess<T>> Operator for Unkeyed<T, P> {
    type In = T;
    type Out = P::Out;
    type Side = P::Side;

    fn on_batch(&mut self, ctx: &mut Context<'_, P::Out, P::Side>, batch: Batch<T>) -> Result<()> {
        for (record, time) in batch.into_timed() {
            let mut cx = TaskContext { time, engine: ctx.lend() };
            self.process.on_record(&mut self.items, record, &mut cx)?;
        }
        Ok(())
    }

    fn on_end(&mut self, ctx: &mut Context<'_, P::Out, P::Side>) -> Result<()> {
        let mut cx = TaskContext { time: ctx.watermark(), engine: ctx.lend() };
        self.process.on_end(&mut self.items, &mut cx)
    }

    fn save(&mut self, _: Barrier) -> Result<Saved> {
        let items = self.items.iter().map(postcard::to_stdvec).collect::<Result<_, _>>()?;
        Ok(Saved { lists: vec![(ITEMS.to_owned(), items)], ..Saved::default() })
    }

    fn restore_lists(&mut self, info: &TaskInfo, mut lists: Vec<RestoredList>) -> Result<()> {
        lists.retain(|list| list.name == ITEMS);
        lists.sort_by_key(|list| list.task);
        let is_same = lists.iter().all(|list| list.parallelism == info.parallelism);
        let (own, others): (Vec<_>, Vec<_>) =
            lists.into_iter().partition(|list| is_same && list.task == info.task.0);
        let dealt = others.into_iter().filter(|_| !is_same).flat_map(|list| list.items);
        let dealt = dealt.skip(info.task.0 as usize).step_by(info.parallelism as usize);
        for item in own.into_iter().flat_map(|list| list.items).chain(dealt) {
            self.items.push(postcard::from_bytes(&item)?);
        }
        Ok(())
    }
}

struct Connected<F, G, T, R, B, U> {
    on_broadcast: F,
    on_record: G,
    shared: B,
    info: TaskInfo,
    marker: PhantomData<fn(T, R) -> U>,
}

impl<T, R, B, U, F, G> Operator for Connected<F, G, T, R, B, U>
where
    T: Data,
    R: Data,
    B: Data + Default,
    U: Data,
    F: Fn(&mut B, R) -> Result<()> + Send + 'static,
    G: Fn(&B, T, &mut TaskContext<'_, U>) -> Result<()> + Send + 'static,
{
    type In = T;
    type Out = U;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, U>, batch: Batch<T>) -> Result<()> {
        for (record, time) in batch.into_timed() {
            let mut cx = TaskContext { time, engine: ctx.lend() };
            (self.on_record)(&self.shared, record, &mut cx)?;
        }
        Ok(())
    }

    fn save(&mut self, _: Barrier) -> Result<Saved> {
        save_broadcast(&self.shared, &self.info)
    }

    fn restore_lists(&mut self, _: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        restore_broadcast(&mut self.shared, lists)
    }
}

impl<T, R, B, U, F, G> TwoInputs for Connected<F, G, T, R, B, U>
where
    T: Data,
    R: Data,
    B: Data + Default,
    U: Data,
    F: Fn(&mut B, R) -> Result<()> + Send + 'static,
    G: Fn(&B, T, &mut TaskContext<'_, U>) -> Result<()> + Send + 'static,
{
    type Right = R;

    fn on_right(&mut self, _: &mut Context<'_, U>, batch: Batch<R>) -> Result<()> {
        let mut records = batch.records.into_iter();
        records.try_for_each(|record| (self.on_broadcast)(&mut self.shared, record))
    }
}
