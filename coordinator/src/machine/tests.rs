//! The machine, state by state: what it answers to what matters there.

use std::collections::VecDeque;
use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, Run, Seq};
use millstream_protocol::log::Entry;
use millstream_protocol::session::AppendOutcome;
use millstream_protocol::wish::Wish;

use super::*;
mod drains;
mod edits;
mod table;
mod takeovers;

pub(crate) use table::state_name;

use crate::config::Config;
use crate::edit::Edit;
use crate::status::Phase;
use crate::testing::chance::Chance;
use crate::testing::entries::claim;
use crate::testing::host;
use crate::testing::outside::Outside;
use crate::testing::worker::{Body, FakeWorker};

const W0: WorkerIndex = WorkerIndex(0);

/// A machine with model workers, which answer one command at a time.
struct Rig {
    machine: Machine,
    workers: Vec<FakeWorker>,
    outside: Outside,
    now: Timestamp,
    commands: VecDeque<(WorkerIndex, Command)>,
    exit: Option<Outcome>,
    /// Whose sessions it has ended.
    dismissed: Vec<WorkerIndex>,
}

impl Rig {
    /// Not yet attached.
    fn new(workers: u32, wish: Option<Wish>, outside: Outside) -> Self {
        let seed = outside.log().len() as u64 + 1;
        Self {
            machine: Machine::new(host::config(workers, seed, wish)),
            workers: (0..workers).map(|w| FakeWorker::new(WorkerIndex(w), seed)).collect(),
            outside,
            now: Timestamp(1000),
            commands: VecDeque::new(),
            exit: None,
            dismissed: Vec::new(),
        }
    }

    fn attached(workers: u32) -> Self {
        let mut rig = Self::new(workers, None, Outside::default());
        rig.attach();
        rig
    }

    fn attach(&mut self) {
        for worker in 0..self.workers.len() as u32 {
            self.feed(Event::Attached(WorkerIndex(worker)));
        }
    }

    /// Up to the start of the tasks.
    fn running(workers: u32) -> Self {
        let mut rig = Self::attached(workers);
        rig.settle();
        assert_eq!(rig.phase(), Phase::Running);
        rig
    }

    /// Running, and a snapshot is due; each worker has a record that waits for it.
    fn at_barrier(workers: u32) -> Self {
        let mut rig = Self::running(workers);
        for worker in &mut rig.workers {
            worker.emit();
        }
        rig.feed(Event::Snapshot);
        rig
    }

    fn feed(&mut self, event: Event) {
        for action in self.machine.on(&event, self.now) {
            match action {
                Action::Send(worker, command) => self.commands.push_back((worker, command)),
                Action::Dismiss(worker) => self.dismissed.push(worker),
                Action::Status(_) => {}
                Action::Exit(outcome) => self.exit = Some(outcome),
            }
        }
    }

    fn report(&mut self, report: Report) {
        self.feed(Event::Report(W0, report));
    }

    fn later(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        self.feed(Event::Tick);
    }

    /// Waits until the machine wants to be woken.
    fn wake(&mut self) {
        self.now = self.machine.wake_at().expect("it waits for a time").max(self.now);
        self.feed(Event::Tick);
    }

    /// Lets the workers carry out what comes before the first command that `is` it, which is taken
    /// out and not carried out.
    fn until(&mut self, is: impl Fn(&Command) -> bool) -> (WorkerIndex, Command) {
        loop {
            let (worker, command) = self.commands.pop_front().expect("the command is to come");
            if is(&command) {
                return (worker, command);
            }
            self.carry_out(worker, command);
        }
    }

    fn carry_out(&mut self, worker: WorkerIndex, command: Command) {
        let fake = &mut self.workers[worker.0 as usize];
        for report in fake.on(command, &mut self.outside, &mut Chance::new(1, false)) {
            self.feed(Event::Report(worker, report));
        }
    }

    /// Lets the workers carry out everything.
    fn settle(&mut self) {
        while let Some((worker, command)) = self.commands.pop_front() {
            self.carry_out(worker, command);
        }
    }

    fn append(&mut self) -> (Seq, Entry, Command) {
        let (_, command) = self.until(|command| matches!(command, Command::Append { .. }));
        let Command::Append { seq, text, .. } = &command else { unreachable!() };
        (*seq, Entry::parse(text, &host::prefix(), *seq).unwrap(), command)
    }

    fn appended(&mut self, command: &Command, outcome: AppendOutcome) {
        let Command::Append { seq, nonce, .. } = command else { panic!("not an append") };
        self.report(Report::Appended { seq: *seq, nonce: nonce.clone(), outcome });
    }

    fn names(&self) -> Vec<String> {
        let name = |(_, command): &(WorkerIndex, Command)| {
            let text = format!("{command:?}");
            text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
        };
        self.commands.iter().map(name).collect()
    }

    fn phase(&self) -> Phase {
        self.machine.status().phase
    }

    fn task_fails(&mut self, run: Run, kind: ErrorKind) {
        let failure = Failure::new(kind, "no luck");
        self.report(Report::TaskFailed { run, operator: Some("out".into()), failure });
    }
}

