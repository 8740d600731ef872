//! Where a task runs: the one function that says so.

use crate::id::{TaskIndex, WorkerIndex};

/// The engine thread of a task: which worker, and which thread of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The worker.
    pub worker: WorkerIndex,
    /// The engine thread within the worker, from 0.
    pub thread: u32,
}

/// The place of task `task` of `parallelism`, given the threads of each worker in order of their
/// ordinals: global thread `floor(task * T / parallelism)`.
///
/// # Panics
/// Where `threads` is empty or all zero, or `task >= parallelism`: a plan is resolved before it is
/// placed.
pub fn place(task: TaskIndex, parallelism: u32, threads: &[u32]) -> Place {
    assert!(task.0 < parallelism, "task {task} of {parallelism}");
    let total: u64 = threads.iter().map(|&t| u64::from(t)).sum();
    let mut thread = u64::from(task.0) * total / u64::from(parallelism);
    for (worker, &count) in (0..).zip(threads) {
        if thread < u64::from(count) {
            return Place { worker: WorkerIndex(worker), thread: thread as u32 };
        }
        thread -= u64::from(count);
    }
    unreachable!("task {task} of {parallelism} lies behind the {total} threads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_spread_evenly_and_in_order() {
        let places: Vec<_> = (0..4).map(|i| place(TaskIndex(i), 4, &[2, 2])).collect();
        let of = |worker, thread| Place { worker: WorkerIndex(worker), thread };
        assert_eq!(places, [of(0, 0), of(0, 1), of(1, 0), of(1, 1)]);
        assert_eq!(place(TaskIndex(0), 1, &[2, 2]), of(0, 0));
        assert_eq!(place(TaskIndex(7), 8, &[1, 1]), of(1, 0));
    }
}
