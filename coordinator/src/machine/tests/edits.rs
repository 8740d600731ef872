//! Edits of a job that runs, and savepoints.

use millstream_protocol::job::JobSpec;
use millstream_protocol::time::GepDuration;

use super::*;

fn edit(generation: u64, change: impl FnOnce(&mut JobSpec)) -> Event {
    let Config { mut spec, wish, .. } = host::config(1, 1, None);
    change(&mut spec);
    Event::Edit(Box::new(Edit { generation, spec, wish }))
}

fn workers(generation: u64, workers: u32) -> Event {
    edit(generation, |spec| spec.workers = workers)
}

impl Rig {
    /// Starts one more worker, which attaches.
    fn grow(&mut self) {
        let worker = WorkerIndex(self.workers.len() as u32);
        self.workers.push(FakeWorker::new(worker, 99));
        self.feed(Event::Attached(worker));
    }

    fn read(&mut self, what: &str) -> Vec<String> {
        let mut read = vec![];
        while let Some((worker, command)) = self.commands.pop_front() {
            let text = format!("{command:?}");
            if text.starts_with(what) {
                read.push(format!("{worker} {}", text.chars().take(30).collect::<String>()));
            }
            self.carry_out(worker, command);
        }
        read
    }
}

#[test]
fn a_job_runs_on_until_the_workers_of_the_next_spec_are_there() {
    let mut rig = Rig::running(1);
    rig.feed(workers(2, 2));
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 1));
    rig.grow();
    let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
    assert!(matches!(barrier, Command::Barrier { stopping: true, .. }));
    assert_eq!(rig.phase(), Phase::Rescaling);
    rig.carry_out(W0, barrier);
    assert_eq!(rig.read("ReadLog"), Vec::<String>::new(), "the log is known");
    let status = rig.machine.status();
    assert_eq!((status.phase, status.generation, status.workers), (Phase::Running, 2, 2));
    assert_eq!((status.restarts, status.run), (0, Some(Run(2))));
    assert!(status.stood.is_some());
    assert!(rig.workers.iter().all(|worker| worker.run() == Some(Run(2))));
}

#[test]
fn workers_that_are_no_longer_needed_go_last_and_may_come_back() {
    let mut rig = Rig::running(2);
    rig.feed(workers(2, 1));
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().workers), (Phase::Running, 1));
    assert_eq!(rig.workers[1].run(), None, "its tasks were dropped");
    rig.feed(Event::Lost(WorkerIndex(1), "it has ended".to_owned()));
    assert_eq!((rig.phase(), rig.machine.status().restarts), (Phase::Running, 0));
    rig.feed(workers(3, 2));
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 2));
    rig.feed(Event::Attached(WorkerIndex(1)));
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 3));
}

#[test]
fn what_does_not_touch_the_tasks_is_taken_at_once() {
    let mut rig = Rig::running(1);
    let slower = GepDuration::from_secs(9);
    rig.feed(edit(2, |spec| spec.snapshots.interval = slower));
    assert!(rig.commands.is_empty(), "no worker need know");
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 2));
    let wakes = rig.machine.wake_at().unwrap();
    assert_eq!(wakes, rig.now.after(Duration::from_secs(9)));
}

#[test]
fn an_edit_that_cannot_be_taken_is_refused_and_the_job_runs_on() {
    let mut rig = Rig::running(1);
    rig.feed(edit(2, |spec| spec.key_groups = 7));
    let refused = |rig: &Rig| {
        let refused = rig.machine.status().refused.clone();
        refused.map(|it| (it.generation, it.failure.message))
    };
    assert_eq!(refused(&rig).unwrap().0, 2);
    assert!(refused(&rig).unwrap().1.starts_with("spec.keyGroups: "));
    rig.feed(edit(3, |spec| spec.program.name = Some("other".to_owned())));
    rig.until(|command| matches!(command, Command::Hello(_)));
    let failure = Failure::new(ErrorKind::Invalid, "there is no such program");
    rig.report(Report::Unfit { generation: 3, failure });
    assert_eq!(refused(&rig).unwrap(), (3, "there is no such program".to_owned()));
    assert_eq!((rig.phase(), rig.exit.clone()), (Phase::Running, None));
    rig.feed(workers(4, 2));
    rig.settle();
    rig.grow();
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 4));
    assert_eq!(refused(&rig), None);
}