/// A store in which a job has stopped after one snapshot.
fn suspended() -> Outside {
    let mut rig = Rig::at_barrier(1);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: true }));
    rig.outside
}

#[test]
fn a_start_says_hello_reads_claims_drops_deploys_and_starts() {
    let mut rig = Rig::attached(1);
    let mut said = vec![];
    while let Some((worker, command)) = rig.commands.front().cloned() {
        said.extend(rig.names().first().cloned());
        rig.commands.pop_front();
        rig.carry_out(worker, command);
    }
    assert_eq!(said, ["Hello", "ReadLog", "Append", "Drop", "Deploy", "Start"]);
    assert_eq!((rig.phase(), rig.machine.status().run), (Phase::Running, Some(Run(1))));
}

#[test]
fn a_silent_worker_is_greeted_again() {
    let mut rig = Rig::attached(2);
    rig.commands.clear();
    rig.wake();
    assert_eq!(rig.names(), ["Hello", "Hello"]);
    assert_eq!(rig.phase(), Phase::Pending);
}

#[test]
fn workers_that_disagree_never_start() {
    let mut rig = Rig::attached(2);
    let (_, hello) = rig.commands.pop_front().unwrap();
    let reports = rig.workers[0].on(hello, &mut rig.outside, &mut Chance::new(1, false));
    let Report::Facts(facts) = &reports[0] else { panic!("facts") };
    let mut other = facts.clone();
    other.executable = "another".into();
    rig.report(reports[0].clone());
    rig.feed(Event::Report(WorkerIndex(1), Report::Facts(other)));
    let Some(Outcome::Failed(failure)) = &rig.exit else { panic!("must fail") };
    assert!(failure.message.contains("different executables"));
}

#[test]
fn a_program_that_does_not_build_fails_the_job() {
    let mut rig = Rig::attached(1);
    let failure = Failure::new(ErrorKind::Invalid, "two operators are called a");
    rig.report(Report::Unfit { generation: 1, failure: failure.clone() });
    assert_eq!(rig.exit, Some(Outcome::Failed(failure)));
    assert_eq!(rig.phase(), Phase::Failed);
}

#[test]
fn a_store_that_does_not_answer_is_asked_again_after_a_while() {
    let mut rig = Rig::attached(1);
    let (_, read) = rig.until(|command| matches!(command, Command::ReadLog { .. }));
    let Command::ReadLog { request } = read else { unreachable!() };
    let failure = Failure::new(ErrorKind::Unavailable, "503");
    rig.report(Report::LogUnread { request: request + 7, failure: failure.clone() });
    assert_eq!(rig.phase(), Phase::Pending, "an answer to another request changes nothing");
    rig.report(Report::LogUnread { request, failure });
    assert_eq!((rig.phase(), rig.machine.status().restarts), (Phase::Restarting, 1));
    rig.wake();
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
}

#[test]
fn the_way_back_from_a_failure_has_a_time_for_each_step() {
    let mut rig = Rig::running(1);
    let steps = |rig: &Rig| {
        let last = rig.machine.status().last_failure.clone().unwrap();
        [Some(last.at), last.workers_ready_at, last.restored_at, last.running_at]
    };
    rig.later(Duration::from_secs(1));
    rig.task_fails(Run(1), ErrorKind::User);
    let failed = rig.now;
    assert_eq!(steps(&rig), [Some(failed), None, None, None]);
    rig.wake();
    let there = rig.now;
    assert!(there > failed);
    assert_eq!(steps(&rig), [Some(failed), Some(there), None, None]);
    let (worker, deploy) = rig.until(|command| matches!(command, Command::Deploy(_)));
    rig.now = rig.now.after(Duration::from_secs(1));
    rig.carry_out(worker, deploy);
    let deployed = rig.now;
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
    let all = [Some(failed), Some(there), Some(deployed), Some(deployed)];
    assert_eq!(steps(&rig), all);
    // What comes later, without a failure, is not part of it.
    rig.later(Duration::from_secs(30));
    rig.settle();
    assert_eq!(steps(&rig), all);
}

#[test]
fn a_log_that_has_lost_entries_is_corrupt() {
    let mut rig = Rig::running(1);
    rig.task_fails(Run(1), ErrorKind::User);
    rig.outside = Outside::default();
    rig.wake();
    rig.settle();
    let Some(Outcome::Failed(failure)) = &rig.exit else { panic!("must fail") };
    assert_eq!(failure.kind, ErrorKind::Corrupt);
}

#[test]
fn a_claim_that_meets_another_reads_everything_again() {
    let mut rig = Rig::attached(1);
    let (seq, _, command) = rig.append();
    let foreign = claim(5, None).to_text(&host::prefix(), seq);
    rig.outside.append(seq, &foreign).unwrap();
    rig.appended(&command, AppendOutcome::Exists(foreign));
    let (seq, entry, _) = rig.append();
    assert_eq!((seq, entry.as_claim().unwrap().run), (Seq(2), Run(6)));
}

#[test]
fn an_entry_that_an_earlier_attempt_has_written_is_ours() {
    let mut rig = Rig::attached(1);
    let (_, _, command) = rig.append();
    let Command::Append { text, .. } = &command else { unreachable!() };
    rig.appended(&command, AppendOutcome::Exists(text.clone()));
    assert_eq!(rig.names(), ["Drop"], "the claim is in force");
}

