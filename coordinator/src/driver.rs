//! The driver: feeds the machine, and carries out what it decides.
//!
//! Received from: a [`Session`], a [`Clock`] and the holder of a [`Handle`]. Handed to: the
//! session. It decides nothing. Invariant: actions are carried out in order, and it never waits for
//! a worker.

use std::collections::VecDeque;
use std::future::Future;
use std::time::{Duration, SystemTime};

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Seq, WorkerIndex};
use millstream_protocol::session::Command;
use millstream_protocol::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::config::Config;
use crate::edit::Edit;
use crate::machine::{Action, Event, Machine, Outcome, StopMode};
use crate::status::Status;

/// Requests that may wait for the driver; a user's signals, so a few are plenty.
const REQUESTS_MAX: usize = 16;

/// The way to a job's workers and back.
pub trait Session: Send {
    /// Hands a command over without waiting; commands to one worker arrive in order. An error, that
    /// says why, means that the worker is lost.
    fn send(&mut self, worker: WorkerIndex, command: Command) -> Result<(), String>;

    /// Ends the session with a worker that is taken for lost.
    fn dismiss(&mut self, worker: WorkerIndex);

    /// Ends all sessions, once what was sent to the workers has reached them, or after a second.
    fn close(&mut self) -> impl Future<Output = ()> + Send;

    /// The next [`Event::Attached`], [`Event::Lost`] or [`Event::Report`]; none once no worker can
    /// ever come again. Dropping the future loses no event.
    fn recv(&mut self) -> impl Future<Output = Option<Event>> + Send;
}

/// The time, and waiting for it.
pub trait Clock: Send {
    /// The time. It does not run backward.
    fn now(&self) -> Timestamp;

    /// Returns at this time or later.
    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()> + Send;
}

/// The machine's clock: wall-clock time at its creation, and the monotonic clock since.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    origin: Instant,
    wall: Timestamp,
}

impl WallClock {
    /// A clock that shows the time of day.
    #[allow(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), wall: Timestamp(0).after(wall) }
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        self.wall.after(self.origin.elapsed())
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    async fn sleep_until(&self, at: Timestamp) {
        // Timestamps are cut to milliseconds: without the one more, a tick would come just too
        // early.
        let wait = at.since(self.wall) + Duration::from_millis(1);
        tokio::time::sleep_until(self.origin + wait).await;
    }
}

/// What a user may ask of a running coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Stop the job.
    Stop(StopMode),
    /// Stop it behind a snapshot that is kept: the status says what became of it, with this number.
    StopWithSavepoint(u64),
    /// Let the job be something else from now on.
    Edit(Box<Edit>),
    /// Take a snapshot now.
    Snapshot,
    /// Take one that is kept: the status says what became of it, with this number.
    Savepoint(u64),
    /// Delete the savepoint in this slot: the status says what became of it.
    LetGo(Seq),
}

/// How others reach a running coordinator.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Takes requests. Closed once the coordinator has ended.
    pub requests: mpsc::Sender<Request>,
    /// Shows the status, always the newest.
    pub status: watch::Receiver<Status>,
}

/// Feeds the machine, and carries out what it decides.
#[derive(Debug)]
pub struct Driver<S, C> {
    /// In a box: whoever runs it moves it about.
    machine: Box<Machine>,
    session: S,
    clock: C,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Status>,
}

