//! [`Needs`]: which shares of a snapshot the tasks of one worker read, so that a worker neither
//! fetches nor keeps what is another's.
//!
//! Made by [`crate::engine`] from the program and the snapshot's plan, asked by whoever reads parts
//! for a [`Restore`](super::Restore). Invariant: of every share some worker reads what is in it.
//! Where an operator runs with the parallelism that it had, a task finds what has no key in its own
//! share; else in those of all tasks.

use std::collections::HashMap;
use std::ops::Range;

use millstream_protocol::id::TaskIndex;
use millstream_protocol::key_group::KeyGroupRange;

/// Which shares of a snapshot the tasks of one worker read.
#[derive(Debug, Default)]
pub struct Needs(HashMap<String, Need>);

/// The same of one operator, of which a worker has at least one task.
#[derive(Debug)]
pub(crate) struct Need {
    /// Its tasks here.
    pub(crate) tasks: Range<u32>,
    /// Their key groups.
    pub(crate) groups: KeyGroupRange,
    /// Whether it runs with the parallelism that the snapshot was taken with.
    pub(crate) same_parallelism: bool,
    /// Whether all tasks read what the first has kept of a broadcast stream.
    pub(crate) has_broadcast: bool,
}

impl Needs {
    pub(crate) fn add(&mut self, operator: &str, need: Need) {
        self.0.insert(operator.to_owned(), need);
    }

    /// Whether the share that a task of an operator has written is read here. `groups`: what there
    /// is to read from it, of an operator with keyed state.
    pub fn share(&self, operator: &str, task: TaskIndex, groups: Option<KeyGroupRange>) -> bool {
        let Some(need) = self.0.get(operator) else { return false };
        if need.has_broadcast && task == TaskIndex(0) {
            return true;
        }
        match groups {
            Some(groups) => groups.intersect(need.groups).is_some(),
            None => !need.same_parallelism || need.tasks.contains(&task.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::KeyGroup;

    use super::*;

    fn range(start: u16, end: u16) -> KeyGroupRange {
        KeyGroupRange { start: KeyGroup(start), end: KeyGroup(end) }
    }

    fn needs(same_parallelism: bool, has_broadcast: bool) -> Needs {
        let mut needs = Needs::default();
        let need = Need { tasks: 2..4, groups: range(10, 20), same_parallelism, has_broadcast };
        needs.add("sums", need);
        needs
    }

    #[test]
    fn state_by_key_is_read_where_its_groups_are() {
        let has = |groups| needs(true, false).share("sums", TaskIndex(7), Some(groups));
        assert!(has(range(0, 11)) && has(range(19, 30)) && has(range(12, 13)));
        assert!(!has(range(0, 10)) && !has(range(20, 30)));
    }

    #[test]
    fn what_has_no_key_is_read_by_the_task_that_wrote_it_or_by_all() {
        let has = |same, task| needs(same, false).share("sums", TaskIndex(task), None);
        assert_eq!([1, 2, 3, 4].map(|task| has(true, task)), [false, true, true, false]);
        assert_eq!([1, 2, 3, 4].map(|task| has(false, task)), [true; 4]);
    }

    #[test]
    fn what_was_broadcast_is_read_everywhere_and_what_is_not_here_nowhere() {
        let has = |task| needs(true, true).share("sums", TaskIndex(task), Some(range(0, 5)));
        assert!(has(0) && !has(1));
        assert!(!needs(false, true).share("others", TaskIndex(0), None));
    }
}