#[test]
fn an_answer_to_another_attempt_is_not_ours() {
    let mut rig = Rig::attached(1);
    let (seq, _, _) = rig.append();
    let nonce = millstream_protocol::log::Nonce("another".into());
    rig.report(Report::Appended { seq, nonce, outcome: AppendOutcome::Created });
    assert_eq!(rig.names(), [""; 0], "nothing follows from it");
}

#[test]
fn tasks_are_deployed_only_when_all_old_ones_are_gone() {
    let mut rig = Rig::attached(2);
    let (first, drop) = rig.until(|command| matches!(command, Command::Drop { .. }));
    rig.settle();
    assert_eq!(rig.names(), [""; 0], "worker {first} has not answered");
    rig.later(Duration::from_secs(10));
    assert!(rig.names().contains(&"Drop".to_owned()), "it is asked again");
    rig.carry_out(first, drop);
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
}

#[test]
fn a_base_whose_output_is_not_visible_is_marked_before_the_start() {
    let mut rig = Rig::at_barrier(1);
    let (_, commit) = rig.until(|command| matches!(command, Command::Commit { .. }));
    assert!(matches!(commit, Command::Commit { epoch: Epoch(1), seq: Seq(2), .. }));
    let mut rig = Rig::new(1, None, rig.outside);
    rig.attach();
    let (_, mark) = rig.until(|command| matches!(command, Command::WriteCommitted { .. }));
    assert_eq!(mark, Command::WriteCommitted { seq: Seq(2) });
    assert_eq!(rig.phase(), Phase::Restoring);
    assert_eq!(rig.outside.outputs(), 1, "the sink has recovered it");
    let seq = Seq(2);
    let failure = Failure::new(ErrorKind::Unavailable, "503");
    rig.report(Report::CommittedWritten { seq, result: Err(failure) });
    rig.wake();
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
    assert!(rig.outside.committed().contains(&seq));
}

#[test]
fn snapshots_come_at_their_interval() {
    let mut rig = Rig::running(1);
    rig.later(Duration::from_millis(999));
    assert_eq!(rig.names(), [""; 0]);
    rig.later(Duration::from_millis(1));
    assert_eq!(rig.names(), ["Barrier"]);
    rig.feed(Event::Snapshot);
    assert_eq!(rig.names(), ["Barrier"], "one epoch at a time");
    rig.settle();
    let last = rig.machine.status().last_snapshot.clone().unwrap();
    assert_eq!((last.epoch, last.bytes), (Epoch(2), 3), "the asked one came right after");
}

#[test]
fn a_sink_that_runs_out_of_room_gets_a_snapshot_before_it_is_due() {
    let mut rig = Rig::running(1);
    rig.report(Report::SnapshotWanted { run: Run(7) });
    assert_eq!(rig.names(), [""; 0], "that is another run's");
    rig.report(Report::SnapshotWanted { run: Run(1) });
    assert_eq!(rig.names(), ["Barrier"]);
    rig.report(Report::SnapshotWanted { run: Run(1) });
    assert_eq!(rig.names(), ["Barrier"], "one epoch at a time");
    rig.settle();
    let last = rig.machine.status().last_snapshot.clone().unwrap();
    assert_eq!(last.epoch, Epoch(2), "the second came right after");
}

#[test]
fn nothing_is_committed_before_it_is_published_nor_marked_before_all_have_committed() {
    let mut rig = Rig::at_barrier(2);
    let (_, entry, append) = rig.append();
    assert_eq!(entry.epoch(), Some(Epoch(1)));
    assert_eq!(rig.names(), [""; 0]);
    rig.carry_out(W0, append);
    assert_eq!(rig.names(), ["Published", "Published", "Commit", "Commit"]);
    let (first, commit) = rig.until(|command| matches!(command, Command::Commit { .. }));
    rig.settle();
    assert!(rig.outside.committed().is_empty(), "worker {first} has not committed");
    rig.carry_out(first, commit.clone());
    rig.carry_out(first, commit);
    rig.settle();
    assert_eq!(rig.outside.committed().len(), 1);
}

#[test]
fn an_epoch_without_output_needs_no_commit() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Snapshot);
    let (_, _, append) = rig.append();
    rig.carry_out(W0, append);
    assert_eq!(rig.names(), ["Published", "WriteCommitted"]);
}

#[test]
fn an_epoch_that_is_not_uploaded_in_time_is_aborted_and_the_next_one_is_higher() {
    let mut rig = Rig::at_barrier(1);
    rig.commands.clear();
    rig.later(Duration::from_secs(19));
    assert_eq!(rig.names(), [""; 0]);
    rig.later(Duration::from_secs(1));
    let barrier = |epoch| Command::Barrier { run: Run(1), epoch: Epoch(epoch), stopping: false };
    let abort = Command::Abort { run: Run(1), epoch: Epoch(1) };
    let look = Command::ReadEntry { seq: Seq(2) };
    let sent = Vec::from(rig.commands.clone());
    assert_eq!(sent, [(W0, abort), (W0, look), (W0, barrier(2))]);
    let failure = rig.machine.status().snapshot_failure.clone().unwrap();
    assert!(failure.contains("worker 0 uploaded nothing for 20s"), "{failure}");
    assert_eq!(rig.phase(), Phase::Running, "the job goes on");
    rig.settle();
    assert_eq!(rig.machine.status().snapshot_failure, None);
}

