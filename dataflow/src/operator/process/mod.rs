//! Process functions: users' own code over records, keyed state and timers.
//!
//! A user writes a [`Process`], or a closure for [`KeyedStream::process_fn`]; [`run`] makes an
//! operator of it. Without a key there is [`TaskProcess`]; with a stream of rules beside the
//! records, [`BroadcastProcess`].

mod broadcast;
mod closure;
mod context;
mod declare;
mod handles;
mod run;
mod store;
mod unkeyed;

pub use broadcast::BroadcastProcess;
pub use context::{ProcessContext, Timer};
pub use declare::{List, Map, States, Value};
pub use handles::{ListRef, MapRef};
pub use unkeyed::{TaskContext, TaskProcess};

use run::Handlers;

use crate::data::{Data, Key};
use crate::error::Result;
use crate::state::{TimerKind, Ttl};
use crate::stream::{Described, KeyedStream, Stream};

/// A user's code over the records of a keyed stream, with state and timers per key.
///
/// Each task gets a clone of it. Its fields are for what it is told when the program is built: what
/// it is to remember goes into states that it declares, since nothing else is in snapshots.
///
/// # Guarantees
/// Calls for one key never overlap, on any thread. State and timers are part of every snapshot;
/// after a restore the calls since then are made again, so what matters must be in them.
///
/// # Errors
/// An error or a panic fails the job, which restarts from its snapshot. The message names operator
/// and key.
///
/// ```
/// # use millstream_dataflow::{operator::process::*, Result};
/// #[derive(Clone)]
/// struct Changes;
///
/// impl Process<u32, (u32, i64)> for Changes {
///     type Out = i64;
///     type Side = ();
///     type State = Value<i64>;
///
///     fn declare(&self, states: &mut States<u32>) -> Value<i64> {
///         states.value("last")
///     }
///
///     fn on_record(
///         &self,
///         last: &Value<i64>,
///         (_, value): (u32, i64),
///         cx: &mut ProcessContext<'_, u32, i64>,
///     ) -> Result<()> {
///         let before = cx.get(last).copied().unwrap_or(0);
///         cx.set(last, value);
///         cx.emit(value - before)
///     }
/// }
/// ```
pub trait Process<K: Key, T: Data>: Clone + Send + 'static {
    /// What it puts out.
    type Out: Data;
    /// What it puts out at its side output; `()` if it has none.
    type Side: Data;
    /// Its states: a handle, or a struct or tuple of them.
    type State: Clone + Send + 'static;

    /// Declares the states. Called once, when the graph is built.
    fn declare(&self, states: &mut States<K>) -> Self::State;

    /// A record arrived.
    fn on_record(
        &self,
        state: &Self::State,
        record: T,
        cx: &mut ProcessContext<'_, K, Self::Out, Self::Side>,
    ) -> Result<()>;

    /// A timer of this key is due.
    fn on_timer(
        &self,
        state: &Self::State,
        timer: Timer,
        cx: &mut ProcessContext<'_, K, Self::Out, Self::Side>,
    ) -> Result<()> {
        let _ = (state, timer, cx);
        Ok(())
    }
}

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Runs a user's [`Process`] on each record.
    #[track_caller]
    pub fn process<P: Process<K, T>>(&self, id: &str, process: P) -> Stream<P::Out> {
        let mut states = States::default();
        let state = process.declare(&mut states);
        self.processed(id, "process", states, Plain { process, state })
    }

    /// Runs a user's [`Process`] on each record; the second stream is its side output.
    ///
    /// ```
    /// # use millstream_dataflow::{operator::process::*, testing::{Element, Harness}};
    /// # use millstream_dataflow::{Result, Timestamp};
    /// # use std::time::Duration;
    /// /// Lets orders through; aside, when so much time has passed since each.
    /// #[derive(Clone)]
    /// struct Remind(Duration);
    ///
    /// impl Process<u32, u32> for Remind {
    ///     type Out = u32;
    ///     type Side = Timestamp;
    ///     type State = ();
    ///
    ///     fn declare(&self, _: &mut States<u32>) {}
    ///
    ///     fn on_record(
    ///         &self,
    ///         (): &(),
    ///         order: u32,
    ///         cx: &mut ProcessContext<'_, u32, u32, Timestamp>,
    ///     ) -> Result<()> {
    ///         cx.set_timer(cx.time() + self.0);
    ///         cx.emit(order)
    ///     }
    ///
    ///     fn on_timer(
    ///         &self,
    ///         (): &(),
    ///         timer: Timer,
    ///         cx: &mut ProcessContext<'_, u32, u32, Timestamp>,
    ///     ) -> Result<()> {
    ///         cx.emit_side(timer.time)
    ///     }
    /// }
    ///
    /// # let order = Element::Record(7, Timestamp::from_millis(500));
    /// # let side = Harness::new().run(vec![order], |orders, _| {
    /// let remind = Remind(Duration::from_secs(2));
    /// let (orders, due) = orders.key_by(|order| *order).process_with_side("remind", remind);
    /// # let _ = orders;
    /// # due
    /// # });
    /// # let due = Timestamp::from_millis(2500);
    /// # assert_eq!(side.unwrap(), [(due, due)]);
    /// ```
    #[track_caller]
    pub fn process_with_side<P: Process<K, T>>(
        &self,
        id: &str,
        process: P,
    ) -> (Stream<P::Out>, Stream<P::Side>) {
        let out = self.process(id, process);
        let side = out.side();
        (out, side)
    }

    #[track_caller]
    fn processed<H: Handlers<K, T>>(
        &self,
        id: &str,
        method: &'static str,
        states: States<K>,
        handlers: H,
    ) -> Stream<H::Out> {
        let (types, make) = self.operator(id, states, handlers);
        self.then(Described::keyed(id, method, types), make)
    }
}

/// A [`Process`] with its states, as the operator calls it.
#[derive(Clone)]
struct Plain<P, S> {
    process: P,
    state: S,
}

impl<K: Key, T: Data, P: Process<K, T>> Handlers<K, T> for Plain<P, P::State> {
    type Out = P::Out;
    type Side = P::Side;
    type Shared = ();
    type Right = ();

    fn on_record(
        &self,
        (): &(),
        record: T,
        cx: &mut ProcessContext<'_, K, P::Out, P::Side>,
    ) -> Result<()> {
        self.process.on_record(&self.state, record, cx)
    }

    fn on_timer(
        &self,
        (): &(),
        timer: Timer,
        cx: &mut ProcessContext<'_, K, P::Out, P::Side>,
    ) -> Result<()> {
        self.process.on_timer(&self.state, timer, cx)
    }

    fn on_right(&self, (): &mut (), (): ()) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
