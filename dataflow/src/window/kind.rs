//! The kinds of windows, as a program describes them, and which operator each becomes.

use std::time::Duration;

use millstream_protocol::plan::StateSchema;

use super::WindowedStream;
use super::count::Counted;
use super::fold::Fold;
use super::global::{Globals, Trigger};
use super::grid::Grid;
use super::session::Sessions;
use super::sliced::Sliced;
use super::slices::PerSlice;
use crate::data::{Data, Key};
use crate::state::{Migrations, Shape, StateTypes, schema_of};
use crate::stream::{Described, KeyedStream, Stream};
use crate::time::millis;

/// Windows of one size, one after the other: each record is in exactly one.
///
/// They are aligned to 1970-01-01T00:00:00Z, plus an offset if one is given.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling {
    size: Duration,
    offset: Duration,
}

impl Tumbling {
    /// Windows of this size, in whole milliseconds; at least 1 ms.
    pub fn of(size: Duration) -> Self {
        Self { size, offset: Duration::ZERO }
    }

    /// Moves all windows by so much: days that begin at 02:00 have an offset of two hours.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }
}

impl Tumbling {
    /// Size and offset in milliseconds.
    pub(crate) fn shape(self) -> (i64, i64) {
        (millis(self.size), millis(self.offset))
    }
}

/// Windows of one size that begin at every slide: each record is in `size / slide` of them.
///
/// They are aligned to 1970-01-01T00:00:00Z, plus an offset if one is given. What a record costs
/// does not grow with `size / slide`.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    size: Duration,
    slide: Duration,
    offset: Duration,
}

impl Hop {
    /// Windows of `size`, one at every `slide`, both in whole milliseconds and at least 1 ms.
    /// The slide is not larger than the size.
    pub fn of(size: Duration, slide: Duration) -> Self {
        Self { size, slide, offset: Duration::ZERO }
    }

    /// Moves all windows by so much.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }
}

impl Hop {
    /// Size, slide and offset in milliseconds.
    pub(crate) fn shape(self) -> (i64, i64, i64) {
        (millis(self.size), millis(self.slide), millis(self.offset))
    }
}

/// Windows of activity: records of a key that are less than a gap apart are in the same one.
///
/// A session begins with its first record and ends a gap behind its last.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    gap: Duration,
}

impl Session {
    /// Sessions that end after so long without a record, in whole milliseconds; at least 1 ms.
    pub fn gap(gap: Duration) -> Self {
        Self { gap }
    }
}

/// Windows of so many records of a key, in the order of their arrival.
///
/// Records that do not fill a window when the stream ends are not put out.
#[derive(Clone, Copy, Debug)]
pub struct CountWindow {
    size: u64,
    every: u64,
}

impl CountWindow {
    /// Windows of `records` records; each record is in one.
    pub fn of(records: u64) -> Self {
        Self { size: records, every: records }
    }

    /// A result at every so many records, over the last ones that make a window (fewer before the
    /// first is full). A result merges `size / gcd(size, every)` accumulators.
    #[must_use]
    pub fn every(self, records: u64) -> Self {
        Self { every: records, ..self }
    }
}

/// One window per key without bounds; a [`Trigger`] says when its result is put out.
#[derive(Clone, Copy, Debug)]
pub struct Global<G> {
    trigger: G,
}

impl<G> Global<G> {
    /// A window that this trigger fires.
    pub fn with(trigger: G) -> Self {
        Self { trigger }
    }
}

/// A kind of windows. Implemented by the kinds that there are, and not elsewhere.
pub trait WindowKind: Clone + 'static + sealed::Sealed {}

