//! A coordinator that comes after another one, whose workers go on.

use super::*;

impl Rig {
    /// Another coordinator takes the place of this one; the workers and the store stay.
    pub(super) fn succeed(self, workers: u32) -> Self {
        let Self { workers: there, outside, now, .. } = self;
        let seed = 77 + outside.log().len() as u64;
        Self {
            machine: Machine::new(host::config(workers, seed, None)),
            workers: there,
            outside,
            now,
            commands: VecDeque::new(),
            exit: None,
            dismissed: Vec::new(),
        }
    }
}

fn claims(rig: &Rig) -> Vec<(u64, u64)> {
    let claims = rig.outside.entries().filter_map(|(_, entry)| entry.as_claim().cloned());
    claims.map(|claim| (claim.run.0, claim.term.0)).collect()
}

#[test]
fn the_next_coordinator_goes_on_with_the_tasks_that_run() {
    let mut rig = Rig::running(2);
    for worker in &mut rig.workers {
        worker.emit();
    }
    rig.feed(Event::Snapshot);
    rig.settle();
    let mut rig = rig.succeed(2);
    rig.attach();
    let mut said = vec![];
    while let Some((worker, command)) = rig.commands.pop_front() {
        said.push(format!("{command:?}").split([' ', '(']).next().unwrap().to_owned());
        rig.carry_out(worker, command);
    }
    let expected =
        ["Hello", "Hello", "ReadLog", "Append", "Adopt", "Adopt", "Published", "Published"];
    assert_eq!(said, expected);
    assert_eq!(claims(&rig), [(1, 1), (1, 2)]);
    let status = rig.machine.status();
    assert_eq!((status.phase, status.run, status.restarts), (Phase::Running, Some(Run(1)), 0));
    assert_eq!(status.last_snapshot.as_ref().map(|last| last.epoch), Some(Epoch(1)));
    rig.feed(Event::Snapshot);
    rig.settle();
    assert_eq!(rig.machine.status().last_snapshot.as_ref().unwrap().epoch, Epoch(2));
}

#[test]
fn what_was_published_is_committed_and_what_was_not_is_aborted() {
    let mut rig = Rig::at_barrier(1);
    rig.until(|command| matches!(command, Command::Commit { .. }));
    assert_eq!(rig.outside.outputs(), 0);
    let mut rig = rig.succeed(1);
    rig.attach();
    rig.settle();
    assert_eq!((rig.outside.outputs(), rig.machine.status().run), (1, Some(Run(1))));
    rig.workers[0].emit();
    rig.feed(Event::Snapshot);
    rig.until(|command| matches!(command, Command::Append { .. }));
    let mut rig = rig.succeed(1);
    rig.attach();
    let (_, abort) = rig.until(|command| matches!(command, Command::Abort { .. }));
    assert_eq!(abort, Command::Abort { run: Run(1), epoch: Epoch(2) });
    rig.feed(Event::Snapshot);
    rig.settle();
    let last = rig.machine.status().last_snapshot.clone().unwrap();
    assert_eq!((last.epoch, rig.outside.outputs()), (Epoch(3), 2));
}

#[test]
fn tasks_that_were_to_stop_go_on() {
    let mut rig = Rig::running(2);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
    rig.carry_out(W0, barrier);
    let mut rig = rig.succeed(2);
    rig.attach();
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().run), (Phase::Running, Some(Run(1))));
    let rest = (0..host::RECORDS).flat_map(|_| rig.workers[0].emit());
    assert_ne!(rest.count(), 0);
}

#[test]
fn a_run_that_has_lost_a_worker_or_is_another_program_begins_anew() {
    let mut rig = Rig::running(2).succeed(2);
    rig.workers[1] = FakeWorker::new(WorkerIndex(1), 9);
    rig.attach();
    rig.settle();
    assert_eq!(rig.machine.status().run, Some(Run(2)));
    let rig = Rig::running(1);
    let mut config = host::config(1, 9, None);
    config.spec.program.name = Some("other".to_owned());
    let mut rig = rig.succeed(1);
    rig.machine = Machine::new(config);
    rig.attach();
    rig.settle();
    assert_eq!(rig.machine.status().run, Some(Run(2)));
}

#[test]
fn tasks_that_go_while_they_are_taken_over_are_made_anew() {
    let mut rig = Rig::running(1).succeed(1);
    rig.attach();
    let (_, adopt) = rig.until(|command| matches!(command, Command::Adopt { .. }));
    rig.workers[0] = FakeWorker::new(W0, 9);
    rig.carry_out(W0, adopt);
    assert_eq!(rig.phase(), Phase::Restarting);
    rig.wake();
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().run), (Phase::Running, Some(Run(2))));
}

