//! What the machine does about each kind of event wherever it may stand: `table.txt`, a row for
//! each, as it is.
//!
//! Whoever adds a state, a step or an event adds it here; the compiler asks for it, and the tests
//! for its rows. `COORDINATOR_TABLE=write` in the environment writes the table anew: read what
//! changed in it. "ignored" means that nothing at all has changed; "noted" that something is
//! remembered, and nothing is done yet.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use millstream_protocol::drift::Marks;
use millstream_protocol::id::Term;
use millstream_protocol::log::Nonce;
use millstream_protocol::session::Rates;
use millstream_protocol::time::GepDuration;

use super::*;
use crate::edit::Edit;
use crate::testing::entries::facts;

const TABLE: &str = include_str!("table.txt");

/// One that no spec has.
const OUTSIDE: WorkerIndex = WorkerIndex(7);

/// Names each variant: without one for all others, so that a new one does not compile.
macro_rules! names {
    ($name:ident, $all:ident: $type:ty { $($pattern:pat => $text:literal,)* }) => {
        const $all: &[&str] = &[$($text),*];

        pub(crate) fn $name(it: &$type) -> &'static str {
            match it { $($pattern => $text,)* }
        }
    };
}

names! { state_name, STATES: State {
    State::Waiting { .. } => "Waiting",
    State::Resolving(_) => "Resolving",
    State::Claiming(_) => "Claiming",
    State::Adopting(_) => "Adopting",
    State::Deploying(_) => "Deploying",
    State::Running(_) => "Running",
    State::Stopping(_) => "Stopping",
    State::Restarting { .. } => "Restarting",
    State::Ended => "Ended",
} }

names! { event_name, EVENTS: Event {
    Event::Attached(_) => "Attached",
    Event::Lost(..) => "Lost",
    Event::Stop(_) => "Stop",
    Event::Edit(_) => "Edit",
    Event::Snapshot => "Snapshot",
    Event::Savepoint(_) => "Savepoint",
    Event::LetGo(_) => "LetGo",
    Event::Tick => "Tick",
    Event::Report(_, Report::Facts(_)) => "Facts",
    Event::Report(_, Report::Unfit { .. }) => "Unfit",
    Event::Report(_, Report::Log { .. }) => "Log",
    Event::Report(_, Report::LogUnread { .. }) => "LogUnread",
    Event::Report(_, Report::Slot { .. }) => "Slot",
    Event::Report(_, Report::Appended { .. }) => "Appended",
    Event::Report(_, Report::Deployed { .. }) => "Deployed",
    Event::Report(_, Report::Adopted { .. }) => "Adopted",
    Event::Report(_, Report::PartUploaded { .. }) => "PartUploaded",
    Event::Report(_, Report::Declined { .. }) => "Declined",
    Event::Report(_, Report::Committed { .. }) => "Committed",
    Event::Report(_, Report::CommittedWritten { .. }) => "CommittedWritten",
    Event::Report(_, Report::Retained { .. }) => "Retained",
    Event::Report(_, Report::Parts(_)) => "Parts",
    Event::Report(_, Report::SnapshotWanted { .. }) => "SnapshotWanted",
    Event::Report(_, Report::TaskFailed { .. }) => "TaskFailed",
    Event::Report(_, Report::PeerLost { .. }) => "PeerLost",
    Event::Report(_, Report::Leaving) => "Leaving",
    Event::Report(_, Report::Finished { .. }) => "Finished",
    Event::Report(_, Report::Dropped { .. }) => "Dropped",
    Event::Report(_, Report::Rates(_)) => "Rates",
    Event::Report(_, Report::Drift { .. }) => "Drift",
} }

/// Where a job stands, and the command whose answer it waits for there.
struct Stand {
    rig: Rig,
    asked: Option<Command>,
}

fn stand(mut rig: Rig, asked: fn(&Command) -> bool) -> Stand {
    let (_, asked) = rig.until(asked);
    rig.commands.clear();
    Stand { rig, asked: Some(asked) }
}

fn append(command: &Command) -> bool {
    matches!(command, Command::Append { .. })
}

fn mark(command: &Command) -> bool {
    matches!(command, Command::WriteCommitted { .. })
}

fn barrier(command: &Command) -> bool {
    matches!(command, Command::Barrier { .. })
}

/// Another coordinator, of the same workers.
fn succeeded() -> Rig {
    let mut rig = Rig::running(2).succeed(2);
    rig.attach();
    rig
}

