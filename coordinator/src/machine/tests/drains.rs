//! Workers that are told to end.

use super::*;

#[test]
fn a_worker_that_leaves_is_let_go_behind_a_snapshot() {
    let mut rig = Rig::running(2);
    for worker in &mut rig.workers {
        worker.emit();
    }
    rig.feed(Event::Report(W0, Report::Leaving));
    let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
    assert!(matches!(barrier, Command::Barrier { stopping: true, .. }));
    rig.carry_out(W0, barrier);
    rig.settle();
    assert_eq!((rig.outside.outputs(), rig.phase()), (2, Phase::Pending));
    assert!(rig.workers.iter().all(|worker| worker.run().is_none()), "it may end");
    rig.feed(Event::Lost(W0, "it has ended".to_owned()));
    rig.workers[0] = FakeWorker::new(W0, 55);
    rig.feed(Event::Attached(W0));
    rig.settle();
    let status = rig.machine.status();
    assert_eq!((status.phase, status.run, status.restarts), (Phase::Running, Some(Run(2)), 0));
}

#[test]
fn a_worker_that_leaves_is_let_go_without_a_snapshot_where_none_can_be_taken() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Report(W0, Report::Leaving));
    for attempt in 1..=3 {
        let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
        let Command::Barrier { run, epoch, .. } = barrier else { unreachable!() };
        rig.report(Report::Declined { run, epoch, reason: "no room".to_owned() });
        if attempt < 3 {
            rig.wake();
        }
    }
    rig.settle();
    assert_eq!((rig.phase(), rig.workers[0].run()), (Phase::Pending, None));
}

#[test]
fn no_task_is_given_to_a_worker_that_leaves() {
    let mut rig = Rig::new(1, None, Outside::default());
    rig.attach();
    let (_, hello) = rig.until(|command| matches!(command, Command::Hello(_)));
    rig.feed(Event::Report(W0, Report::Leaving));
    rig.carry_out(W0, hello);
    rig.settle();
    assert_eq!(rig.phase(), Phase::Pending);
    rig.feed(Event::Lost(W0, "it has ended".to_owned()));
    rig.feed(Event::Attached(W0));
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
}

/// Whoever leaves while the job starts gets no tasks, and what was begun is dropped at once.
/// Another one in its place is waited for.
#[test]
fn a_job_that_starts_waits_for_another_in_place_of_a_worker_that_leaves() {
    let stages: [fn(&Command) -> bool; 5] = [
        |it| matches!(it, Command::ReadLog { .. }),
        |it| matches!(it, Command::Append { .. }),
        |it| matches!(it, Command::Drop { .. }),
        |it| matches!(it, Command::Deploy(_)),
        |it| matches!(it, Command::WriteCommitted { .. }),
    ];
    for (stage, is) in stages.into_iter().enumerate() {
        let mut rig = Rig::at_barrier(2);
        rig.until(|command| matches!(command, Command::Commit { .. }));
        let mut rig = Rig::new(2, None, rig.outside);
        rig.attach();
        let (worker, command) = rig.until(is);
        rig.feed(Event::Report(WorkerIndex(1), Report::Leaving));
        rig.carry_out(worker, command);
        let given = |it: &(WorkerIndex, Command)| matches!(it.1, Command::Start { .. });
        while let Some((worker, command)) = rig.commands.pop_front() {
            assert!(!given(&(worker, command.clone())), "stage {stage}");
            assert!(stage >= 3 || !matches!(command, Command::Deploy(_)), "stage {stage}");
            assert!(stage >= 1 || !matches!(command, Command::Append { .. }), "no claim");
            rig.carry_out(worker, command);
        }
        assert_eq!((rig.phase(), rig.machine.stands()), (Phase::Pending, "Waiting"), "{stage}");
        assert!(rig.workers.iter().all(|worker| worker.run().is_none()), "{stage}: it may end");
        rig.feed(Event::Lost(WorkerIndex(1), "it has ended".to_owned()));
        rig.workers[1] = FakeWorker::new(WorkerIndex(1), 55);
        rig.feed(Event::Attached(WorkerIndex(1)));
        rig.settle();
        assert_eq!((rig.phase(), rig.machine.status().restarts), (Phase::Running, 0), "{stage}");
        assert_eq!(rig.outside.outputs(), 2, "{stage}");
    }
}

#[test]
fn a_job_that_is_taken_over_takes_its_snapshot_before_a_worker_leaves() {
    let mut rig = Rig::running(2).succeed(2);
    rig.attach();
    let (worker, append) = rig.until(|command| matches!(command, Command::Append { .. }));
    rig.feed(Event::Report(W0, Report::Leaving));
    rig.carry_out(worker, append);
    let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
    assert_eq!(barrier, Command::Barrier { run: Run(1), epoch: Epoch(1), stopping: true });
}