#[test]
fn an_epoch_that_a_worker_declines_is_aborted() {
    let mut rig = Rig::at_barrier(1);
    rig.commands.clear();
    let declined = |epoch| Report::Declined { run: Run(1), epoch, reason: "no".into() };
    rig.report(declined(Epoch(9)));
    assert_eq!(rig.names(), [""; 0], "of another epoch");
    rig.report(declined(Epoch(1)));
    assert_eq!(rig.names(), ["Abort", "ReadEntry"]);
    rig.report(Report::Slot { seq: Seq(2), content: Ok(None) });
    assert_eq!(rig.phase(), Phase::Running, "nobody has overtaken it");
}

#[test]
fn an_aborted_epoch_finds_out_that_a_newer_run_owns_the_job() {
    let mut rig = Rig::at_barrier(1);
    rig.report(Report::Declined { run: Run(1), epoch: Epoch(1), reason: "file gone".into() });
    rig.report(Report::Slot { seq: Seq(2), content: Ok(Some("a claim".into())) });
    assert!(matches!(rig.exit, Some(Outcome::Fenced(_))), "{:?}", rig.exit);
}

#[test]
fn an_unknown_outcome_is_looked_up_and_the_same_bytes_tried_again() {
    let mut rig = Rig::at_barrier(1);
    let (seq, _, append) = rig.append();
    rig.appended(&append, AppendOutcome::Unknown("timed out".into()));
    assert_eq!(rig.names(), ["ReadEntry"]);
    rig.commands.clear();
    rig.later(Duration::from_secs(30));
    assert_eq!(rig.names(), ["ReadEntry"], "far beyond the epoch's own time, and never an abort");
    rig.commands.clear();
    rig.report(Report::Slot { seq, content: Ok(None) });
    assert_eq!(rig.names(), [""; 0], "what fails in no time is not tried without end");
    rig.later(Duration::from_secs(1));
    assert_eq!(rig.commands.pop_front(), Some((W0, append)));
}

#[test]
fn a_manifest_that_meets_another_entry_means_fenced() {
    let mut rig = Rig::at_barrier(1);
    let (seq, _, append) = rig.append();
    let foreign = claim(9, None).to_text(&host::prefix(), seq);
    rig.appended(&append, AppendOutcome::Exists(foreign));
    assert!(matches!(rig.exit, Some(Outcome::Fenced(_))));
    assert_eq!(rig.names(), ["Stop"], "and nothing else is touched");
    rig.task_fails(Run(1), ErrorKind::User);
    assert_eq!(rig.names(), ["Stop"], "after the end every event is ignored");
}

#[test]
fn an_append_that_can_never_succeed_ends_the_job() {
    let mut rig = Rig::at_barrier(1);
    let (_, _, append) = rig.append();
    let failure = Failure::new(ErrorKind::Invalid, "not a directory");
    rig.appended(&append, AppendOutcome::Failed(failure.clone()));
    assert_eq!(rig.exit, Some(Outcome::Failed(failure)));
    let mut rig = Rig::at_barrier(1);
    let (_, _, append) = rig.append();
    let failure = Failure::new(ErrorKind::Corrupt, "the entry before it is gone");
    rig.appended(&append, AppendOutcome::Failed(failure.clone()));
    assert_eq!(rig.exit, Some(Outcome::Failed(failure)));
}

#[test]
fn an_append_without_any_answer_gives_way_to_a_new_reading() {
    let mut rig = Rig::at_barrier(1);
    rig.append();
    for _ in 0..20 {
        rig.later(Duration::from_secs(30));
    }
    assert_eq!(rig.phase(), Phase::Restarting);
}

#[test]
fn the_kind_of_a_failure_decides() {
    let after = |kind| {
        let mut rig = Rig::running(1);
        rig.task_fails(Run(7), kind);
        assert_eq!(rig.phase(), Phase::Running, "of another run");
        rig.task_fails(Run(1), kind);
        (rig.phase(), rig.names().join(" "))
    };
    for kind in [ErrorKind::User, ErrorKind::Unavailable, ErrorKind::Bug] {
        assert_eq!(after(kind), (Phase::Restarting, "Drop".to_owned()));
    }
    for kind in [ErrorKind::Invalid, ErrorKind::Corrupt, ErrorKind::Fenced] {
        assert_eq!(after(kind), (Phase::Failed, "Stop".to_owned()));
    }
}

#[test]
fn a_failed_run_starts_again_with_the_next_number() {
    let mut rig = Rig::running(1);
    rig.task_fails(Run(1), ErrorKind::User);
    rig.settle();
    let status = rig.machine.status();
    assert!(status.restarts_in.is_some_and(|pause| pause > Duration::ZERO), "{status:?}");
    rig.wake();
    rig.settle();
    assert_eq!(rig.machine.status().restarts_in, None);
    assert_eq!((rig.phase(), rig.machine.status().run), (Phase::Running, Some(Run(2))));
    let failure = rig.machine.status().last_failure.clone().unwrap().failure;
    assert_eq!(failure.message, "operator out: no luck");
}