fn begun_anew() -> Rig {
    let mut rig = Rig::new(2, Some(Wish::Empty { request: None }), suspended());
    rig.attach();
    rig
}

/// One whose newest snapshot has output that may not be visible.
fn recovered() -> Rig {
    let mut rig = Rig::at_barrier(2);
    rig.until(|command| matches!(command, Command::Commit { .. }));
    let mut rig = Rig::new(2, None, rig.outside);
    rig.attach();
    rig
}

fn told(event: Event) -> Rig {
    let mut rig = Rig::running(2);
    rig.feed(event);
    rig
}

fn paused(event: Event) -> Stand {
    let mut stand = stand(told(event), barrier);
    let Some(Command::Barrier { run, epoch, .. }) = stand.asked else { panic!("a barrier") };
    stand.rig.report(Report::Declined { run, epoch, reason: "no room".into() });
    stand.rig.commands.clear();
    stand
}

fn ended() -> Rig {
    let mut rig = Rig::running(2);
    for worker in [0, 1] {
        rig.feed(Event::Report(WorkerIndex(worker), Report::Finished { run: Run(1) }));
    }
    rig
}

fn failed() -> Stand {
    let mut rig = Rig::running(2);
    rig.task_fails(Run(1), ErrorKind::User);
    rig.commands.clear();
    Stand { rig, asked: None }
}

fn other_workers() -> Event {
    edit(2, |spec| spec.workers = 1)
}

fn edit(generation: u64, change: impl FnOnce(&mut millstream_protocol::job::JobSpec)) -> Event {
    let mut spec = host::config(2, 1, None).spec;
    change(&mut spec);
    Event::Edit(Box::new(Edit { generation, spec, wish: Wish::Latest }))
}

/// Everywhere that a job may stand.
fn stands() -> Vec<(&'static str, fn() -> Stand)> {
    vec![
        ("Waiting", || stand(Rig::attached(2), |it| matches!(it, Command::Hello(_)))),
        ("Resolving", || stand(Rig::attached(2), |it| matches!(it, Command::ReadLog { .. }))),
        ("Claiming", || stand(Rig::attached(2), append)),
        ("Claiming, to take over", || stand(succeeded(), append)),
        ("Adopting", || stand(succeeded(), |it| matches!(it, Command::Adopt { .. }))),
        ("Deploying clearing", || stand(Rig::attached(2), |it| matches!(it, Command::Drop { .. }))),
        ("Deploying building", || stand(Rig::attached(2), |it| matches!(it, Command::Deploy(_)))),
        ("Deploying marking", || stand(recovered(), mark)),
        ("Deploying beginning", || {
            let mut first = stand(begun_anew(), append);
            first.rig.appended(&first.asked.unwrap(), AppendOutcome::Created);
            stand(first.rig, append)
        }),
        ("Running", || Stand { rig: Rig::running(2), asked: None }),
        ("Running uploading", || stand(Rig::at_barrier(2), barrier)),
        ("Running publishing", || stand(Rig::at_barrier(2), append)),
        ("Running committing", || {
            stand(Rig::at_barrier(2), |it| matches!(it, Command::Commit { .. }))
        }),
        ("Running marking", || stand(Rig::at_barrier(2), mark)),
        ("Running listing", || stand(Rig::at_barrier(2), |it| *it == Command::ListParts)),
        ("Running retaining", || {
            let mut listed = stand(Rig::at_barrier(2), |it| *it == Command::ListParts);
            listed.rig.report(Report::Parts(Ok(vec!["parts/0/1/0-a".into()])));
            stand(listed.rig, |it| matches!(it, Command::Retain(_)))
        }),
        ("Stopping for Suspend, uploading", || {
            stand(told(Event::Stop(StopMode::AfterSnapshot)), barrier)
        }),
        ("Stopping for Suspend, publishing", || {
            stand(told(Event::Stop(StopMode::AfterSnapshot)), append)
        }),
        ("Stopping for Suspend, paused", || paused(Event::Stop(StopMode::AfterSnapshot))),
        ("Stopping for Edit, uploading", || stand(told(other_workers()), barrier)),
        ("Stopping for Edit, publishing", || stand(told(other_workers()), append)),
        ("Stopping for Edit, marking", || stand(told(other_workers()), mark)),
        ("Stopping for Drain, marking", || stand(told(Event::Report(W0, Report::Leaving)), mark)),
        ("Stopping for Drain, paused", || paused(Event::Report(W0, Report::Leaving))),
        ("Stopping for Final, uploading", || stand(ended(), barrier)),
        ("Restarting", failed),
        ("Ended", || {
            let rig = told(Event::Stop(StopMode::AtOnce));
            Stand { rig, asked: None }
        }),
    ]
}

