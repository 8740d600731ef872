//! What goes wrong in the model, and what its users ask for.

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Seq, WorkerIndex};
use millstream_protocol::session::Report;
use millstream_protocol::wish::Wish;

use super::{What, World};
use crate::config::Config;
use crate::edit::Edit;
use crate::machine::{Event, Machine, StopMode};
use crate::testing::host;
use crate::testing::worker::FakeWorker;

impl World {
    pub(super) fn fault(&mut self) {
        let delay = self.between(300, 6000);
        self.at(delay, What::Fault);
        let living = self.living();
        if living.is_empty() {
            return self.new_host();
        }
        let host = living[self.between(0, living.len() as i64 - 1) as usize];
        let count = self.hosts[host].workers.len() as i64;
        let worker = WorkerIndex(self.between(0, count - 1) as u32);
        self.keep_or_let_go(host);
        match self.between(0, 14) {
            0 | 1 => self.kill_worker(host, worker),
            2 => {
                self.say(format!("host {host} crashes"));
                self.hosts[host].dead = true;
                let delay = self.between(1, 10_000);
                self.at(delay, What::NewHost);
            }
            3 | 4 => {
                // Never shortened: what waits for the end of a pause keeps its order.
                let until = self.hosts[host].paused_until.max(self.now + self.between(100, 60_000));
                self.hosts[host].paused_until = until;
                self.say(format!("host {host} is paused until {until}"));
                let delay = self.between(1, 5000);
                self.at(delay, What::NewHost);
            }
            5 if living.len() < 3 => self.new_host(),
            6 => {
                if let Some(run) = self.hosts[host].workers[worker.0 as usize].1.run() {
                    let failure = Failure::new(ErrorKind::User, "a closure failed");
                    self.report(host, worker, &Report::TaskFailed { run, operator: None, failure });
                }
            }
            13 => self.leave(host, worker),
            7 => self.feed(host, &Event::Snapshot),
            9 | 10 => self.edit(host),
            11 | 12 => self.succeed(host),
            8 => {
                let mode =
                    if self.chance.hits(700) { StopMode::AfterSnapshot } else { StopMode::AtOnce };
                self.feed(host, &Event::Stop(mode));
            }
            _ => {
                let peer = WorkerIndex(self.between(0, count - 1) as u32);
                if let Some(run) = self.hosts[host].workers[worker.0 as usize].1.run() {
                    let reason = "its stream has ended".to_owned();
                    self.report(host, worker, &Report::PeerLost { run, peer, reason });
                }
            }
        }
    }

    /// Whatever else happens, the user now and then wants a savepoint, or does not want a snapshot
    /// any more, mostly one that he asked for.
    ///
    /// # Caveats
    /// Seed 11327 fails: a retention that stalls deletes a savepoint from which a later wish has
    /// begun. The log is to say that a savepoint goes before anybody deletes it.
    fn keep_or_let_go(&mut self, host: usize) {
        if self.chance.hits(300) {
            self.lives += 1;
            return self.feed(host, &Event::Savepoint(self.lives));
        }
        if !self.chance.hits(400) {
            return;
        }
        let saved = self.outside.savepoints();
        let seq = match saved.len() {
            0 => Seq(self.between(0, self.outside.log().len() as i64) as u64),
            count => saved[self.between(0, count as i64 - 1) as usize],
        };
        self.outside.unwanted.insert(seq);
        self.feed(host, &Event::LetGo(seq));
    }

    /// The coordinator dies and another one takes its place, with the same workers.
    fn succeed(&mut self, host: usize) {
        self.say(format!("host {host}: another coordinator"));
        self.lives += 1;
        let seed = self.seed.wrapping_mul(1000) + 500 + self.lives;
        let generation = self.hosts[host].generation;
        let workers = self.hosts[host].wanted;
        let mut config = host::config(workers, seed, None);
        config.generation = generation;
        self.hosts[host].machine = Machine::new(config);
        self.left.retain(|(of, _)| *of != host);
        self.hosts[host].exit = None;
        for index in 0..self.hosts[host].workers.len() {
            // Nothing of the old sessions is heard any more.
            self.lives += 1;
            let worker = WorkerIndex(index as u32);
            self.hosts[host].workers[index].0 = self.lives;
            self.hosts[host].sessions[index] = 0;
            let delay = self.between(1, 4000);
            self.at(delay, What::Return { host, worker });
        }
    }

    /// Keeps in mind which workers leave, and what the job is doing when it hears so.
    pub(super) fn note_left(&mut self, host: usize, event: &Event) {
        match event {
            Event::Report(worker, Report::Leaving) => {
                self.left.insert((host, *worker));
                self.left_in.insert(self.hosts[host].machine.stands().to_owned());
            }
            Event::Attached(worker) | Event::Lost(worker, _) => {
                self.left.remove(&(host, *worker));
            }
            _ => {}
        }
    }

    /// A worker is told to end, says so, and does a while later.
    pub(super) fn leave(&mut self, host: usize, worker: WorkerIndex) {
        self.report(host, worker, &Report::Leaving);
        let delay = self.between(100, 20_000);
        let life = self.hosts[host].workers[worker.0 as usize].0;
        self.at(delay, What::Die { host, worker, life });
    }

    /// The user wants another number of workers, whose processes come up by and by.
    fn edit(&mut self, host: usize) {
        let workers = self.between(1, 4) as u32;
        self.grow(host, workers);
        self.hosts[host].generation += 1;
        self.hosts[host].wanted = workers;
        let generation = self.hosts[host].generation;
        let Config { mut spec, .. } = host::config(workers, 0, None);
        spec.snapshots.retain = self.between(1, 5) as u32;
        let edit = Edit { generation, spec, wish: Wish::Latest };
        self.feed(host, &Event::Edit(Box::new(edit)));
    }

    pub(super) fn kill_worker(&mut self, host: usize, worker: WorkerIndex) {
        self.say(format!("host {host} worker {worker} dies"));
        self.lives += 1;
        let fresh = (self.lives, FakeWorker::new(worker, self.lives));
        self.hosts[host].workers[worker.0 as usize] = fresh;
        let event = Event::Lost(worker, "killed".into());
        let noticed = self.between(1, 5000);
        self.at(noticed, What::Event { host, life: None, event });
    }
}
