//! The scheduler of the model: time, messages, faults, and what must hold in the end.

mod faults;

use std::collections::{BTreeMap, BTreeSet};

use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::id::{Seq, WorkerIndex};
use millstream_protocol::session::{Command, Report, Retain};
use millstream_protocol::time::Timestamp;
use millstream_protocol::wish::Wish;
use rand::Rng;

use super::chance::Chance;
use super::host::{self, RECORDS};
use super::outside::Outside;
use super::recover::retire;
use super::worker::FakeWorker;
use crate::machine::{Action, Event, Machine, Outcome};

/// A job that is left alone must end within this time, in milliseconds: twice the longest time-out.
const CALM_MAX: i64 = 2 * 3_600_000;
/// So many steps within one millisecond are a machine that wakes up again and again for nothing.
const STEPS_MAX: u32 = 100_000;

#[derive(Debug)]
enum What {
    Command { host: usize, worker: WorkerIndex, life: u64, command: Command },
    Event { host: usize, life: Option<(WorkerIndex, u64)>, event: Event },
    Emit { host: usize, worker: WorkerIndex, life: u64 },
    Return { host: usize, worker: WorkerIndex },
    Die { host: usize, worker: WorkerIndex, life: u64 },
    Land { seq: Seq, text: String },
    Retire { retain: Retain },
    NewHost,
    Fault,
}

pub(super) struct Host {
    pub(super) machine: Machine,
    pub(super) workers: Vec<(u64, FakeWorker)>,
    /// The incarnation of each worker that the coordinator has a session with.
    sessions: Vec<u64>,
    /// It was told to go back, which may be refused.
    wishes: bool,
    /// The coordinator and all its workers are gone.
    dead: bool,
    exit: Option<Outcome>,
    paused_until: i64,
    /// The number of the spec that its user wrote last, and its workers.
    generation: u64,
    wanted: u32,
    /// When the last command to each worker arrives: the next one arrives behind it.
    fifo: Vec<i64>,
}