/// One event of each kind, as it is where it fits; two and more where it matters what it says.
fn events(Stand { rig, asked }: &Stand) -> Vec<(&'static str, Event)> {
    let reign = rig.machine.ctx.reign.as_ref();
    let run = reign.map_or(Run(1), |reign| reign.run);
    let term = reign.map_or(Term(1), |reign| reign.term);
    let epoch = reign.map_or(Epoch(1), |reign| reign.epoch);
    let generation = rig.machine.status().generation;
    let (mut seq, mut nonce, mut request) = (Seq(9), Nonce("n".into()), 9);
    match asked {
        Some(Command::Append { seq: at, nonce: of, .. }) => (seq, nonce) = (*at, of.clone()),
        Some(Command::WriteCommitted { seq: at } | Command::Commit { seq: at, .. }) => seq = *at,
        Some(Command::Retain(retain)) => seq = retain.guard,
        Some(Command::ReadLog { request: of }) => request = *of,
        _ => seq = reign.map_or(seq, |reign| reign.last.next()),
    }
    let unavailable = || Failure::new(ErrorKind::Unavailable, "no answer");
    let foreign = || claim(9, None).to_text(&host::prefix(), seq);
    let appended = |outcome| Report::Appended { seq, nonce: nonce.clone(), outcome };
    let failed =
        |kind| Report::TaskFailed { run, operator: None, failure: Failure::new(kind, "no luck") };
    let entries = rig.outside.log().iter().map(|(seq, text)| (*seq, text.clone())).collect();
    let mut other = facts(generation, 2);
    other.executable = "another".into();
    let marks = Marks { lowest: Some(1), first: Some(1), unknown: false };
    let all = |name, report| (name, Event::Report(W0, report));
    vec![
        ("Attached", Event::Attached(W0)),
        ("Attached, of no spec", Event::Attached(OUTSIDE)),
        ("Lost", Event::Lost(W0, "gone".into())),
        ("Lost, of no spec", Event::Lost(OUTSIDE, "gone".into())),
        all("Facts", Report::Facts(Box::new(facts(generation, 2)))),
        all("Facts of another program", Report::Facts(Box::new(other))),
        all("Unfit", Report::Unfit { generation, failure: unavailable() }),
        all("Log", Report::Log { request, entries, committed: vec![] }),
        all("LogUnread", Report::LogUnread { request, failure: unavailable() }),
        all("Slot, free", Report::Slot { seq, content: Ok(None) }),
        all("Slot, of another", Report::Slot { seq, content: Ok(Some(foreign())) }),
        all("Slot, unread", Report::Slot { seq, content: Err(unavailable()) }),
        all("Appended", appended(AppendOutcome::Created)),
        all("Appended, another is there", appended(AppendOutcome::Exists(foreign()))),
        all("Appended, unknown", appended(AppendOutcome::Unknown("no answer".into()))),
        all("Appended, not", appended(AppendOutcome::Failed(unavailable()))),
        all("Deployed", Report::Deployed { run, restore_took: Duration::ZERO }),
        all("Adopted", Report::Adopted { run, term, epoch: Epoch(0), ended: false }),
        all("PartUploaded", Report::PartUploaded { run, epoch, shares: vec![] }),
        all("Declined", Report::Declined { run, epoch, reason: "no room".into() }),
        all("Committed", Report::Committed { run, epoch }),
        all("CommittedWritten", Report::CommittedWritten { seq, result: Ok(()) }),
        all("CommittedWritten, not", Report::CommittedWritten { seq, result: Err(unavailable()) }),
        all("Retained", Report::Retained { guard: seq, result: Ok(()) }),
        all("Retained, not", Report::Retained { guard: seq, result: Err(unavailable()) }),
        all("Parts", Report::Parts(Ok(vec![]))),
        all("Parts, unread", Report::Parts(Err(unavailable()))),
        all("SnapshotWanted", Report::SnapshotWanted { run }),
        all("TaskFailed, may pass", failed(ErrorKind::User)),
        all("TaskFailed, for good", failed(ErrorKind::Invalid)),
        all("PeerLost", Report::PeerLost { run, peer: WorkerIndex(1), reason: "no answer".into() }),
        all("Leaving", Report::Leaving),
        all("Finished", Report::Finished { run }),
        all("Dropped", Report::Dropped { run }),
        all("Rates", Report::Rates(Box::new(Rates { run, records_in: 5, ..Rates::default() }))),
        all("Drift", Report::Drift { run, own: marks }),
        ("Stop", Event::Stop(StopMode::AfterSnapshot)),
        ("Stop at once", Event::Stop(StopMode::AtOnce)),
        ("Edit, of an interval", edit(8, |it| it.snapshots.interval = GepDuration::from_secs(7))),
        ("Edit, of the workers", edit(8, |it| it.workers = 1)),
        ("Edit, which cannot be", edit(8, |it| it.key_groups = 7)),
        ("Snapshot", Event::Snapshot),
        ("Savepoint", Event::Savepoint(1)),
        ("LetGo", Event::LetGo(Seq(2))),
        ("Tick", Event::Tick),
    ]
}