#[test]
fn an_older_edit_and_the_same_one_again_change_nothing() {
    let mut rig = Rig::running(2);
    rig.feed(workers(2, 1));
    rig.settle();
    let run = rig.machine.status().run;
    rig.feed(workers(2, 2));
    rig.feed(workers(1, 2));
    rig.settle();
    assert_eq!((rig.machine.status().workers, rig.machine.status().run), (1, run));
}

#[test]
fn of_edits_that_come_while_one_is_taken_up_the_last_has_its_turn() {
    let mut rig = Rig::running(3);
    rig.feed(workers(2, 1));
    rig.until(|command| matches!(command, Command::Barrier { .. }));
    rig.feed(workers(3, 2));
    rig.feed(workers(4, 3));
    let seq = Epoch(1);
    let barrier = Command::Barrier { run: Run(1), epoch: seq, stopping: true };
    for worker in 0..3 {
        rig.carry_out(WorkerIndex(worker), barrier.clone());
    }
    rig.settle();
    let status = rig.machine.status();
    assert_eq!((status.phase, status.generation, status.workers), (Phase::Running, 4, 3));
    assert_eq!(status.run, Some(Run(3)));
}

#[test]
fn a_failure_before_the_workers_agree_leaves_the_spec_in_force_and_one_after_does_not() {
    let mut rig = Rig::running(1);
    rig.feed(workers(2, 2));
    rig.task_fails(Run(1), ErrorKind::User);
    rig.wake();
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 1));
    rig.grow();
    rig.until(|command| matches!(command, Command::Barrier { .. }));
    rig.task_fails(Run(2), ErrorKind::User);
    rig.settle();
    rig.wake();
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 2));
    assert_eq!(rig.machine.status().restarts, 2);
}

#[test]
fn a_job_that_waits_takes_an_edit_at_once() {
    let mut rig = Rig::new(3, None, Outside::default());
    rig.feed(Event::Attached(W0));
    rig.settle();
    assert_eq!(rig.phase(), Phase::Pending);
    rig.feed(workers(2, 1));
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().workers), (Phase::Running, 1));
}

#[test]
fn a_stop_while_an_edit_is_taken_up_stops_with_its_snapshot() {
    let mut rig = Rig::running(2);
    rig.feed(workers(2, 1));
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: true }));
}

/// The first worker, whose barrier comes next, cannot upload.
fn decline(rig: &mut Rig) {
    let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
    let Command::Barrier { run, epoch, .. } = barrier else { unreachable!() };
    rig.workers[0].on(barrier, &mut rig.outside, &mut Chance::new(1, false));
    rig.report(Report::Declined { run, epoch, reason: "no room".to_owned() });
}

/// Which spec is in force, in which run, and which waits for what.
fn stands(rig: &Rig) -> (Phase, u64, Option<Run>, Option<u64>) {
    let status = rig.machine.status();
    let held = status.held.as_ref().map(|held| held.generation);
    (status.phase, status.generation, status.run, held)
}

#[test]
fn an_edit_waits_for_a_snapshot_where_the_last_one_failed() {
    let mut rig = Rig::at_barrier(1);
    decline(&mut rig);
    rig.settle();
    rig.feed(workers(2, 2));
    rig.settle();
    assert_eq!(rig.machine.status().held, None, "it waits for its worker");
    rig.grow();
    rig.settle();
    for _ in 0..3 {
        assert_eq!(stands(&rig), (Phase::Running, 1, Some(Run(1)), Some(2)));
        rig.later(Duration::from_mins(10));
        decline(&mut rig);
        rig.settle();
    }
    let held = rig.machine.status().held.clone().unwrap().failure.message;
    assert!(
        held.contains("the last attempt failed: epoch 4: worker 0 declined: no room. "),
        "{held}"
    );
    rig.wake();
    let epoch = rig.machine.ctx.reign().epoch;
    rig.settle();
    assert_eq!(stands(&rig), (Phase::Running, 2, Some(Run(2)), None));
    assert_eq!(rig.machine.status().restarts, 0);
    let restored = rig.machine.status().restored.as_ref().map(|it| it.epoch);
    assert_eq!(restored, Some(epoch.next()), "behind the snapshot that the job stopped at");
}