#[test]
fn a_restart_does_not_take_the_job_back_from_a_later_claim() {
    let mut rig = Rig::running(1);
    let next = rig.outside.log().len() as u64 + 1;
    let foreign = claim(2, None).to_text(&host::prefix(), Seq(next));
    rig.outside.append(Seq(next), &foreign).unwrap();
    rig.task_fails(Run(1), ErrorKind::Unavailable);
    rig.settle();
    rig.wake();
    rig.settle();
    let Some(Outcome::Fenced(failure)) = &rig.exit else { panic!("{:?}", rig.exit) };
    let said = format!("a newer run of this job owns it now: it wrote entry {next} of the log in ");
    assert!(failure.message.starts_with(&said), "{}", failure.message);
    let said = "This run stops, and nothing is lost: the newer one goes on from the last snapshot.";
    assert!(failure.message.contains(said), "{}", failure.message);
    assert_eq!(rig.outside.log().len() as u64, next, "no claim of its own");
}

#[test]
fn a_lost_worker_is_waited_for() {
    let mut rig = Rig::running(2);
    rig.feed(Event::Lost(W0, "killed".into()));
    assert_eq!(rig.phase(), Phase::Restarting);
    rig.settle();
    rig.wake();
    assert_eq!(rig.phase(), Phase::Pending);
    rig.workers[0] = FakeWorker::new(W0, 77);
    rig.feed(Event::Attached(W0));
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().run), (Phase::Running, Some(Run(2))));
}

#[test]
fn a_snapshot_whose_publication_nobody_heard_of_is_shown_once_it_is_gone_on_from() {
    let mut rig = Rig::at_barrier(1);
    rig.settle();
    rig.feed(Event::Snapshot);
    let (_, _, append) = rig.append();
    let Command::Append { seq, text, .. } = append else { unreachable!() };
    rig.outside.append(seq, &text).unwrap();
    rig.feed(Event::Lost(W0, "killed".into()));
    let shown = |rig: &Rig| rig.machine.status().last_snapshot.clone().map(|it| it.epoch);
    assert_eq!(shown(&rig), Some(Epoch(1)));
    rig.wake();
    rig.workers[0] = FakeWorker::new(W0, 77);
    rig.feed(Event::Attached(W0));
    rig.settle();
    assert_eq!(rig.machine.status().restored.as_ref().map(|it| it.epoch), Some(Epoch(2)));
    assert_eq!(shown(&rig), Some(Epoch(2)));
}

#[test]
fn a_stop_takes_a_last_snapshot_behind_which_nothing_is_emitted() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    let barrier = Command::Barrier { run: Run(1), epoch: Epoch(1), stopping: true };
    assert_eq!(rig.commands.front(), Some(&(W0, barrier)));
    assert_eq!(rig.phase(), Phase::Suspending);
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: true }));
    assert_eq!(rig.phase(), Phase::Suspended);
}

#[test]
fn a_job_that_does_not_run_stops_at_once() {
    let mut rig = Rig::attached(1);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: false }));
    let mut rig = Rig::running(1);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    rig.task_fails(Run(1), ErrorKind::User);
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: false }));
}

#[test]
fn a_second_stop_does_not_wait() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    assert_eq!(rig.exit, None);
    rig.feed(Event::Stop(StopMode::AtOnce));
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: false }));
}

#[test]
fn a_stop_that_gets_no_snapshot_stops_without() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    for epoch in 1..=3 {
        assert_eq!(rig.exit, None);
        let reason = "the disk is full".to_owned();
        rig.report(Report::Declined { run: Run(1), epoch: Epoch(epoch), reason });
        if epoch < 3 {
            rig.wake();
        }
    }
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: false }));
}

/// Carries out all but appends, each of which fails; what the slot holds is not written by it.
fn without_room(rig: &mut Rig) {
    while let Some((worker, command)) = rig.commands.pop_front() {
        if matches!(command, Command::Append { .. }) {
            rig.appended(&command, AppendOutcome::Unknown("the disk is full".into()));
        } else {
            rig.carry_out(worker, command);
        }
    }
}

#[test]
fn a_stop_does_not_wait_long_for_a_log_that_cannot_be_written() {
    let mut rig = Rig::at_barrier(1);
    rig.settle();
    rig.feed(Event::Snapshot);
    let began = rig.now;
    while rig.now.since(began) < Duration::from_secs(100) {
        without_room(&mut rig);
        rig.wake();
    }
    without_room(&mut rig);
    assert_eq!((rig.phase(), rig.exit.clone()), (Phase::Running, None), "it tries again for long");
    let failure = rig.machine.status().log_failure.clone().unwrap();
    assert_eq!(failure.to_string(), "snapshot 2 cannot be published: the disk is full");
    assert_eq!((failure.since, failure.may_be_there), (began, false));
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    let stopped = rig.now;
    while rig.exit.is_none() {
        without_room(&mut rig);
        rig.wake();
    }
    assert_eq!(rig.now.since(stopped), Duration::from_secs(20));
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: false }));
    let status = rig.machine.status();
    assert_eq!(status.resumes_from, Some(Epoch(1)));
    let said = "snapshot 2 cannot be published: the disk is full (tried for 2m)";
    assert_eq!(status.last_failure.as_ref().unwrap().failure.message, said);
}

