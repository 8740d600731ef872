//! Sources of different workers wait for each other: each worker is told how far those of all
//! others have come.
//!
//! Received from: [`crate::context`], a worker's [`Report::Drift`]. Handed to: that worker, in
//! answer, and to nobody else: who asks is told, as often as it asks. Invariant: what a worker says
//! counts in its run alone, and nothing is answered before all have been heard of in it.
//!
//! [`Report::Drift`]: millstream_protocol::session::Report::Drift

use millstream_protocol::drift::Marks;
use millstream_protocol::id::{Run, WorkerIndex};
use millstream_protocol::session::Command;

use crate::context::Context;

/// How far the sources of a worker have come, and in which run.
pub(crate) type Heard = Option<(Run, Marks)>;

impl Context {
    /// A worker says how far its sources have come.
    pub(crate) fn answer_drift(&mut self, from: WorkerIndex, run: Run, own: Marks) {
        if self.reign.as_ref().is_none_or(|reign| reign.run != run) {
            return;
        }
        let Some(worker) = self.workers.get_mut(from.0 as usize) else { return };
        worker.marks = Some((run, own));
        let others = self.indexes().zip(&self.workers).filter(|(index, _)| *index != from);
        let marks = others.map(|(_, worker)| worker.marks.filter(|(of, _)| *of == run));
        // Where a coordinator takes over, what workers were told before stands until then.
        let Some(marks) = marks.collect::<Option<Vec<_>>>() else { return };
        let others = marks.into_iter().fold(Marks::default(), |sum, (_, marks)| sum.and(marks));
        self.send(from, Command::Drift { run, others });
    }
}
