//! Joins of two keyed streams: by window, and by an interval of time.
//!
//! A program starts at [`KeyedStream::join`]. Both joins keep their records in buffers by slices of
//! time, see `buffer.rs`, and run as operators of two inputs on a stage of `task`.

mod bounds;
mod buffer;
mod chains;
mod chunk;
mod combine;
mod interval;
mod kind;
mod log;
mod partners;
mod reached;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod script;
mod window;
mod window_fire;

use std::time::Duration;

use bounds::Bounds;
pub use bounds::Offset;
pub use kind::JoinWindow;

use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::{Error, Result};
use crate::operator::TwoInputs;
use crate::stream::{Described, KeyedStream, Stream};
use crate::task::TaskInfo;
use crate::window::check_event_time;

impl<K: Key, L: Data> KeyedStream<K, L> {
    /// Joins this stream with another that is keyed by the same type: say next which records meet,
    /// by [`Joined::window`], [`Joined::between`] or [`Joined::within`]. Both need event times.
    pub fn join<R: Data>(&self, right: &KeyedStream<K, R>) -> Joined<K, L, R> {
        Joined { left: self.clone(), right: right.clone() }
    }
}

/// Two keyed streams that are about to be joined.
pub struct Joined<K, L, R> {
    left: KeyedStream<K, L>,
    right: KeyedStream<K, R>,
}

impl<K: Key, L: Data, R: Data> Clone for Joined<K, L, R> {
    fn clone(&self) -> Self {
        Self { left: self.left.clone(), right: self.right.clone() }
    }
}

impl<K: Key, L: Data, R: Data> Joined<K, L, R> {
    /// Records meet when they lie in the same window.
    pub fn window(&self, window: impl Into<JoinWindow>) -> WindowedJoin<K, L, R> {
        WindowedJoin { joined: self.clone(), window: window.into() }
    }

    /// Records meet when the right one's time lies between these two, seen from the left one's.
    /// Both ends count.
    #[track_caller]
    pub fn between(&self, lower: Offset, upper: Offset) -> IntervalJoin<K, L, R> {
        let bounds = Bounds { lower: lower.millis(), upper: upper.millis() };
        if bounds.lower > bounds.upper {
            self.left.stream.refuse(format!(
                "a join between {lower:?} and {upper:?}: \
                 the first must not be later than the second"
            ));
        }
        IntervalJoin { joined: self.clone(), bounds }
    }

    /// Records meet when their times lie no further apart than this.
    #[track_caller]
    pub fn within(&self, distance: Duration) -> IntervalJoin<K, L, R> {
        self.between(Offset::Before(distance), Offset::After(distance))
    }

    /// Notes what is wrong with a join that needs these times, in milliseconds, to be at least 1.
    #[track_caller]
    fn check(&self, id: &str, shape: &[(&str, i64)]) {
        check_event_time(&self.left, id, shape);
        check_event_time(&self.right, id, &[]);
    }

    #[track_caller]
    fn put<P>(
        &self,
        described: Described,
        make: impl Fn(&TaskInfo) -> Result<P> + 'static,
    ) -> Stream<P::Out>
    where
        P: TwoInputs<In = L, Right = R>,
        P::Out: Data,
        P::Side: Data,
    {
        let inputs = vec![self.left.input(0), self.right.input(1)];
        let joined = self.left.stream.then_two(inputs, described, make);
        self.left.stream.graph.borrow_mut().holding.push(joined.node);
        joined
    }
}

/// A join of records that lie in the same window.
pub struct WindowedJoin<K, L, R> {
    joined: Joined<K, L, R>,
    window: JoinWindow,
}

/// A join of records that lie within an interval of time.
pub struct IntervalJoin<K, L, R> {
    joined: Joined<K, L, R>,
    bounds: Bounds,
}

/// An error where records have no event times: the program was checked, but one of several sources
/// may lack them.
fn check_timed<T>(batch: &Batch<T>) -> Result<()> {
    if batch.times.len() == batch.len() {
        return Ok(());
    }
    Err(Error::invalid(
        "records without event times reached a join: \
         give every source in front of it an event_time",
    ))
}