#[test]
fn a_log_that_can_be_written_again_is_no_failure_any_more() {
    let mut rig = Rig::at_barrier(1);
    let (seq, _, append) = rig.append();
    rig.appended(&append, AppendOutcome::Unknown("the disk is full".into()));
    assert!(rig.machine.status().log_failure.as_ref().unwrap().may_be_there);
    rig.report(Report::Slot { seq, content: Ok(None) });
    rig.commands.clear();
    rig.wake();
    assert!(rig.machine.status().log_failure.as_ref().unwrap().may_be_there, "it is tried again");
    rig.settle();
    assert_eq!(rig.machine.status().log_failure, None);
}

#[test]
fn a_stop_does_not_wait_long_for_a_mark_that_cannot_be_written() {
    let mut rig = Rig::at_barrier(1);
    let (_, mark) = rig.until(|command| matches!(command, Command::WriteCommitted { .. }));
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    let Command::WriteCommitted { seq } = mark else { unreachable!() };
    let stopped = rig.now;
    while rig.exit.is_none() {
        let result = Err(Failure::new(ErrorKind::Unavailable, "the disk is full"));
        rig.report(Report::CommittedWritten { seq, result });
        rig.wake();
    }
    assert_eq!(rig.now.since(stopped), Duration::from_secs(20));
    let status = rig.machine.status();
    assert_eq!(status.resumes_from, Some(Epoch(1)));
    let failure = status.log_failure.as_ref().unwrap().to_string();
    assert_eq!(failure, "snapshot 1 cannot be marked as complete: the disk is full");
}

#[test]
fn a_stopped_job_resumes_from_its_snapshot() {
    let mut rig = Rig::new(1, None, suspended());
    rig.attach();
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
    let restored = rig.machine.status().restored.clone().unwrap();
    assert!(restored.from.ends_with("job/log/00000000000000000003.json"), "{}", restored.from);
}

#[test]
fn a_wish_acts_once_and_epochs_rise_above_all_that_ever_were() {
    let mut rig = Rig::new(1, Some(Wish::Snapshot { seq: Seq(2), request: None }), suspended());
    rig.attach();
    let (_, entry, append) = rig.append();
    let wished = entry.as_claim().unwrap().clone();
    assert_eq!((wished.base, wished.run), (Some(Seq(2)), Run(2)));
    rig.carry_out(W0, append);
    rig.settle();
    rig.task_fails(Run(2), ErrorKind::User);
    rig.wake();
    let (_, entry, append) = rig.append();
    let again = entry.as_claim().unwrap().clone();
    assert_eq!((again.base, again.wish), (Some(Seq(2)), Wish::Latest));
    rig.carry_out(W0, append);
    rig.settle();
    rig.feed(Event::Snapshot);
    let (_, entry, _) = rig.append();
    assert_eq!(entry.epoch(), Some(Epoch(3)), "the base is epoch 1, but 2 was there too");
}

#[test]
fn what_a_run_started_from_is_shown_and_nothing_where_it_was_nothing() {
    let mut rig = Rig::new(1, None, suspended());
    rig.attach();
    rig.settle();
    assert!(rig.machine.status().restored.is_some());
    let Config { spec, .. } = host::config(1, 1, None);
    let wish = Wish::Empty { request: Some(1) };
    rig.feed(Event::Edit(Box::new(Edit { generation: 2, spec, wish })));
    rig.settle();
    let status = rig.machine.status();
    assert_eq!((status.phase, status.generation, status.run), (Phase::Running, 2, Some(Run(3))));
    assert_eq!(status.restored, None);
}

#[test]
fn a_start_that_names_what_is_no_snapshot_is_refused_and_says_so() {
    let mut rig = Rig::new(1, Some(Wish::Snapshot { seq: Seq(9), request: None }), suspended());
    rig.attach();
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().restore_refused), (Phase::Failed, true));
    let mut rig = Rig::running(1);
    rig.task_fails(Run(1), ErrorKind::Invalid);
    assert_eq!((rig.phase(), rig.machine.status().restore_refused), (Phase::Failed, false));
}

#[test]
fn a_wish_with_a_request_acts_once_per_log() {
    let wish = Some(Wish::Empty { request: Some(1) });
    let mut rig = Rig::new(1, wish, suspended());
    rig.attach();
    let (_, entry, append) = rig.append();
    let first = entry.as_claim().unwrap().clone();
    assert_eq!(first.base, None);
    rig.carry_out(W0, append);
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
    let mut rig = Rig::new(1, wish, rig.outside);
    rig.attach();
    let (_, entry, _) = rig.append();
    let second = entry.as_claim().unwrap();
    assert_eq!((second.wish, &second.lineage), (Wish::Latest, &first.lineage));
    assert_eq!(rig.machine.status().acted, Some((1, Run(2))));
}

