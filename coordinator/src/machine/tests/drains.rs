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
