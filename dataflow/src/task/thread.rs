//! The run loop of an engine thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use super::probe::Work;
use super::{Doorbell, Step, Task, TaskEvent, TaskInfo, Turn};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::snapshot::{Encoder, Restore};
use crate::time::Timestamp;

/// The longest a thread sleeps: a lost wake-up would cost this much and no more.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What a thread is told.
pub(crate) enum Command {
    /// Restore is over everywhere: begin.
    Start,
    /// For all tasks of the thread.
    Event(TaskEvent),
}

/// What a thread says.
pub(crate) enum Report {
    /// Its tasks have restored.
    Ready,
    /// All its tasks have ended.
    Ended,
    /// A sink asks for a snapshot before the next is due. Said once between two barriers.
    SnapshotWanted,
    /// A task failed; the thread has stopped.
    Failed(Error),
}

/// A task with what the loop keeps of it.
pub(crate) struct Running {
    pub(crate) task: Box<dyn Task>,
    pub(crate) info: TaskInfo,
    /// Since when a barrier is on its way, in nanoseconds.
    aligning: Option<u64>,
    /// Up to when its time is accounted for while it waits for room, in nanoseconds; none while it
    /// does not.
    blocked: Option<u64>,
}

impl Running {
    pub(crate) fn new(task: Box<dyn Task>, info: TaskInfo) -> Self {
        Self { task, info, aligning: None, blocked: None }
    }

    /// Notes how a step that took so long went. One that finds no room downstream waits for it from
    /// there to its next step, whether its thread sleeps or has others to run.
    fn note_time(&mut self, turn: Turn, began_ns: u64, ended_ns: u64) {
        let counters = &self.info.counters;
        let spent_ns = ended_ns.saturating_sub(began_ns);
        let since = self.blocked.take();
        let waited_until = if turn.blocked && !turn.moved { ended_ns } else { began_ns };
        let waited_ns = waited_until.saturating_sub(since.unwrap_or(began_ns));
        if waited_ns > 0 {
            super::count(&counters.blocked_ns, waited_ns);
        }
        if turn.moved {
            super::count(&counters.busy_ns, spent_ns);
        }
        self.blocked = turn.blocked.then_some(ended_ns);
        if spent_ns > counters.longest_step_ns.load(Ordering::Relaxed) {
            counters.longest_step_ns.store(spent_ns, Ordering::Relaxed);
        }
    }

    /// Notes how long a barrier that was on its way took to pass.
    fn note_barrier(&mut self, is_due: bool, now_ns: u64) {
        match self.aligning {
            None if is_due => self.aligning = Some(now_ns),
            Some(since) if !is_due => {
                super::count(&self.info.counters.aligning_ns, now_ns.saturating_sub(since));
                self.aligning = None;
            }
            _ => {}
        }
    }
}

/// An engine thread.
pub(crate) struct Loop {
    pub(crate) tasks: Vec<Running>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) doorbell: Doorbell,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) encoder: Encoder,
    /// Set by anyone who wants the thread gone.
    pub(crate) stop: Arc<AtomicBool>,
}

enum Flow {
    Go,
    /// As `Go`; there were commands.
    Told,
    Stop,
}

/// What came of stepping every task once.
struct Round {
    moved: bool,
    /// When the first wants to be stepped again.
    wake_at: Timestamp,
    /// A sink asks for a snapshot.
    wanted: bool,
}

impl Loop {
    /// Runs until stopped, or until a task fails.
    pub(crate) fn run(mut self, restore: &Restore, report: &dyn Fn(Report)) {
        self.doorbell.belongs_here();
        let mut step = Step::new(self.encoder.clone());
        if let Err(error) = self.try_run(&mut step, restore, report) {
            report(Report::Failed(error));
        }
        step.meter.spent(Work::Thread, 0);
    }

    fn try_run(
        &mut self,
        step: &mut Step,
        restore: &Restore,
        report: &dyn Fn(Report),
    ) -> Result<()> {
        for running in &mut self.tasks {
            let Running { task, info, .. } = &mut *running;
            guarded(step, info, |_| task.restore(restore))?;
        }
        report(Report::Ready);
        match self.commands.recv() {
            Ok(Command::Start) => {}
            Ok(Command::Event(_)) => {
                return Err(Error::bug("a thread was sent events before start"));
            }
            Err(_) => return Ok(()),
        }
        let (mut said_ended, mut said_wanted) = (false, false);
        while !self.stop.load(Ordering::Relaxed) {
            self.doorbell.clear();
            match self.take_commands(step)? {
                Flow::Go => {}
                // A barrier is what was asked for; one that was given up is to be asked for again.
                Flow::Told => said_wanted = false,
                Flow::Stop => return Ok(()),
            }
            let Round { moved, wake_at, wanted } = self.round(step)?;
            if wanted && !said_wanted {
                said_wanted = true;
                report(Report::SnapshotWanted);
            }
            if !said_ended && self.tasks.iter().all(|running| running.task.has_ended()) {
                said_ended = true;
                report(Report::Ended);
            }
            if !moved {
                self.sleep(wake_at);
            }
        }
        Ok(())
    }