/// A rig whose wish to begin anew is in the log, and whose tasks cannot be made.
fn wished_in_vain(wish: Wish) -> Rig {
    let mut rig = Rig::new(1, Some(wish), suspended());
    rig.attach();
    let (_, deploy) = rig.until(|command| matches!(command, Command::Deploy(_)));
    let Command::Deploy(deploy) = deploy else { unreachable!() };
    assert_eq!(deploy.restore, None);
    rig.task_fails(deploy.run, ErrorKind::Invalid);
    assert!(matches!(rig.exit, Some(Outcome::Failed(_))));
    rig
}

#[test]
fn a_wish_whose_run_never_began_changes_nothing() {
    for request in [None, Some(1)] {
        let wish = Wish::Empty { request };
        let rig = wished_in_vain(wish);
        let mut rig = Rig::new(1, None, rig.outside);
        rig.attach();
        let (_, entry, _) = rig.append();
        let claim = entry.as_claim().unwrap();
        assert_eq!((claim.base, claim.run), (Some(Seq(3)), Run(3)), "it goes on as before");
        let rig = wished_in_vain(wish);
        let mut rig = Rig::new(1, Some(wish), rig.outside);
        rig.attach();
        let (_, entry, _) = rig.append();
        let claim = entry.as_claim().unwrap();
        assert_eq!((claim.base, claim.wish), (None, wish), "it is still to be acted upon");
    }
}

#[test]
fn a_wished_run_starts_when_the_log_says_that_it_began() {
    let mut rig = Rig::new(1, Some(Wish::Empty { request: None }), suspended());
    rig.attach();
    let (_, _, claim) = rig.append();
    rig.carry_out(W0, claim);
    let (seq, entry, began) = rig.append();
    assert!(matches!(&entry, Entry::Began(began) if began.run == Run(2)), "{entry:?}");
    assert_eq!((rig.names(), rig.phase()), (vec![], Phase::Starting));
    let foreign = claim_text(seq);
    rig.appended(&began, AppendOutcome::Exists(foreign));
    assert!(matches!(rig.exit, Some(Outcome::Fenced(_))), "somebody else has the job");
}

fn claim_text(seq: Seq) -> String {
    claim(5, None).to_text(&host::prefix(), seq)
}

#[test]
fn output_that_is_not_yet_visible_becomes_so_before_a_wish_is_acted_upon() {
    let mut rig = Rig::at_barrier(1);
    rig.until(|command| matches!(command, Command::Commit { .. }));
    let mut rig = Rig::new(1, Some(Wish::Empty { request: None }), rig.outside);
    rig.attach();
    let (_, entry, claim) = rig.append();
    assert_eq!(entry.as_claim().map(|it| (it.base, it.wish)), Some((Some(Seq(2)), Wish::Latest)));
    rig.carry_out(W0, claim);
    let (_, entry, claim) = rig.append();
    assert_eq!(rig.outside.outputs(), 1, "the sink has recovered it");
    assert!(rig.outside.committed().contains(&Seq(2)));
    let wished = entry.as_claim().unwrap();
    assert_eq!((wished.base, wished.run), (None, Run(3)));
    rig.carry_out(W0, claim);
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().restarts), (Phase::Running, 0));
}

#[test]
fn a_job_whose_input_has_ended_is_finished_for_good() {
    let mut rig = Rig::running(1);
    let ended = (0..host::RECORDS).flat_map(|_| rig.workers[0].emit()).collect::<Vec<_>>();
    let finished = ended.iter().find(|report| matches!(report, Report::Finished { .. }));
    rig.report(finished.unwrap().clone());
    let (_, entry, append) = rig.append();
    assert!(entry.as_manifest().unwrap().is_final);
    rig.carry_out(W0, append);
    let commit = rig.until(|command| matches!(command, Command::Commit { .. }));
    // It dies before the output is visible: the next start makes it so, and starts nothing.
    drop(commit);
    rig.outside.upload("parts/0/1/0-a", Body::default());
    let mut rig = Rig::new(1, None, rig.outside);
    rig.attach();
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Finished { already: false }));
    assert!(rig.outside.part("parts/0/1/0-a").is_none(), "no later run would clear it up");
    assert_eq!(rig.outside.history().len(), host::RECORDS);
    let mut rig = Rig::new(1, None, rig.outside);
    rig.attach();
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Finished { already: true }));
    assert_eq!(rig.outside.log().len(), 3, "and no claim was needed to see it");
}

#[test]
fn what_retention_meets_decides() {
    let mut rig = Rig::at_barrier(1);
    let (_, retained) = rig.until(|command| matches!(command, Command::ListParts));
    assert_eq!(retained, Command::ListParts);
    rig.report(Report::Parts(Ok(vec!["parts/0/1/0-a".into()])));
    let (_, retain) = rig.until(|command| matches!(command, Command::Retain(_)));
    let Command::Retain(retain) = retain else { unreachable!() };
    assert_eq!((retain.guard, retain.delete), (Seq(3), vec!["parts/0/1/0-a".to_owned()]));
    let failure = Failure::new(ErrorKind::Fenced, "slot 3 is taken");
    let stale = Report::Retained { guard: Seq(2), result: Err(failure.clone()) };
    rig.report(stale);
    assert_eq!(rig.exit, None, "an answer to another time");
    rig.report(Report::Retained { guard: Seq(3), result: Err(failure) });
    let Some(Outcome::Fenced(failure)) = &rig.exit else { panic!("{:?}", rig.exit) };
    assert!(failure.message.contains("it wrote entry 3 of the log"), "{}", failure.message);
}

