//! [`Rates`]: what the tasks of a worker have done, how far they are behind, and what holds them.
//!
//! Read off the tasks' counters by [`crate::host`], handed to the coordinator twice a second.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_dataflow::{Counters, SplitSeen, TaskInfo, Timestamp};
use millstream_protocol::flow::{Clock, Flow, Holder, Lag, Load, Permille, SplitLag};
use millstream_protocol::id::{OperatorId, Run};
use millstream_protocol::plan::{Plan, Role};
use millstream_protocol::session::Rates;

/// What became of tasks' time is looked at over so long: some barriers and bursts are within.
const LOAD_OVER: Duration = Duration::from_secs(5);

/// Sums up the counters of the tasks.
pub(crate) fn rates(run: Run, plan: &Plan, tasks: &[TaskInfo], now: Timestamp) -> Rates {
    let mut rates = Rates { run, store_trouble: store_trouble(), ..Rates::default() };
    for task in tasks {
        let counters = &task.counters;
        let role = plan.operator(&(&*task.operator).into()).map(|operator| operator.role);
        match role {
            Some(Role::Source) => {
                rates.records_in += counters.records_out.load(Ordering::Relaxed);
                let flow = of_source(&(&*task.operator).into(), counters, now);
                rates.flow = std::mem::take(&mut rates.flow).and(flow);
            }
            Some(Role::Sink(_)) => {
                let records = counters.records_in.load(Ordering::Relaxed);
                rates.records_out += records;
                *rates.sinks.entry((&*task.operator).into()).or_default() += records;
            }
            Some(Role::Operator) | None => {}
        }
        let late = counters.late.load(Ordering::Relaxed);
        if late > 0 {
            *rates.late.entry((&*task.operator).into()).or_default() += late;
        }
        rates.records_failed += counters.failed.load(Ordering::Relaxed);
    }
    rates
}

/// What keeps a bucket from answering this process. A directory is not asked again.
#[cfg(feature = "s3")]
fn store_trouble() -> Option<String> {
    millstream_s3::trouble()
}

#[cfg(not(feature = "s3"))]
fn store_trouble() -> Option<String> {
    None
}

/// How far a source's task is behind, and how far its event time has come.
fn of_source(source: &OperatorId, counters: &Counters, now: Timestamp) -> Flow {
    let mut flow = Flow { clock: clock(counters), ..Flow::default() };
    let is_timed = counters.timed.load(Ordering::Relaxed);
    counters.each_split(|split| {
        let lag = Lag::of(behind(source, split, now));
        flow.lag = std::mem::take(&mut flow.lag).and(lag);
        if is_timed && split.watermark < Timestamp::MAX {
            let watermark = Some(split.watermark.0).filter(|it| *it > i64::MIN);
            let holder = Holder { watermark, source: source.clone(), split: split.id.to_string() };
            let held = Clock { holder: Some(holder), ..Clock::default() };
            flow.clock = std::mem::take(&mut flow.clock).and(held);
        }
    });
    flow
}

fn clock(counters: &Counters) -> Clock {
    let mut clock = Clock::default();
    if !counters.timed.load(Ordering::Relaxed) {
        return clock;
    }
    let watermark = counters.watermark.load(Ordering::Relaxed);
    let known = Some(watermark).filter(|it| *it > i64::MIN);
    match () {
        () if watermark == i64::MAX => clock.has_ended = true,
        () if counters.idle.load(Ordering::Relaxed) => {
            (clock.has_idle, clock.idle) = (true, known);
        }
        () => (clock.lowest, clock.waits) = (known, known.is_none()),
    }
    clock
}

fn behind(source: &OperatorId, split: SplitSeen<'_>, now: Timestamp) -> SplitLag {
    let is_quiet = split.watermark == Timestamp::MAX;
    let age = now.0.saturating_sub(split.newest.0).max(0).unsigned_abs();
    let is_known = !is_quiet && split.newest > Timestamp::MIN;
    SplitLag {
        source: source.clone(),
        split: split.id.to_string(),
        records: split.waiting,
        delay: is_known.then_some(Duration::from_millis(age)),
        is_quiet,
    }
}

/// What became of the tasks' time, look by look.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// The look that the next shares are counted from, in the clock's nanoseconds, with the time
    /// that each task had been busy and blocked.
    from: Option<(u64, Vec<(u64, u64)>)>,
    last: BTreeMap<OperatorId, Load>,
}