#[test]
fn tasks_that_had_ended_need_no_second_word() {
    let mut rig = Rig::running(1);
    while rig.workers[0].emit() != [Report::Finished { run: Run(1) }] {}
    let mut rig = rig.succeed(1);
    rig.attach();
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Finished { already: false }));
    assert_eq!(rig.machine.status().run, Some(Run(1)));
}

/// One worker has said where it stands, and ends before another one has.
#[test]
fn tasks_that_end_while_others_are_asked_are_known_to_have_ended() {
    let mut rig = Rig::running(2).succeed(2);
    rig.attach();
    let (first, adopt) = rig.until(|command| matches!(command, Command::Adopt { .. }));
    rig.carry_out(first, adopt);
    for worker in [0, 1] {
        let finished = Report::Finished { run: Run(1) };
        while rig.workers[worker].emit() != [finished.clone()] {}
        if worker == first.0 as usize {
            rig.feed(Event::Report(first, finished));
        }
    }
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Finished { already: false }));
}

#[test]
fn the_job_is_rescaled_after_it_was_taken_over() {
    let mut rig = Rig::running(2).succeed(2);
    rig.attach();
    rig.settle();
    let spec = host::config(1, 1, None).spec;
    rig.feed(Event::Edit(Box::new(Edit { generation: 2, spec, wish: Wish::Latest })));
    rig.settle();
    let status = rig.machine.status();
    assert_eq!((status.phase, status.run, status.workers), (Phase::Running, Some(Run(2)), 1));
}

#[test]
fn a_coordinator_that_lost_all_its_sessions_goes_on_with_the_same_tasks() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Lost(W0, "the network".to_owned()));
    assert_eq!(rig.phase(), Phase::Restarting);
    rig.feed(Event::Attached(W0));
    rig.settle();
    rig.wake();
    rig.settle();
    let status = rig.machine.status();
    assert_eq!((status.phase, status.run), (Phase::Running, Some(Run(1))));
    assert_eq!(claims(&rig), [(1, 1), (1, 2)]);
}

/// It is said once, and whoever hears of it does not yet know whose tasks these are.
#[test]
fn tasks_that_fail_before_they_are_taken_over_are_made_anew() {
    for when in ["ReadLog", "Append"] {
        let mut rig = Rig::running(2).succeed(2);
        rig.attach();
        let (worker, command) = rig.until(|it| format!("{it:?}").starts_with(when));
        rig.task_fails(Run(1), ErrorKind::User);
        rig.carry_out(worker, command);
        rig.settle();
        if rig.phase() == Phase::Restarting {
            rig.wake();
            rig.settle();
        }
        let status = rig.machine.status();
        assert_eq!((status.phase, status.run), (Phase::Running, Some(Run(2))), "{when}");
    }
}

#[test]
fn a_sink_that_runs_out_of_room_while_its_tasks_are_taken_over_gets_its_snapshot() {
    let mut rig = Rig::running(2).succeed(2);
    rig.attach();
    let (worker, adopt) = rig.until(|command| matches!(command, Command::Adopt { .. }));
    rig.report(Report::SnapshotWanted { run: Run(1) });
    rig.carry_out(worker, adopt);
    let (worker, adopt) = rig.until(|command| matches!(command, Command::Adopt { .. }));
    rig.carry_out(worker, adopt);
    assert_eq!(rig.phase(), Phase::Running);
    assert_eq!(rig.names(), ["Barrier", "Barrier"]);
}

/// Its log was deleted, and others have begun the job anew: their run has the same number.
#[test]
fn tasks_of_another_history_are_not_gone_on_with() {
    let mut anew = Rig::new(1, None, Outside::default());
    anew.machine = Machine::new(host::config(1, 4711, None));
    anew.attach();
    anew.settle();
    let lineage = |rig: &Rig| {
        let (_, first) = rig.outside.entries().next().unwrap();
        first.as_claim().unwrap().lineage.clone()
    };
    let mut rig = Rig::running(1).succeed(1);
    assert_ne!(lineage(&rig), lineage(&anew));
    rig.outside = anew.outside;
    rig.attach();
    rig.settle();
    assert_eq!(claims(&rig), [(1, 1), (2, 1)]);
    assert_eq!((rig.phase(), rig.machine.status().run), (Phase::Running, Some(Run(2))));
}
