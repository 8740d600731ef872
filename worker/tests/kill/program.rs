//! The program that is killed: state of every kind, in integers, each into a sink of its own.
//!
//! Invariant: what it puts out depends on the input alone, not on threads, batches or restores; see
//! [`crate::input`] for what that rests on.

use std::path::Path;
use std::time::Duration;

use millstream_worker::connector::files::{FileSink, Files};
use millstream_worker::operator::aggregate::{Count, Sum};
use millstream_worker::operator::process::{Map, Process, ProcessContext, States, Timer, Value};
use millstream_worker::window::{Hop, Session};
use millstream_worker::{Job, Result, Stream, Timestamp, Watermarks};

use crate::input::DISORDER_MS;

/// Key, time in milliseconds, value.
type Record = (u64, u64, u64);

/// The sinks, each a folder below `out`.
pub(crate) const SINKS: [&str; 5] = ["scanned", "timed", "sessions", "hops", "joined"];

/// How much event time a timer sums up.
const SECOND_MS: i64 = 1000;
/// Records of both sides meet within this: a few partners each.
const JOIN_WITHIN: Duration = Duration::from_millis(50);

/// Builds the program. Arguments: `dir`, where `left`, `right` and `out` lie; `rate`, the records
/// per second that are read of each input.
pub(crate) fn killed(job: &mut Job) -> Result<()> {
    let dir = Path::new(job.args().get("dir")?).to_owned();
    let rate: f64 = job.args().parse("rate")?;
    let (left, right) = (read(job, &dir, "left", rate), read(job, &dir, "right", rate));
    let (left, right) = (left.key_by(|record| record.0), right.key_by(|record| record.0));
    let out = dir.join("out");

    // Depends on the order of a key's records: one missing, doubled or moved changes all behind it.
    left.scan("chain", 0, |chain: &mut u64, (key, at, value)| {
        *chain = chain.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7) ^ value ^ at;
        (key, at, *chain)
    })
    .sink("scanned", FileSink::json(out.join("scanned")));

    right.process("seconds", Seconds).sink("timed", FileSink::json(out.join("timed")));

    left.window(Session::gap(Duration::from_millis(1500)))
        .aggregate("sessions", |record| record.2, (Count, Sum))
        .sink("sessions-out", FileSink::json(out.join("sessions")));

    right
        .window(Hop::of(Duration::from_secs(3), Duration::from_secs(1)))
        .aggregate("hops", |record| record.2, (Count, Sum))
        .sink("hops-out", FileSink::json(out.join("hops")));

    left.join(&right)
        .within(JOIN_WITHIN)
        .inner("join", |key, l, r| (*key, l.1, l.2, r.1, r.2))
        .sink("joined", FileSink::json(out.join("joined")));
    Ok(())
}

fn read(job: &mut Job, dir: &Path, folder: &str, rate: f64) -> Stream<Record> {
    let path = dir.join(folder).display().to_string();
    job.source(folder, Files::json::<Record>(path).records_per_second(rate)).event_time(
        |record| Timestamp(record.1 as i64),
        Watermarks::bounded(Duration::from_millis(DISORDER_MS)),
    )
}

/// Sums per key and second of event time, put out by timers with the number of seconds so far:
/// that tells whether timers fired once each, and in order.
#[derive(Clone)]
struct Seconds;

/// Sums by the last millisecond of their second, and how many seconds were put out.
#[derive(Clone)]
struct SecondsState {
    sums: Map<i64, u64>,
    fired: Value<u64>,
}

/// Key, last millisecond of the second, sum, seconds so far.
type Second = (u64, i64, u64, u64);

impl Process<u64, Record> for Seconds {
    type Out = Second;
    type Side = ();
    type State = SecondsState;

    fn declare(&self, states: &mut States<u64>) -> SecondsState {
        SecondsState { sums: states.map("sums"), fired: states.value("fired") }
    }

    fn on_record(
        &self,
        state: &SecondsState,
        (_, _, value): Record,
        cx: &mut ProcessContext<'_, u64, Second>,
    ) -> Result<()> {
        let last = (cx.time().0 / SECOND_MS + 1) * SECOND_MS - 1;
        let mut sums = cx.map(&state.sums);
        let sum = sums.get(&last).copied().unwrap_or(0) + value;
        sums.insert(last, sum);
        cx.set_timer(Timestamp(last));
        Ok(())
    }

    fn on_timer(
        &self,
        state: &SecondsState,
        timer: Timer,
        cx: &mut ProcessContext<'_, u64, Second>,
    ) -> Result<()> {
        let sum = cx.map(&state.sums).remove(&timer.time.0).unwrap_or(0);
        let fired = cx.get_or_insert_with(&state.fired, || 0);
        *fired += 1;
        let fired = *fired;
        let key = *cx.key();
        cx.emit((key, timer.time.0, sum, fired))
    }
}
