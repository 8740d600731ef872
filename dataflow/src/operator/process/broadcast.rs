//! `connect`: a keyed stream beside a stream of rules (or prices, or settings) that every task sees
//! whole.

use millstream_protocol::plan::StateSchema;

use super::context::{ProcessContext, Timer};
use super::declare::States;
use super::run::Handlers;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::Saved;
use crate::snapshot::RestoredList;
use crate::state::schema_of;
use crate::stream::{Described, KeyedStream, Stream};
use crate::task::TaskInfo;

/// The name of the broadcast state.
pub(super) const BROADCAST: &str = "broadcast";

/// What the plan says of a broadcast state.
pub(super) fn broadcast_schema<B: Data>() -> StateSchema {
    StateSchema { name: BROADCAST.into(), kind: BROADCAST.into(), schema: schema_of::<B>() }
}

/// One task's copy is kept, since all are alike.
pub(super) fn save_broadcast(shared: &impl Data, info: &TaskInfo) -> Result<Saved> {
    if info.task.0 > 0 {
        return Ok(Saved::default());
    }
    let lists = vec![(BROADCAST.to_owned(), vec![postcard::to_stdvec(shared)?])];
    Ok(Saved { lists, ..Saved::default() })
}

/// Every task takes the one copy.
pub(super) fn restore_broadcast<B: Data>(shared: &mut B, lists: Vec<RestoredList>) -> Result<()> {
    for item in lists.iter().filter(|list| list.name == BROADCAST).flat_map(|list| &list.items) {
        *shared = postcard::from_bytes(item)?;
    }
    Ok(())
}

/// A [`super::Process`] with a second stream, of which every task sees every record.
///
/// The broadcast state is written by the second stream alone and read by the first. Each task keeps
/// a copy; a snapshot keeps one of them, whole. Where the second stream comes from several tasks,
/// their records reach the tasks in different orders: updates should commute, or it should be
/// `.global()` first.
pub trait BroadcastProcess<K: Key, T: Data, R: Data>: Clone + Send + 'static {
    /// What it puts out.
    type Out: Data;
    /// What it puts out at its side output; `()` if it has none.
    type Side: Data;
    /// Its states per key: a handle, or a struct or tuple of them.
    type State: Clone + Send + 'static;
    /// The broadcast state.
    type Broadcast: Data + Default;

    /// Declares the states per key. Called once, when the graph is built.
    fn declare(&self, states: &mut States<K>) -> Self::State;

    /// A record of the second stream arrived.
    fn on_broadcast(&self, broadcast: &mut Self::Broadcast, record: R) -> Result<()>;

    /// A record of the keyed stream arrived.
    fn on_record(
        &self,
        state: &Self::State,
        broadcast: &Self::Broadcast,
        record: T,
        cx: &mut ProcessContext<'_, K, Self::Out, Self::Side>,
    ) -> Result<()>;

    /// A timer of this key is due.
    fn on_timer(
        &self,
        state: &Self::State,
        broadcast: &Self::Broadcast,
        timer: Timer,
        cx: &mut ProcessContext<'_, K, Self::Out, Self::Side>,
    ) -> Result<()> {
        let _ = (state, broadcast, timer, cx);
        Ok(())
    }
}

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Runs a [`BroadcastProcess`] on this stream and another, which every task sees whole.
    ///
    /// Event time is that of the slower of the two: a second stream that pauses must count as idle,
    /// see [`crate::Watermarks::idle_after`].
    #[track_caller]
    pub fn connect<R: Data, P: BroadcastProcess<K, T, R>>(
        &self,
        id: &str,
        other: &Stream<R>,
        process: P,
    ) -> Stream<P::Out> {
        let mut states = States::default();
        let state = process.declare(&mut states);
        let handlers = Connected { process, state, marker: std::marker::PhantomData };
        let (mut types, make) = self.operator::<Connected<P, P::State, R>>(id, states, handlers);
        types.schemas.push(broadcast_schema::<P::Broadcast>());
        let inputs = vec![self.input(0), other.broadcast().input(1)];
        self.stream.then_two(inputs, Described::keyed(id, "connect", types), make)
    }

    /// The same; the second stream returned is its side output.
    #[track_caller]
    pub fn connect_with_side<R: Data, P: BroadcastProcess<K, T, R>>(
        &self,
        id: &str,
        other: &Stream<R>,
        process: P,
    ) -> (Stream<P::Out>, Stream<P::Side>) {
        let out = self.connect(id, other, process);
        let side = out.side();
        (out, side)
    }
}

/// A [`BroadcastProcess`] with its states, as the operator calls it.
struct Connected<P, S, R> {
    process: P,
    state: S,
    marker: std::marker::PhantomData<fn(R)>,
}

impl<P: Clone, S: Clone, R> Clone for Connected<P, S, R> {
    fn clone(&self) -> Self {
        let (process, state) = (self.process.clone(), self.state.clone());
        Self { process, state, marker: std::marker::PhantomData }
    }
}

impl<K, T, R, P> Handlers<K, T> for Connected<P, P::State, R>
where
    K: Key,
    T: Data,
    R: Data,
    P: BroadcastProcess<K, T, R>,
{
    type Out = P::Out;
    type Side = P::Side;
    type Shared = P::Broadcast;
    type Right = R;

    fn on_record(
        &self,
        shared: &P::Broadcast,
        record: T,
        cx: &mut ProcessContext<'_, K, P::Out, P::Side>,
    ) -> Result<()> {
        self.process.on_record(&self.state, shared, record, cx)
    }

    fn on_timer(
        &self,
        shared: &P::Broadcast,
        timer: Timer,
        cx: &mut ProcessContext<'_, K, P::Out, P::Side>,
    ) -> Result<()> {
        self.process.on_timer(&self.state, shared, timer, cx)
    }

    fn on_right(&self, shared: &mut P::Broadcast, record: R) -> Result<()> {
        self.process.on_broadcast(shared, record)
    }

    fn save(&self, shared: &P::Broadcast, info: &TaskInfo) -> Result<Saved> {
        save_broadcast(shared, info)
    }

    fn restore(&self, shared: &mut P::Broadcast, lists: Vec<RestoredList>) -> Result<()> {
        restore_broadcast(shared, lists)
    }
}