/// The same reports of an earlier run, slot, request or spec.
fn stale(Stand { rig, .. }: &Stand) -> Vec<Event> {
    let generation = rig.machine.status().generation + 90;
    let (run, epoch, seq, request) = (Run(0), Epoch(90), Seq(90), 90);
    let failure = || Failure::new(ErrorKind::Fenced, "of old");
    let foreign = claim(9, None).to_text(&host::prefix(), seq);
    let reports = vec![
        Report::Facts(Box::new(facts(generation, 2))),
        Report::Unfit { generation, failure: failure() },
        Report::Log { request, entries: vec![], committed: vec![] },
        Report::LogUnread { request, failure: failure() },
        Report::Slot { seq, content: Ok(Some(foreign.clone())) },
        Report::Appended {
            seq,
            nonce: Nonce("old".into()),
            outcome: AppendOutcome::Exists(foreign),
        },
        Report::Deployed { run, restore_took: Duration::ZERO },
        Report::Adopted { run, term: Term(1), epoch, ended: true },
        Report::PartUploaded { run, epoch, shares: vec![] },
        Report::Declined { run, epoch, reason: "no room".into() },
        Report::Committed { run, epoch },
        Report::CommittedWritten { seq, result: Err(failure()) },
        Report::Retained { guard: seq, result: Err(failure()) },
        Report::SnapshotWanted { run },
        Report::TaskFailed { run, operator: None, failure: failure() },
        Report::PeerLost { run, peer: WorkerIndex(1), reason: "of old".into() },
        Report::Finished { run },
        Report::Rates(Box::new(Rates { run, records_in: 5, ..Rates::default() })),
        Report::Drift { run, own: Marks::default() },
    ];
    reports.into_iter().map(|report| Event::Report(W0, report)).collect()
}

fn name_of(machine: &Machine) -> String {
    let name = state_name(&machine.state);
    [name, &machine.state.step()].join(" ").trim_end().to_owned()
}

/// What it says of an action, where a status says more than its phase only that.
fn says(actions: &[Action]) -> Vec<String> {
    let mut says: Vec<(String, Vec<String>)> = vec![];
    for action in actions {
        let (text, worker) = match action {
            Action::Send(worker, Command::Barrier { stopping: true, .. }) => {
                ("Barrier (stopping)".to_owned(), Some(worker))
            }
            Action::Send(worker, command) => {
                let text = format!("{command:?}");
                let name = text.split([' ', '(', '{']).next().unwrap_or_default();
                (name.to_owned(), Some(worker))
            }
            Action::Dismiss(worker) => ("dismiss".to_owned(), Some(worker)),
            Action::Status(_) => continue,
            Action::Exit(Outcome::Failed(failure)) => (format!("fails: {}", failure.message), None),
            Action::Exit(Outcome::Fenced(failure)) => {
                let message = failure.message.split(". ").next().unwrap_or_default();
                (format!("is fenced: {message}"), None)
            }
            Action::Exit(outcome) => (format!("ends: {outcome:?}"), None),
        };
        match says.last_mut().filter(|(last, _)| *last == text) {
            Some((_, to)) => to.extend(worker.map(ToString::to_string)),
            None => says.push((text, worker.iter().map(ToString::to_string).collect())),
        }
    }
    let text = |(text, to): &(String, Vec<String>)| match to.len() {
        0 => text.clone(),
        _ => format!("{text} to {}", to.join(", ")),
    };
    says.iter().map(text).collect()
}