impl<S: Session, C: Clock> Driver<S, C> {
    /// A driver for one job, and the handle on it.
    pub fn new(config: Config, session: S, clock: C) -> (Self, Handle) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let machine = Box::new(Machine::new(config));
        let (sender, status) = watch::channel(machine.status().clone());
        let driver = Self { machine, session, clock, requests: receiver, status: sender };
        (driver, Handle { requests, status })
    }

    /// Runs the job to its end. Dropping the future stops nothing but the coordinator: workers
    /// notice by their sessions.
    pub async fn run(mut self) -> Outcome {
        loop {
            let Some(events) = self.next_events().await else {
                let message = "all sessions are closed and no worker can come again";
                return Outcome::Failed(Failure::new(ErrorKind::Unavailable, message));
            };
            if let Some(outcome) = self.take(events) {
                // A worker that was told to stop is not to see the session end before it hears so.
                self.session.close().await;
                return outcome;
            }
        }
    }

    async fn next_events(&mut self) -> Option<VecDeque<Event>> {
        let Self { machine, session, clock, requests, .. } = self;
        let wake_at = machine.wake_at();
        let tick = async {
            match wake_at {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            // A due time goes first: a flood of reports must not put off a time-out.
            biased;
            () = tick => Event::Tick,
            Some(request) = requests.recv() => match request {
                Request::Stop(mode) => Event::Stop(mode),
                Request::StopWithSavepoint(request) => {
                    let stop = Event::Stop(StopMode::AfterSnapshot);
                    return Some([stop, Event::Savepoint(request)].into());
                }
                Request::Edit(edit) => Event::Edit(edit),
                Request::Snapshot => Event::Snapshot,
                Request::Savepoint(request) => Event::Savepoint(request),
                Request::LetGo(seq) => Event::LetGo(seq),
            },
            event = session.recv() => event?,
        };
        Some([event].into())
    }

    /// Handles events, and the losses of workers that come of it.
    fn take(&mut self, mut events: VecDeque<Event>) -> Option<Outcome> {
        let mut outcome = None;
        while let Some(event) = events.pop_front() {
            tracing::trace!(?event);
            for action in self.machine.on(&event, self.clock.now()) {
                match action {
                    Action::Send(worker, command) => {
                        if let Err(reason) = self.session.send(worker, command) {
                            events.push_back(Event::Lost(worker, reason));
                        }
                    }
                    Action::Dismiss(worker) => self.session.dismiss(worker),
                    Action::Status(status) => {
                        self.status.send_replace(*status);
                    }
                    Action::Exit(exit) => outcome = Some(exit),
                }
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel;
    use crate::status::Phase;
    use crate::testing::host;

    /// Runs the model's workers as tasks on channels, against the model's store.
    async fn run(workers: u32, request: Option<Request>) -> (Outcome, Status, usize) {
        let world = host::calm();
        let (session, links) = channel::session(workers);
        let (driver, handle) =
            Driver::new(host::config(workers, 1, None), session, WallClock::new());
        let mut served = tokio::task::JoinSet::new();
        for link in links {
            served.spawn(host::serve(link, world.clone()));
        }
        if let Some(request) = request {
            handle.requests.send(request).await.unwrap();
        }
        let outcome = driver.run().await;
        served.join_all().await;
        let seen = world.lock().unwrap().outputs();
        (outcome, handle.status.borrow().clone(), seen)
    }

    #[tokio::test]
    async fn a_bounded_job_runs_to_its_end_on_channels() {
        let (outcome, status, seen) = run(2, None).await;
        assert_eq!(outcome, Outcome::Finished { already: false });
        assert_eq!(status.phase, Phase::Finished);
        assert_eq!(seen, host::RECORDS);
        assert!(status.last_snapshot.is_some());
    }

    /// Says what the driver does last.
    struct Watched(channel::ChannelSession, std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);

    impl Session for Watched {
        fn send(&mut self, worker: WorkerIndex, command: Command) -> Result<(), String> {
            self.1.lock().unwrap().push(if command == Command::Stop { "stop" } else { "else" });
            self.0.send(worker, command)
        }

        fn dismiss(&mut self, worker: WorkerIndex) {
            self.0.dismiss(worker);
        }

        async fn close(&mut self) {
            self.1.lock().unwrap().push("close");
            self.0.close().await;
        }

        async fn recv(&mut self) -> Option<Event> {
            self.0.recv().await
        }
    }

    #[tokio::test]
    async fn workers_are_told_to_stop_and_then_the_session_is_closed() {
        let (session, links) = channel::session(2);
        let done = std::sync::Arc::default();
        let session = Watched(session, std::sync::Arc::clone(&done));
        let (driver, _handle) = Driver::new(host::config(2, 1, None), session, WallClock::new());
        let world = host::calm();
        let mut served = tokio::task::JoinSet::new();
        for link in links {
            served.spawn(host::serve(link, world.clone()));
        }
        assert_eq!(driver.run().await, Outcome::Finished { already: false });
        served.join_all().await;
        assert!(done.lock().unwrap().ends_with(&["stop", "stop", "close"]));
    }

    #[tokio::test]
    async fn a_stop_before_anything_runs_is_a_stop() {
        let (outcome, status, seen) = run(1, Some(Request::Stop(StopMode::AfterSnapshot))).await;
        assert_eq!(outcome, Outcome::Suspended { snapshot: false });
        assert_eq!((status.phase, seen), (Phase::Suspended, 0));
    }

    #[tokio::test]
    async fn workers_that_are_gone_for_good_end_the_run() {
        let (session, links) = channel::session(1);
        let (driver, _handle) = Driver::new(host::config(1, 1, None), session, WallClock::new());
        drop(links);
        let Outcome::Failed(failure) = driver.run().await else { panic!("must fail") };
        assert_eq!(failure.kind, ErrorKind::Unavailable);
    }
}
