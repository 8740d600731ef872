//! [`Lag`]: how many records wait in the partitions of a task.
//!
//! The reader gives it the place where each partition's is told as it names them, and says there
//! what was emitted; [`super::thread`] says where they end, also while it waits for room, when the
//! engine does not ask for records. Invariant: places are in the order of the task's partitions.

use std::sync::{Arc, Mutex, PoisonError};

use super::ends::Ends;
use super::part::Part;
use super::position::Partition;
use super::queue::Client;
use crate::error::Result;
use crate::source::Backlog;

/// Where it is told how much waits, by the partitions' places.
#[derive(Debug, Default)]
pub(super) struct Backlogs(Mutex<Vec<Arc<Backlog>>>);

impl Backlogs {
    /// That of the next partition.
    pub(super) fn push(&self, backlog: Arc<Backlog>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(backlog);
    }

    fn tell(&self, place: usize, end: Option<i64>) {
        let backlogs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backlog) = backlogs.get(place) {
            backlog.ends_at(end.map(|end| u64::try_from(end).unwrap_or(0)));
        }
    }
}

/// Keeps track of the ends of partitions.
pub(super) struct Lag {
    ends: Ends,
    backlogs: Arc<Backlogs>,
}

impl Lag {
    pub(super) fn new(client: &Arc<Client>, backlogs: Arc<Backlogs>) -> Self {
        Self { ends: Ends::of_all(client), backlogs }
    }

    /// Tells what has become known of where partitions end, and asks once more when it is time to.
    pub(super) fn follow(&mut self, parts: &[Part]) -> Result<()> {
        for (place, end) in self.ends.poll() {
            let last = parts.get(place).and_then(|part| part.end);
            // What is behind the end that the program sets is not read.
            self.backlogs.tell(place, end.map(|end| last.map_or(end, |last| last.min(end))));
        }
        if !self.ends.is_due() {
            return Ok(());
        }
        let open = parts.iter().enumerate().filter(|(_, part)| !part.ended);
        let open: Vec<(Partition, usize)> =
            open.map(|(place, part)| (part.partition.clone(), place)).collect();
        self.ends.ask(open)
    }

    /// A partition is read to here, and that is its end up to now.
    pub(super) fn is_at_end(&self, place: usize, end: i64) {
        self.backlogs.tell(place, Some(end));
    }
}