#[test]
fn an_edit_that_gets_no_snapshot_lets_the_job_go_on_and_is_tried_again() {
    let mut rig = Rig::running(2);
    rig.feed(workers(2, 1));
    rig.workers[0].emit();
    decline(&mut rig);
    let said = rig.read("GoOn");
    assert_eq!(said, ["0 GoOn { run: Run(1) }", "1 GoOn { run: Run(1) }"]);
    assert_eq!(stands(&rig), (Phase::Running, 1, Some(Run(1)), Some(2)));
    assert_eq!((rig.machine.status().restarts, rig.machine.status().stood), (0, None));
    let rest = (0..host::RECORDS).flat_map(|_| rig.workers[0].emit());
    assert_ne!(rest.count(), 0, "it reads on");
    rig.wake();
    rig.settle();
    assert_eq!(stands(&rig), (Phase::Running, 2, Some(Run(2)), None));
    assert_eq!(rig.machine.status().restarts, 0);
}

#[test]
fn while_a_snapshot_cannot_be_published_nobody_stands_still_for_an_edit() {
    let mut rig = Rig::running(2);
    rig.feed(workers(2, 1));
    let (_, _, append) = rig.append();
    let full = Failure::new(ErrorKind::Unavailable, "the disk is full");
    rig.appended(&append, AppendOutcome::Failed(full));
    assert_eq!(rig.read("GoOn").len(), 2);
    assert_eq!(stands(&rig), (Phase::Running, 1, Some(Run(1)), Some(2)));
    let held = rig.machine.status().held.clone().unwrap().failure.message;
    assert!(held.contains("snapshot 1 cannot be published: the disk is full"), "{held}");
    rig.feed(workers(3, 1));
    assert_eq!(stands(&rig).3, None, "its workers are asked");
    rig.wake();
    rig.settle();
    assert_eq!(stands(&rig), (Phase::Running, 3, Some(Run(2)), None));
    let epochs: Vec<_> = rig.outside.entries().filter_map(|(_, it)| it.epoch()).collect();
    assert_eq!(epochs, [Epoch(1), Epoch(2)], "the first is not given up, and the second stops it");
}

#[test]
fn while_a_snapshot_cannot_be_marked_nobody_stands_still_for_an_edit() {
    let mut rig = Rig::running(2);
    rig.feed(workers(2, 1));
    rig.until(|command| matches!(command, Command::WriteCommitted { .. }));
    rig.later(Duration::from_secs(29));
    assert_eq!(rig.phase(), Phase::Rescaling);
    rig.later(Duration::from_secs(1));
    assert_eq!(rig.read("GoOn").len(), 2);
    assert_eq!(stands(&rig), (Phase::Running, 2, Some(Run(2)), None), "the second was written");
}

#[test]
fn tasks_that_end_while_an_edit_is_tried_are_known_to_have_ended() {
    let mut rig = Rig::running(2);
    rig.feed(workers(2, 1));
    let barrier = rig.until(|command| matches!(command, Command::Barrier { .. }));
    rig.commands.push_front(barrier);
    for worker in [0, 1] {
        rig.feed(Event::Report(WorkerIndex(worker), Report::Finished { run: Run(1) }));
    }
    assert_eq!(rig.phase(), Phase::Rescaling);
    decline(&mut rig);
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Finished { already: false }));
}