impl Loads {
    /// Looks at the tasks; says what became of their time over the last few seconds.
    pub(crate) fn look(&mut self, tasks: &[TaskInfo], now_ns: u64) -> BTreeMap<OperatorId, Load> {
        let since = self.from.as_ref().map(|(since, _)| now_ns.saturating_sub(*since));
        if since.is_some_and(|since| since < LOAD_OVER.as_nanos() as u64) {
            return self.last.clone();
        }
        let spent = |task: &TaskInfo| {
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            (of(&task.counters.busy_ns), of(&task.counters.blocked_ns))
        };
        let spent: Vec<(u64, u64)> = tasks.iter().map(spent).collect();
        if let Some((since, (_, before))) = since.zip(self.from.as_ref()) {
            self.last = shares(tasks, &spent, before, since);
        }
        self.from = Some((now_ns, spent));
        self.last.clone()
    }
}

fn shares(
    tasks: &[TaskInfo],
    spent: &[(u64, u64)],
    before: &[(u64, u64)],
    since_ns: u64,
) -> BTreeMap<OperatorId, Load> {
    let permille = |from: u64, to: u64| -> Permille {
        let share = u128::from(to.saturating_sub(from)) * 1000 / u128::from(since_ns.max(1));
        share.min(1000) as Permille
    };
    let mut shares = BTreeMap::<OperatorId, Load>::new();
    for (task, (now, before)) in tasks.iter().zip(spent.iter().zip(before)) {
        let load = Load { busy: permille(before.0, now.0), blocked: permille(before.1, now.1) };
        if load != Load::default() {
            let both = shares.entry((&*task.operator).into()).or_default();
            *both = both.and(load);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millstream_protocol::id::TaskIndex;
    use millstream_protocol::key_group::KeyGroups;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn task(operator: &str, task: u32) -> TaskInfo {
        TaskInfo {
            operator: operator.into(),
            task: TaskIndex(task),
            parallelism: 2,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        }
    }

    fn source(watermark: i64, idle: bool) -> Counters {
        let counters = Counters::default();
        counters.timed.store(true, Ordering::Relaxed);
        counters.idle.store(idle, Ordering::Relaxed);
        counters.watermark.store(watermark, Ordering::Relaxed);
        counters
    }

    #[test]
    fn a_task_holds_a_watermark_or_waits_or_is_idle_or_has_ended() {
        let of = |watermark, idle| clock(&source(watermark, idle));
        assert_eq!(of(70, false).watermark(), Some(70));
        assert!(of(i64::MIN, false).waits);
        assert!(of(i64::MIN, true).is_idle() && of(70, true).idle == Some(70));
        assert_eq!(of(i64::MAX, false).watermark(), Some(i64::MAX));
        assert_eq!(clock(&Counters::default()), Clock::default(), "it has no event time");
    }

    #[test]
    fn a_split_is_as_old_as_the_newest_record_that_was_read_of_it() {
        let id: Arc<str> = "orders-3".into();
        let split = |watermark, newest| {
            let (watermark, newest) = (Timestamp(watermark), Timestamp(newest));
            behind(&"in".into(), SplitSeen { id: &id, watermark, newest, waiting: Some(9) }, NOW)
        };
        let late = split(NOW.0 - 8000, NOW.0 - 3000);
        assert_eq!((late.delay, late.records), (Some(Duration::from_secs(3)), Some(9)));
        assert_eq!(split(i64::MIN, i64::MIN).delay, None);
        let quiet = split(i64::MAX, NOW.0 - 3000);
        assert!(quiet.is_quiet && quiet.delay.is_none());
    }

    #[test]
    fn shares_are_of_the_last_seconds_and_of_the_task_that_has_most() {
        let tasks = [task("orders", 0), task("orders", 1), task("sums", 0)];
        let mut loads = Loads::default();
        let spend = |task: &TaskInfo, busy_ms: u64, blocked_ms: u64| {
            task.counters.busy_ns.fetch_add(busy_ms * 1_000_000, Ordering::Relaxed);
            task.counters.blocked_ns.fetch_add(blocked_ms * 1_000_000, Ordering::Relaxed);
        };
        spend(&tasks[0], 7, 7);
        let second = 1_000_000_000;
        assert!(loads.look(&tasks, second).is_empty());
        spend(&tasks[0], 500, 4000);
        spend(&tasks[1], 1000, 0);
        assert!(loads.look(&tasks, 5 * second).is_empty(), "that is too short");
        let seen = loads.look(&tasks, 6 * second);
        assert_eq!(seen[&"orders".into()], Load { busy: 200, blocked: 800 });
        assert_eq!(seen.len(), 1, "the other one did nothing");
        assert_eq!(loads.look(&tasks, 8 * second), seen);
        assert!(loads.look(&tasks, 12 * second).is_empty(), "nobody did anything since");
    }
}