    fn take_commands(&mut self, step: &mut Step) -> Result<Flow> {
        let mut flow = Flow::Go;
        loop {
            match self.commands.try_recv() {
                Ok(Command::Event(event)) => {
                    flow = Flow::Told;
                    for running in &mut self.tasks {
                        step.begin(self.clock.now());
                        let Running { task, info, .. } = &mut *running;
                        guarded(step, info, |step| task.on_event(step, event))?;
                        step.meter.lap();
                    }
                }
                Ok(Command::Start) => return Err(Error::bug("a thread was started twice")),
                Err(TryRecvError::Empty) => return Ok(flow),
                Err(TryRecvError::Disconnected) => return Ok(Flow::Stop),
            }
        }
    }

    /// Steps every task once.
    fn round(&mut self, step: &mut Step) -> Result<Round> {
        let mut round = Round { moved: false, wake_at: Timestamp::MAX, wanted: false };
        for running in &mut self.tasks {
            let began = self.clock.monotonic_ns();
            step.begin(self.clock.now());
            let Running { task, info, .. } = &mut *running;
            let turn = guarded(step, info, |step| task.step(step))?;
            step.meter.lap();
            round.moved |= turn.moved;
            round.wake_at = round.wake_at.min(turn.wake_at);
            round.wanted |= step.snapshot_wanted;
            let ended = self.clock.monotonic_ns();
            running.note_time(turn, began, ended);
            running.note_barrier(step.barrier_due, ended);
        }
        Ok(round)
    }

    fn sleep(&self, wake_at: Timestamp) {
        let until = wake_at.0.saturating_sub(self.clock.now().0);
        let until = Duration::from_millis(until.max(0) as u64);
        self.doorbell.wait(until.min(SLEEP_MAX));
    }
}

/// Runs a task's code; a panic in it becomes an error. Either names the operator that was running,
/// or the head of the task where none was: a source, whose reader and key functions are users' code
/// too.
fn guarded<R>(
    step: &mut Step,
    info: &TaskInfo,
    call: impl FnOnce(&mut Step) -> Result<R>,
) -> Result<R> {
    match catch_unwind(AssertUnwindSafe(|| call(step))) {
        Ok(result) => result.map_err(|error| error.in_operator(&info.operator)),
        Err(panic) => {
            let operator = step.operator.take().unwrap_or_else(|| info.operator.clone());
            // State that cannot read what is outside of memory unwinds with an error of its own.
            let error = match panic.downcast::<Error>() {
                Ok(error) => *error,
                Err(panic) => Error::user(format!("panicked: {}", message_of(&*panic))),
            };
            Err(error.in_operator(&operator))
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::TaskIndex;
    use millstream_protocol::key_group::KeyGroups;

    use super::*;

    /// Never asked.
    struct Nothing;

    impl Task for Nothing {
        fn step(&mut self, step: &mut Step) -> Result<Turn> {
            Ok(Turn::of(step, false))
        }

        fn on_event(&mut self, _: &mut Step, _: TaskEvent) -> Result<()> {
            Ok(())
        }

        fn restore(&mut self, _: &Restore) -> Result<()> {
            Ok(())
        }

        fn has_ended(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_task_waits_for_room_from_the_step_that_finds_none_to_the_one_that_finds_some() {
        let info = TaskInfo {
            operator: "numbers".into(),
            task: TaskIndex(0),
            parallelism: 1,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        };
        let counters = info.counters.clone();
        let mut running = Running::new(Box::new(Nothing), info);
        let mut step = |moved, blocked, began, ended| {
            let turn = Turn { moved, blocked, wake_at: Timestamp::MAX };
            running.note_time(turn, began, ended);
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            (of(&counters.busy_ns), of(&counters.blocked_ns))
        };
        assert_eq!(step(true, false, 0, 10), (10, 0));
        assert_eq!(step(false, false, 50, 60), (10, 0), "it waits for input");
        assert_eq!(step(true, true, 100, 110), (20, 0), "it worked until there was no room");
        assert_eq!(step(false, true, 210, 215), (20, 105), "others ran, or the thread slept");
        assert_eq!(step(false, true, 300, 301), (20, 191));
        assert_eq!(step(true, true, 400, 405), (25, 290), "there was room for a little");
        assert_eq!(step(true, false, 500, 510), (35, 385));
        assert_eq!(step(false, false, 900, 910), (35, 385));
    }
}