#[test]
fn a_wish_that_waits_for_output_says_so_where_it_fails() {
    let mut rig = Rig::at_barrier(1);
    rig.until(|command| matches!(command, Command::Commit { .. }));
    let mut rig = Rig::new(1, Some(Wish::Empty { request: None }), rig.outside);
    rig.attach();
    rig.until(|command| matches!(command, Command::Deploy(_)));
    rig.task_fails(Run(2), ErrorKind::Invalid);
    let Some(Outcome::Failed(failure)) = &rig.exit else { panic!("must fail") };
    assert!(failure.message.starts_with("output of the newest snapshot may not be visible yet"));
    let way_out = "operator out: no luck. Where that cannot be mended, only snapshots delete \
                   file:///s/default/job/ --yes is left";
    assert!(failure.message.contains(way_out), "{failure:?}");
}

#[test]
fn a_worker_that_is_cut_off_from_another_is_lost_only_where_it_is_silent() {
    let w1 = WorkerIndex(1);
    let peer_lost = |run| Report::PeerLost { run, peer: w1, reason: "no answer".into() };
    for (silent, lost) in [(Duration::from_millis(1900), false), (Duration::from_secs(2), true)] {
        let mut rig = Rig::running(2);
        let run = rig.machine.status().run.unwrap();
        rig.feed(Event::Report(w1, Report::SnapshotWanted { run: Run(0) }));
        rig.now = rig.now.after(silent);
        rig.report(peer_lost(Run(run.0 - 1)));
        assert_eq!(rig.phase(), Phase::Running, "a stream of an earlier run is of no interest");
        rig.report(peer_lost(run));
        assert_eq!(rig.phase(), Phase::Restarting);
        let message = rig.machine.status().last_failure.clone().unwrap().failure.message;
        if lost {
            assert_eq!(rig.dismissed, [w1]);
            assert_eq!(message, "worker 1 is lost: it is silent, and worker 0 says: no answer");
            rig.wake();
            assert_eq!(rig.phase(), Phase::Pending, "it waits for another process");
            rig.feed(Event::Attached(w1));
        } else {
            assert_eq!(rig.dismissed, []);
            assert_eq!(message, "worker 0 is cut off from worker 1: no answer");
            rig.wake();
        }
        rig.settle();
        assert_eq!(rig.phase(), Phase::Running);
    }
}

#[test]
fn a_worker_hears_how_far_the_sources_of_all_others_have_come_once_all_have_said_so() {
    use millstream_protocol::drift::Marks;
    let mut rig = Rig::running(3);
    let run = rig.machine.status().run.unwrap();
    let mut say = |worker: u32, run: Run, lowest: i64| {
        let own = Marks { lowest: Some(lowest), first: Some(lowest), unknown: false };
        rig.feed(Event::Report(WorkerIndex(worker), Report::Drift { run, own }));
        rig.commands.drain(..).collect::<Vec<_>>()
    };
    assert_eq!(say(0, run, 50), []);
    assert_eq!(say(1, run, 40), []);
    assert_eq!(say(2, Run(run.0 - 1), 10), [], "of an earlier run");
    let told = |worker, lowest| {
        let others = Marks { lowest: Some(lowest), first: Some(lowest), unknown: false };
        [(WorkerIndex(worker), Command::Drift { run, others })]
    };
    assert_eq!(say(2, run, 30), told(2, 40));
    assert_eq!(say(0, run, 60), told(0, 30));
    assert_eq!(say(2, run, 70), told(2, 40), "not its own");
    rig.task_fails(run, ErrorKind::User);
    rig.wake();
    rig.settle();
    let next = rig.machine.status().run.unwrap();
    let own = Marks { lowest: Some(1), first: Some(1), unknown: false };
    rig.feed(Event::Report(W0, Report::Drift { run: next, own }));
    assert!(rig.commands.is_empty(), "the others have not begun: {:?}", rig.commands);
}

#[test]
fn a_job_at_its_end_whose_last_snapshot_fails_stops_when_it_is_told_to() {
    let mut rig = Rig::running(1);
    rig.report(Report::Finished { run: Run(1) });
    for attempt in 1..=5 {
        let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
        let Command::Barrier { run, epoch, .. } = barrier else { unreachable!() };
        if attempt == 5 {
            rig.feed(Event::Stop(StopMode::AfterSnapshot));
        }
        rig.report(Report::Declined { run, epoch, reason: "no room".to_owned() });
        assert_eq!(rig.exit.is_some(), attempt == 5);
        rig.settle();
        if attempt < 5 {
            rig.wake();
        }
    }
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: false }));
}