pub(super) struct World {
    pub(super) outside: Outside,
    pub(super) chance: Chance,
    pub(super) hosts: Vec<Host>,
    queue: BTreeMap<(i64, u64), What>,
    order: u64,
    lives: u64,
    now: i64,
    seed: u64,
    pub(super) trace: Vec<String>,
    /// A job was rescaled while it ran.
    pub(super) rescaled: bool,
    /// Workers of a host that were told to end, as far as its coordinator knows.
    left: BTreeSet<(usize, WorkerIndex)>,
    /// What jobs were doing when they heard of it.
    pub(super) left_in: BTreeSet<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            outside: Outside::default(),
            chance: Chance::new(seed, true),
            hosts: vec![],
            queue: BTreeMap::new(),
            order: 0,
            lives: 0,
            now: 0,
            seed,
            trace: vec![],
            rescaled: false,
            left: BTreeSet::new(),
            left_in: BTreeSet::new(),
        }
    }

    fn at(&mut self, delay: i64, what: What) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), what);
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        self.chance.rng.random_range(low..=high)
    }

    fn say(&mut self, text: impl Into<String>) {
        self.trace.push(format!("{:>8} {}", self.now, text.into()));
    }

    fn new_host(&mut self) {
        let workers = self.between(1, 3) as u32;
        let host = self.hosts.len();
        let seed = self.seed.wrapping_mul(1000) + host as u64;
        let wish = self.wish();
        let mut config = host::config(workers, seed, wish);
        if self.chance.on {
            config.spec.snapshots.retain = self.between(1, 5) as u32;
        }
        let keeps = config.spec.snapshots.retain;
        self.say(format!("host {host}: {workers} workers, wish {wish:?}, keeps {keeps}"));
        self.hosts.push(Host {
            machine: Machine::new(config),
            workers: vec![],
            sessions: vec![],
            wishes: wish.is_some(),
            dead: false,
            exit: None,
            paused_until: 0,
            generation: 1,
            wanted: workers,
            fifo: vec![],
        });
        self.grow(host, workers);
    }

    /// Starts workers until there are so many.
    fn grow(&mut self, host: usize, workers: u32) {
        let there = self.hosts[host].workers.len() as u32;
        for worker in (there..workers).map(WorkerIndex) {
            self.lives += 1;
            let fake = FakeWorker::new(worker, self.lives);
            self.hosts[host].workers.push((self.lives, fake));
            self.hosts[host].sessions.push(self.lives);
            self.hosts[host].fifo.push(0);
            let delay = if there == 0 { 1 } else { self.between(1, 4000) };
            self.at(delay, What::Event { host, life: None, event: Event::Attached(worker) });
            self.at(1, What::Emit { host, worker, life: self.lives });
        }
    }

    /// Now and then a user wants to go back to a snapshot, any, or to nothing.
    fn wish(&mut self) -> Option<Wish> {
        if !self.chance.hits(150) {
            return None;
        }
        let last = self.outside.log().len() as i64;
        let seq = Seq(self.between(0, last) as u64);
        let request = self.chance.hits(500).then_some(seq.0 % 3);
        let empty = seq.0 == 0 || self.chance.hits(200);
        Some(if empty { Wish::Empty { request } } else { Wish::Snapshot { seq, request } })
    }

    fn alive(&self, host: usize) -> bool {
        !self.hosts[host].dead && self.hosts[host].exit.is_none()
    }

    fn living(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| self.alive(*host)).collect()
    }

    fn has_life(&self, host: usize, worker: WorkerIndex, life: u64) -> bool {
        self.alive(host) && self.hosts[host].workers[worker.0 as usize].0 == life
    }

    /// Feeds a coordinator, and sends what it says.
    fn feed(&mut self, host: usize, event: &Event) {
        if !self.alive(host) {
            return;
        }
        let now = Timestamp(self.now);
        if !matches!(event, Event::Tick) {
            self.say(format!("host {host} <- {}", brief(event)));
        }
        self.note_left(host, event);
        let actions = self.hosts[host].machine.on(event, now);
        for action in actions {
            match action {
                Action::Send(worker, command) => self.send(host, worker, command),
                Action::Dismiss(worker) => {
                    self.say(format!("host {host} dismisses worker {worker}"));
                    // What was sent to it does not arrive; what it says may have been on its way.
                    self.hosts[host].sessions[worker.0 as usize] = 0;
                    let delay = self.between(1, 3000);
                    self.at(delay, What::Return { host, worker });
                }
                Action::Status(status) => self.rescaled |= status.stood.is_some(),
                Action::Exit(outcome) => {
                    self.say(format!("host {host} exits: {outcome:?}"));
                    let refused = matches!(&outcome, Outcome::Failed(failure)
                        if self.hosts[host].wishes && failure.kind == ErrorKind::Invalid);
                    assert!(refused || !matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
                    self.hosts[host].exit = Some(outcome);
                }
            }
        }
        if let Some(at) = self.hosts[host].machine.wake_at() {
            let delay = (at.0 - self.now).max(0);
            // One more tick than needed does no harm, and the machine must not be starved of one.
            self.at(delay, What::Event { host, life: None, event: Event::Tick });
        }
    }

    fn send(&mut self, host: usize, worker: WorkerIndex, command: Command) {
        let gives = matches!(command, Command::Deploy(_) | Command::Start { .. });
        let is_left = self.left.contains(&(host, worker));
        assert!(!gives || !is_left, "{worker} leaves, and is told {command:?}");
        let kept = matches!(command, Command::Start { .. } | Command::Stop);
        if !kept && self.chance.hits(10) {
            return self.say(format!("lost: {command:?}").chars().take(60).collect::<String>());
        }
        let delay = if self.chance.hits(20) { self.between(1, 30_000) } else { self.between(1, 5) };
        let fifo = &mut self.hosts[host].fifo[worker.0 as usize];
        *fifo = (*fifo).max(self.now + delay);
        let delay = *fifo - self.now;
        let life = self.hosts[host].sessions[worker.0 as usize];
        self.at(delay, What::Command { host, worker, life, command });
    }

    fn report(&mut self, host: usize, worker: WorkerIndex, report: &Report) {
        let kept = matches!(report, Report::Finished { .. } | Report::TaskFailed { .. });
        if !kept && self.chance.hits(15) {
            return;
        }
        let life = Some((worker, self.hosts[host].workers[worker.0 as usize].0));
        let copies = if self.chance.hits(30) { 2 } else { 1 };
        for _ in 0..copies {
            let late = self.chance.hits(30);
            let delay = if late { self.between(1, 40_000) } else { self.between(1, 20) };
            let event = Event::Report(worker, report.clone());
            self.at(delay, What::Event { host, life, event });
        }
    }

    fn step(&mut self, what: What) {
        let of = match &what {
            What::Command { host, .. }
            | What::Event { host, .. }
            | What::Emit { host, .. }
            | What::Return { host, .. }
            | What::Die { host, .. } => Some(*host),
            What::Land { .. } | What::Retire { .. } | What::NewHost | What::Fault => None,
        };
        if let Some(host) = of
            && self.hosts[host].paused_until > self.now
        {
            let delay = self.hosts[host].paused_until - self.now;
            return self.at(delay, what);
        }
        match what {
            What::Command { host, worker, life, command } => {
                self.command(host, worker, life, command);
            }
            What::Event { host, life, event } => {
                let gone = life.is_some_and(|(worker, life)| !self.has_life(host, worker, life));
                // Ticks are queued once per change; only one that is due counts.
                let early = matches!(event, Event::Tick)
                    && self.hosts[host].machine.wake_at().is_none_or(|at| at.0 > self.now);
                if let Event::Lost(worker, _) = &event {
                    self.at(1000, What::Return { host, worker: *worker });
                }
                if !gone && !early {
                    self.feed(host, &event);
                }
            }
            What::Emit { host, worker, life } if self.has_life(host, worker, life) => {
                let reports = self.hosts[host].workers[worker.0 as usize].1.emit();
                for report in &reports {
                    self.report(host, worker, report);
                }
                let delay = self.between(50, 800);
                self.at(delay, What::Emit { host, worker, life });
            }
            What::Return { host, worker } if self.alive(host) => {
                let life = self.hosts[host].workers[worker.0 as usize].0;
                self.hosts[host].sessions[worker.0 as usize] = life;
                self.at(1, What::Emit { host, worker, life });
                self.feed(host, &Event::Attached(worker));
            }
            What::Die { host, worker, life } if self.has_life(host, worker, life) => {
                self.kill_worker(host, worker);
            }
            What::Emit { .. } | What::Return { .. } | What::Die { .. } => {}
            What::Land { seq, text } => {
                let landed = self.outside.append(seq, &text).is_ok();
                self.say(format!("late append to {seq}: landed {landed}"));
            }
            What::Retire { retain } => {
                let seqs: Vec<_> = retain.tombstones.iter().map(|(seq, _)| seq.0).collect();
                self.say(format!("late retention of {seqs:?}"));
                retire(&retain, &mut self.outside, &mut self.chance);
            }
            What::NewHost => self.new_host(),
            What::Fault => self.fault(),
        }
    }

    fn command(&mut self, host: usize, worker: WorkerIndex, life: u64, command: Command) {
        if self.hosts[host].dead || self.hosts[host].workers[worker.0 as usize].0 != life {
            return;
        }
        self.say(format!("host {host} worker {worker}: {}", brief_command(&command)));
        // Few commands come while a job is taken over, which takes a moment.
        let is_rare = matches!(command, Command::Adopt { .. });
        if self.chance.hits(if is_rare { 30 } else { 2 }) {
            self.leave(host, worker);
        }
        let fake = &mut self.hosts[host].workers[worker.0 as usize].1;
        let reports = fake.on(command, &mut self.outside, &mut self.chance);
        let (stalled, retiring) = std::mem::take(&mut fake.stalled);
        for (seq, text) in stalled {
            let delay = self.between(100, 90_000);
            self.at(delay, What::Land { seq, text });
        }
        for retain in retiring {
            let delay = self.between(100, 90_000);
            self.at(delay, What::Retire { retain });
        }
        for report in &reports {
            self.report(host, worker, report);
        }
    }

    pub(super) fn run(&mut self) {
        let faults_end = self.between(10_000, 150_000);
        self.new_host();
        if self.chance.on {
            self.at(500, What::Fault);
        }
        let mut steps = 0;
        while let Some(((at, _), what)) = self.queue.pop_first() {
            steps = if at > self.now { 0 } else { steps + 1 };
            assert!(steps < STEPS_MAX, "time stands still: {what:?}");
            self.now = at;
            if self.chance.on && at > faults_end {
                self.say("--- faults stop");
                self.chance.on = false;
                self.queue.retain(|_, what| !matches!(what, What::Fault));
            }
            if !self.chance.on {
                if self.living().is_empty() {
                    if self.outside.finished() {
                        break;
                    }
                    self.new_host();
                }
                assert!(at < faults_end + CALM_MAX, "the job does not end");
            }
            self.step(what);
        }
        let mut seen = self.outside.history();
        seen.sort_unstable();
        let count = seen.len();
        seen.dedup();
        assert_eq!(count, seen.len(), "a record is visible twice");
        assert_eq!(seen.len(), RECORDS, "a record is lost");
    }
}

fn brief(event: &Event) -> String {
    format!("{event:?}").chars().take(160).collect()
}

fn brief_command(command: &Command) -> String {
    format!("{command:?}").chars().take(110).collect()
}
