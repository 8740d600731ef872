//! Sessions within one process: a pair of channels for each worker.
//!
//! Received from: `run`, which starts coordinator and workers together. Handed to: the
//! [`Driver`](crate::driver::Driver) as its [`Session`], and to each worker as a [`Link`].
//! Invariant: queues are bounded, and the coordinator never waits for a worker.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use millstream_protocol::id::WorkerIndex;
use millstream_protocol::session::{Command, Report};
use tokio::sync::mpsc;

use crate::driver::Session;
use crate::machine::Event;

/// Commands that may wait for a worker. A coordinator has a handful outstanding; a worker that lets
/// so many lie is as good as dead.
const COMMANDS_MAX: usize = 256;
/// Reports of one worker that may wait for the coordinator; behind that the worker waits.
const REPORTS_MAX: usize = 64;

/// A worker's end. Dropping it tells the coordinator that the worker is lost.
#[derive(Debug)]
pub struct Link {
    /// Which worker this is.
    pub worker: WorkerIndex,
    /// What the coordinator says; none once the coordinator is gone.
    pub commands: mpsc::Receiver<Command>,
    /// Where reports go. An error means that the coordinator is gone.
    pub reports: mpsc::Sender<Report>,
}

/// The coordinator's end for all workers.
#[derive(Debug)]
pub struct ChannelSession {
    workers: Vec<Option<Peer>>,
    events: VecDeque<Event>,
    /// Who is asked first for a report, so that no worker starves the others.
    first: usize,
}

#[derive(Debug)]
struct Peer {
    commands: mpsc::Sender<Command>,
    reports: mpsc::Receiver<Report>,
}

/// Both ends of the sessions of `workers` workers, all attached.
pub fn session(workers: u32) -> (ChannelSession, Vec<Link>) {
    let (mut peers, mut links, mut events) = (Vec::new(), Vec::new(), VecDeque::new());
    for worker in (0..workers).map(WorkerIndex) {
        let (send_command, commands) = mpsc::channel(COMMANDS_MAX);
        let (reports, receive_report) = mpsc::channel(REPORTS_MAX);
        peers.push(Some(Peer { commands: send_command, reports: receive_report }));
        links.push(Link { worker, commands, reports });
        events.push_back(Event::Attached(worker));
    }
    (ChannelSession { workers: peers, events, first: 0 }, links)
}

impl ChannelSession {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        let count = self.workers.len();
        for step in 0..count {
            let index = (self.first + step) % count;
            let Some(peer) = &mut self.workers[index] else { continue };
            let Poll::Ready(report) = peer.reports.poll_recv(cx) else { continue };
            self.first = (index + 1) % count;
            let worker = WorkerIndex(index as u32);
            return Poll::Ready(Some(if let Some(report) = report {
                Event::Report(worker, report)
            } else {
                self.workers[index] = None;
                Event::Lost(worker, "its end of the channel is closed".to_owned())
            }));
        }
        if self.workers.iter().all(Option::is_none) { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Session for ChannelSession {
    fn send(&mut self, worker: WorkerIndex, command: Command) -> Result<(), String> {
        let slot = self.workers.get_mut(worker.0 as usize).ok_or("there is no such worker")?;
        let peer = slot.as_mut().ok_or("its end of the channel is closed")?;
        match peer.commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(error) => {
                *slot = None;
                Err(format!("it takes no commands: {error}"))
            }
        }
    }

    fn dismiss(&mut self, worker: WorkerIndex) {
        if let Some(slot) = self.workers.get_mut(worker.0 as usize) {
            *slot = None;
        }
    }

    /// What was sent lies at the workers' ends.
    async fn close(&mut self) {
        self.workers.clear();
    }

    async fn recv(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll(cx)).await
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::Run;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_arrives_and_an_end_that_is_dropped_is_a_loss() {
        let (mut session, mut links) = session(2);
        assert_eq!(session.recv().await, Some(Event::Attached(WorkerIndex(0))));
        assert_eq!(session.recv().await, Some(Event::Attached(WorkerIndex(1))));
        session.send(WorkerIndex(1), Command::Start { run: Run(3) }).unwrap();
        let mut one = links.pop().unwrap();
        assert_eq!(one.commands.recv().await, Some(Command::Start { run: Run(3) }));
        let report = Report::Finished { run: Run(3) };
        one.reports.send(report.clone()).await.unwrap();
        assert_eq!(session.recv().await, Some(Event::Report(WorkerIndex(1), report)));
        drop(one);
        assert!(matches!(session.recv().await, Some(Event::Lost(WorkerIndex(1), _))));
        assert!(session.send(WorkerIndex(1), Command::Stop).is_err());
        drop(links);
        assert!(matches!(session.recv().await, Some(Event::Lost(WorkerIndex(0), _))));
        assert_eq!(session.recv().await, None);
    }

    #[tokio::test]
    async fn a_worker_that_takes_nothing_is_lost_not_waited_for() {
        let (mut session, _links) = session(1);
        let refused =
            (0..=COMMANDS_MAX).find(|_| session.send(WorkerIndex(0), Command::Stop).is_err());
        assert_eq!(refused, Some(COMMANDS_MAX));
    }
}