#[test]
fn a_job_that_restarts_takes_an_edit_whatever_its_snapshots_do() {
    let mut rig = Rig::at_barrier(1);
    decline(&mut rig);
    rig.feed(edit(2, |spec| spec.program.name = Some("other".to_owned())));
    rig.settle();
    assert_eq!(stands(&rig), (Phase::Running, 1, Some(Run(1)), Some(2)));
    rig.task_fails(Run(1), ErrorKind::User);
    assert_eq!(stands(&rig).3, None);
    rig.wake();
    rig.settle();
    assert_eq!(stands(&rig), (Phase::Running, 2, Some(Run(2)), None));
}

#[test]
fn a_savepoint_is_a_snapshot_that_is_marked_and_kept() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Savepoint(7));
    rig.settle();
    let saved = rig.machine.status().last_savepoint.clone().unwrap();
    let seq = saved.result.as_ref().unwrap().seq;
    assert_eq!(saved.request, 7);
    for _ in 0..9 {
        rig.feed(Event::Snapshot);
        rig.settle();
    }
    let manifests: Vec<_> = rig
        .outside
        .entries()
        .filter_map(|(seq, it)| Some((seq, it.as_manifest()?.savepoint)))
        .collect();
    assert_eq!(manifests.len(), 4, "three, and the savepoint");
    assert_eq!(
        manifests.iter().filter(|(_, is)| *is).map(|(seq, _)| *seq).collect::<Vec<_>>(),
        [seq]
    );
}

#[test]
fn a_savepoint_that_is_let_go_goes_between_two_snapshots_and_not_while_it_is_needed() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Savepoint(7));
    rig.settle();
    let seq = rig.machine.status().last_savepoint.clone().unwrap().result.unwrap().seq;
    let answer = |rig: &Rig| rig.machine.status().let_go.last().cloned().unwrap();
    rig.feed(Event::LetGo(seq));
    let stays = answer(&rig);
    assert_eq!(stays.seq, seq);
    assert!(stays.result.unwrap().unwrap_err().contains("is the newest snapshot"));
    rig.feed(Event::Snapshot);
    rig.outside.unwanted.insert(seq);
    rig.feed(Event::LetGo(seq));
    assert_eq!(answer(&rig).result, None, "an epoch is in flight");
    rig.settle();
    assert_eq!(answer(&rig).result, Some(Ok(())));
    assert_eq!(rig.phase(), Phase::Running);
    let of = rig.outside.entries().find(|(at, _)| *at == seq).map(|(_, entry)| entry);
    assert!(matches!(of, Some(Entry::Tombstone(_))), "its slot is taken");
    rig.feed(Event::LetGo(seq));
    assert_eq!(answer(&rig).result, Some(Ok(())), "it is gone already");
    assert_eq!(rig.machine.status().let_go.len(), 1);
}

#[test]
fn a_savepoint_that_the_store_does_not_let_go_is_answered_and_the_job_runs_on() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Savepoint(7));
    rig.settle();
    let seq = rig.machine.status().last_savepoint.clone().unwrap().result.unwrap().seq;
    rig.feed(Event::Snapshot);
    rig.settle();
    rig.feed(Event::LetGo(seq));
    let (_, command) = rig.until(|command| matches!(command, Command::Retain(_)));
    let Command::Retain(retain) = command else { unreachable!() };
    let failure = Failure::new(ErrorKind::Unavailable, "no bucket");
    rig.report(Report::Retained { guard: retain.guard, result: Err(failure) });
    let answer = rig.machine.status().let_go.last().cloned().unwrap();
    assert_eq!(answer.result, Some(Err("no bucket".to_owned())));
    rig.feed(Event::Snapshot);
    rig.settle();
    assert_eq!(rig.phase(), Phase::Running);
}

#[test]
fn a_savepoint_that_cannot_be_taken_says_so() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Savepoint(1));
    for _ in 0..3 {
        let (_, barrier) = rig.until(|command| matches!(command, Command::Barrier { .. }));
        let Command::Barrier { run, epoch, .. } = barrier else { unreachable!() };
        assert_eq!(rig.machine.status().last_savepoint, None);
        rig.report(Report::Declined { run, epoch, reason: "no room".to_owned() });
        rig.settle();
        rig.later(Duration::from_secs(1));
    }
    let saved = rig.machine.status().last_savepoint.clone().unwrap();
    assert!(saved.result.unwrap_err().message.ends_with("no room"));
}