/// A kind of windows whose ends the watermark passes.
pub trait EventTimeWindow: WindowKind {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! kinds {
    ($($kind:ty),*) => {$(
        impl sealed::Sealed for $kind {}
        impl WindowKind for $kind {}
    )*};
}

kinds!(Tumbling, Hop, Session, CountWindow);
impl<G> sealed::Sealed for Global<G> {}
impl<G: Clone + 'static> WindowKind for Global<G> {}
impl EventTimeWindow for Tumbling {}
impl EventTimeWindow for Hop {}
impl EventTimeWindow for Session {}

/// Makes the operator of a kind.
pub trait Build<K, T>: WindowKind {
    /// Puts the operator behind the stream; named by its method and the user's id.
    #[track_caller]
    fn build<F, M>(
        windows: WindowedStream<K, T, Self, M>,
        named: (&'static str, &str),
        fold: F,
    ) -> Stream<F::Out>
    where
        F: Fold<K, T>,
        M: Migrations<F::Acc>;
}

fn described<S: Shape, A: Data>(
    (method, id): (&'static str, &str),
    migrations: &impl Migrations<A>,
) -> Described {
    let name = "windows";
    let schema = schema_of::<S::Entry<A>>();
    let state = StateSchema { name: name.into(), kind: "window".into(), schema };
    let mut types = StateTypes::from(vec![state]);
    migrations.list::<S>(name, &mut types.migrations);
    Described::keyed(id, method, types)
}

/// Notes what is wrong with an event-time window; whether it may be built at all.
#[track_caller]
pub(crate) fn check_event_time<K: Key, T: Data>(
    keyed: &KeyedStream<K, T>,
    id: &str,
    shape: &[(&str, i64)],
) {
    let stream = &keyed.stream;
    if !stream.graph.borrow().has_event_time(stream.node, stream.output) {
        stream.refuse(format!(
            "operator {id}: an event-time window needs event times: call event_time on the source"
        ));
    }
    for (name, _) in shape.iter().filter(|(_, ms)| *ms < 1) {
        stream.refuse(format!("operator {id}: the window's {name} is less than 1 ms"));
    }
}

#[track_caller]
fn build_sliced<K: Key, T: Data, W, F, M>(
    windows: &WindowedStream<K, T, W, M>,
    named: (&'static str, &str),
    grid: Grid,
    fold: F,
) -> Stream<F::Out>
where
    F: Fold<K, T>,
    M: Migrations<F::Acc>,
{
    let keys = windows.keyed.key.clone_box();
    let lateness_ms = windows.lateness_ms;
    let make =
        move |info: &_| Ok(Sliced::new(keys.clone_box(), fold.clone(), grid, lateness_ms, info));
    windows.keyed.then(described::<PerSlice<K>, F::Acc>(named, &windows.migrations), make)
}

impl<K: Key, T: Data> Build<K, T> for Tumbling {
    #[track_caller]
    fn build<F: Fold<K, T>, M: Migrations<F::Acc>>(
        windows: WindowedStream<K, T, Self, M>,
        named: (&'static str, &str),
        fold: F,
    ) -> Stream<F::Out> {
        let size = millis(windows.kind.size);
        check_event_time(&windows.keyed, named.1, &[("size", size)]);
        let size = size.max(1);
        let grid = Grid::new(size, size, millis(windows.kind.offset));
        build_sliced(&windows, named, grid, fold)
    }
}

impl<K: Key, T: Data> Build<K, T> for Hop {
    #[track_caller]
    fn build<F: Fold<K, T>, M: Migrations<F::Acc>>(
        windows: WindowedStream<K, T, Self, M>,
        named: (&'static str, &str),
        fold: F,
    ) -> Stream<F::Out> {
        let Hop { size, slide, offset } = windows.kind;
        let (size, slide) = (millis(size), millis(slide));
        check_event_time(&windows.keyed, named.1, &[("size", size), ("slide", slide)]);
        if slide > size {
            windows.keyed.stream.refuse(format!(
                "operator {}: the window's slide of {slide} ms is larger than its size of {size} \
                 ms, and would leave records out: filter them, or take a slide up to the size",
                named.1
            ));
        }
        let size = size.max(1);
        let grid = Grid::new(size, slide.clamp(1, size), millis(offset));
        build_sliced(&windows, named, grid, fold)
    }
}

impl<K: Key, T: Data> Build<K, T> for Session {
    #[track_caller]
    fn build<F: Fold<K, T>, M: Migrations<F::Acc>>(
        windows: WindowedStream<K, T, Self, M>,
        named: (&'static str, &str),
        fold: F,
    ) -> Stream<F::Out> {
        let gap = millis(windows.kind.gap);
        check_event_time(&windows.keyed, named.1, &[("gap", gap)]);
        let keys = windows.keyed.key.clone_box();
        let times = (gap.max(1), windows.lateness_ms);
        let make = move |info: &_| Ok(Sessions::new(keys.clone_box(), fold.clone(), times, info));
        windows
            .keyed
            .then(described::<super::session::PerKey<K>, F::Acc>(named, &windows.migrations), make)
    }
}

impl<K: Key, T: Data> Build<K, T> for CountWindow {
    #[track_caller]
    fn build<F: Fold<K, T>, M: Migrations<F::Acc>>(
        windows: WindowedStream<K, T, Self, M>,
        named: (&'static str, &str),
        fold: F,
    ) -> Stream<F::Out> {
        let CountWindow { size, every } = windows.kind;
        if size == 0 || every == 0 || every > size {
            windows.keyed.stream.refuse(format!(
                "operator {}: a count window of {size} records at every {every}: both are at \
                 least 1, and the second is not larger than the first",
                named.1
            ));
        }
        let size = size.max(1);
        let keys = windows.keyed.key.clone_box();
        let shape = (size, every.clamp(1, size));
        let make = move |_: &_| Ok(Counted::new(keys.clone_box(), fold.clone(), shape));
        windows
            .keyed
            .then(described::<super::count::PerKey<K>, F::Acc>(named, &windows.migrations), make)
    }
}

impl<K: Key, T: Data, G: Trigger<T>> Build<K, T> for Global<G> {
    #[track_caller]
    fn build<F: Fold<K, T>, M: Migrations<F::Acc>>(
        windows: WindowedStream<K, T, Self, M>,
        named: (&'static str, &str),
        fold: F,
    ) -> Stream<F::Out> {
        let keys = windows.keyed.key.clone_box();
        let trigger = windows.kind.trigger;
        let make = move |_: &_| Ok(Globals::new(keys.clone_box(), fold.clone(), trigger.clone()));
        windows.keyed.then(
            described::<super::global::PerKey<K, G::State>, F::Acc>(named, &windows.migrations),
            make,
        )
    }
}