/// What the machine does; none where nothing at all has changed.
fn row(rig: &mut Rig, event: &Event) -> Option<String> {
    let machine = &mut rig.machine;
    let (name, before) = (name_of(machine), format!("{machine:?}"));
    let (phase, failure) = (machine.status().phase, machine.status().last_failure.clone());
    let now = match event {
        Event::Tick => machine.wake_at().unwrap_or(rig.now).max(rig.now),
        _ => rig.now,
    };
    let actions = machine.on(event, now);
    let mut row = vec![];
    let after = name_of(machine);
    if after != name {
        row.push(format!("-> {after}"));
    }
    let status = machine.status();
    if status.last_failure != failure
        && let Some(failure) = &status.last_failure
        && !actions
            .iter()
            .any(|it| matches!(it, Action::Exit(Outcome::Failed(_) | Outcome::Fenced(_))))
    {
        row.push(format!("({})", failure.failure.message));
    }
    if status.phase != phase && format!("{:?}", status.phase) != after {
        row.push(format!("shows {:?}", status.phase));
    }
    row.extend(says(&actions));
    if row.is_empty() {
        return (format!("{machine:?}") != before).then(|| "noted".to_owned());
    }
    Some(row.join("; "))
}

fn table() -> String {
    let mut table = String::new();
    for (name, make) in stands() {
        writeln!(table, "{name}").unwrap();
        let kinds = events(&make());
        let mut ignored = vec![];
        for (number, (kind, _)) in kinds.iter().enumerate() {
            let mut stand = make();
            let (_, event) = events(&stand).swap_remove(number);
            match row(&mut stand.rig, &event) {
                Some(row) => writeln!(table, "  {kind}: {row}").unwrap(),
                None => ignored.push(*kind),
            }
        }
        let mut line = "  ignored:".to_owned();
        for kind in ignored {
            if line.len() + kind.len() > 96 {
                writeln!(table, "{line}").unwrap();
                line = "   ".to_owned();
            }
            write!(line, " {kind};").unwrap();
        }
        writeln!(table, "{line}\n").unwrap();
    }
    table
}

#[test]
fn each_event_does_in_each_state_what_the_table_says() {
    let table = table();
    if std::env::var_os("COORDINATOR_TABLE").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/tests/table.txt");
        std::fs::write(file, &table).unwrap();
        return;
    }
    let (mut stand, mut wrong) = (String::new(), String::new());
    let (mut new, mut old) = (table.lines(), TABLE.lines());
    loop {
        match (new.next(), old.next()) {
            (None, None) => break,
            (new, old) if new == old => {
                stand = new.filter(|it| !it.starts_with(' ')).map_or(stand, str::to_owned);
            }
            (new, old) => {
                writeln!(wrong, "{stand}\n  was {old:?}\n  is  {new:?}").unwrap();
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "read it, then write it anew with COORDINATOR_TABLE=write:\n{wrong}");
}

#[test]
fn the_table_has_every_state_step_and_event() {
    let stands = stands();
    for (name, make) in &stands {
        let stand = make();
        let is = name_of(&stand.rig.machine);
        assert_eq!(name.split(", to take over").next(), Some(is.as_str()));
    }
    let has = |part: &str| stands.iter().any(|(name, _)| name.contains(part));
    let steps = ["uploading", "publishing", "committing", "marking", "listing", "retaining"];
    let steps = steps.into_iter().chain(["clearing", "building", "beginning", "paused"]);
    for wanted in STATES.iter().copied().chain(steps) {
        assert!(has(wanted), "no job of the table stands at {wanted}");
    }
    let events = events(&stands[0].1());
    let kinds: BTreeSet<_> = events.iter().map(|(_, event)| event_name(event)).collect();
    assert_eq!(kinds, EVENTS.iter().copied().collect());
    for (name, event) in &events {
        assert!(name.starts_with(event_name(event)), "{name} is {event:?}");
    }
}

#[test]
fn what_is_late_changes_nothing_wherever_the_job_stands() {
    for (name, make) in stands() {
        for event in stale(&make()) {
            let row = row(&mut make().rig, &event);
            assert_eq!(row, None, "{name}: {event:?}");
        }
    }
}