#[test]
fn a_stop_takes_the_savepoint_with_it() {
    let mut rig = Rig::running(1);
    rig.feed(Event::Savepoint(1));
    rig.until(|command| matches!(command, Command::Barrier { .. }));
    let mut rig = Rig::running(1);
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    rig.feed(Event::Savepoint(1));
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: true }));
    let saved = rig.machine.status().last_savepoint.clone().unwrap().result.unwrap();
    let marked =
        rig.outside.entries().filter_map(|(seq, it)| Some((seq, it.as_manifest()?.savepoint)));
    assert_eq!(marked.collect::<Vec<_>>(), [(saved.seq, true)], "it is the last one");
    let mut rig = Rig::at_barrier(1);
    rig.feed(Event::Savepoint(1));
    rig.feed(Event::Stop(StopMode::AfterSnapshot));
    rig.settle();
    assert_eq!(rig.exit, Some(Outcome::Suspended { snapshot: true }));
    assert!(rig.machine.status().last_savepoint.as_ref().unwrap().result.is_ok());
}

/// Others rely on what the claim says.
#[test]
fn an_edit_that_comes_while_the_job_is_claimed_keeps_what_the_claim_says() {
    let mut rig = Rig::attached(1);
    let (_, entry, append) = rig.append();
    assert_eq!(entry.as_claim().unwrap().retain, Some(3));
    rig.feed(edit(2, |spec| spec.snapshots.retain = 1));
    rig.carry_out(W0, append);
    for _ in 0..9 {
        rig.settle();
        rig.feed(Event::Snapshot);
    }
    let kept = rig.outside.entries().filter(|(_, entry)| entry.as_manifest().is_some()).count();
    assert_eq!(kept, 3);
}

#[test]
fn a_worker_that_is_asked_of_one_spec_is_asked_of_the_one_that_replaces_it() {
    let mut rig = Rig::attached(1);
    let slower = GepDuration::from_secs(9);
    rig.feed(edit(2, |spec| spec.snapshots.interval = slower));
    rig.settle();
    assert_eq!((rig.phase(), rig.machine.status().generation), (Phase::Running, 2));
}

/// Nothing is read behind the snapshot that a job ends with, whatever it was begun for.
#[test]
fn a_savepoint_that_is_asked_for_at_the_end_is_the_last_snapshot() {
    let begun: [fn(&mut Rig); 3] = [
        |rig| rig.feed(workers(2, 1)),
        |rig| rig.feed(Event::Report(W0, Report::Leaving)),
        |rig| {
            for worker in [0, 1] {
                rig.feed(Event::Report(WorkerIndex(worker), Report::Finished { run: Run(1) }));
            }
        },
    ];
    let stages: [fn(&Command) -> bool; 2] = [
        |it| matches!(it, Command::Barrier { .. }),
        |it| matches!(it, Command::WriteCommitted { .. }),
    ];
    for (begin, begun) in begun.into_iter().enumerate() {
        for (stage, is) in stages.into_iter().enumerate() {
            // A job that has finished is not to be stopped.
            if (begin, stage) == (2, 1) {
                continue;
            }
            let mut rig = Rig::running(2);
            begun(&mut rig);
            let command = rig.until(is);
            rig.commands.push_front(command);
            rig.feed(Event::Stop(StopMode::AfterSnapshot));
            rig.feed(Event::Savepoint(1));
            rig.settle();
            assert!(rig.exit.is_some(), "{begin} {stage}");
            let saved = rig.machine.status().last_savepoint.clone().unwrap();
            let last = rig.machine.status().last_snapshot.clone().unwrap();
            assert_eq!(saved.result, Ok(last), "{begin} {stage}");
        }
    }
}
