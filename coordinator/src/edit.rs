//! Edits of a job's spec while its coordinator is at work.
//!
//! Received from: the driver's holder, as [`Event::Edit`](crate::machine::Event::Edit). Handed to:
//! the states, which ask whether the next spec can be taken up. Invariants: a job that runs keeps
//! the spec in force until all workers of the next one have agreed on it and its newest snapshot
//! fits it; one that is refused has changed nothing; at most one is being prepared; no edit sets a
//! job back that runs.
//!
//! # Caveats
//! Where the last snapshot failed, an edit waits for one that succeeds, however long that takes. It
//! cannot mend what hinders a snapshot of a job that runs: not the store, which does not change
//! while it runs; not a function of the user that fails at it, for that fails the task, and a job
//! that restarts takes every edit at once; and a longer `snapshots.timeout` is in force at once.

use std::collections::BTreeMap;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::job::{JobSpec, SnapshotsSpec, StateSpec};
use millstream_protocol::session::Facts;
use millstream_protocol::wish::Wish;

use crate::agreement;
use crate::context::Context;
use crate::status::{Phase, Refusal};

/// What a user wants a job to be from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Its number: greater than that of every spec before it.
    pub generation: u64,
    /// The whole spec. It has passed [`validate::job`](millstream_protocol::validate::job).
    pub spec: JobSpec,
    /// What to begin from.
    pub wish: Wish,
}

/// A spec that is to replace the one in force.
#[derive(Debug)]
pub(crate) struct Next {
    edit: Edit,
    /// What the workers say of it that have answered.
    facts: BTreeMap<WorkerIndex, Facts>,
    /// The job is being stopped for it.
    taken: bool,
}

/// Whether the next spec can be taken up.
pub(crate) enum Readiness {
    /// There is none, or it is not ready.
    Not,
    /// Its workers are there and agree.
    Ready,
    /// It can never be.
    Never(Failure),
}

/// What taking an edit up asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// The tasks that run go on.
    Live,
    /// New tasks, on as many workers as before.
    Tasks,
    /// New tasks on another number of workers or threads.
    Places,
}

/// What lies between two specs. An error names the field that cannot change.
fn cost(old: &JobSpec, new: &JobSpec) -> Result<Cost, Failure> {
    let JobSpec {
        // Those who start the workers see to these.
        image: _,
        pod_template: _,
        suspend: _,
        program,
        workers,
        threads_per_worker,
        key_groups,
        state: StateSpec { backend, memory, local_volume: _ },
        snapshots,
        // What to begin from is the wish; the rest is heeded where something begins.
        restore: _,
        restart: _,
    } = old;
    let SnapshotsSpec {
        store,
        endpoint,
        region,
        path_style,
        interval: _,
        timeout: _,
        retain: _,
        on_delete: _,
    } = snapshots;
    let fixed = [
        ("spec.keyGroups", *key_groups == new.key_groups),
        ("spec.snapshots.store", *store == new.snapshots.store),
        ("spec.snapshots.endpoint", *endpoint == new.snapshots.endpoint),
        ("spec.snapshots.region", *region == new.snapshots.region),
        ("spec.snapshots.pathStyle", *path_style == new.snapshots.path_style),
    ];
    if let Some((field, _)) = fixed.iter().find(|(_, equal)| !equal) {
        let message = format!("{field}: cannot change while the job runs");
        return Err(Failure::new(ErrorKind::Invalid, message));
    }
    let same_places = *workers == new.workers && *threads_per_worker == new.threads_per_worker;
    let same_tasks =
        *program == new.program && *backend == new.state.backend && *memory == new.state.memory;
    Ok(match (same_places, same_tasks) {
        (false, _) => Cost::Places,
        (true, false) => Cost::Tasks,
        (true, true) => Cost::Live,
    })
}

impl Context {
    /// Takes note of an edit: what it can change at once, it does; for the rest it asks the workers
    /// of the next spec.
    pub(crate) fn edit(&mut self, edit: &Edit) {
        let newest = self.next.as_ref().map_or(self.generation, |next| next.edit.generation);
        let newest = self.later.as_ref().map_or(newest, |later| later.generation);
        if edit.generation <= newest {
            return;
        }
        if self.next.as_ref().is_some_and(|next| next.taken) {
            self.later = Some(edit.clone());
            return;
        }
        let asks = edit.wish.request().filter(|_| edit.wish != self.config.wish);
        match cost(&self.config.spec, &edit.spec) {
            Err(failure) => self.refuse(edit.generation, failure),
            Ok(Cost::Live) if asks.is_none() => {
                self.next = None;
                self.put_in_force(edit.clone());
                self.ask_again();
            }
            Ok(Cost::Live | Cost::Tasks | Cost::Places) => self.prepare(edit.clone()),
        }
    }

    /// Whoever has not answered for the spec before would answer for that one.
    fn ask_again(&mut self) {
        let silent: Vec<WorkerIndex> = self.silent().collect();
        for worker in silent {
            self.hello(worker);
        }
    }

    /// Replaces what was being prepared.
    fn prepare(&mut self, edit: Edit) {
        self.next = None;
        self.know(edit.spec.workers);
        let all = (0..edit.spec.workers).map(WorkerIndex);
        self.next = Some(Next { edit, facts: BTreeMap::new(), taken: false });
        for worker in all {
            self.hello_next(worker);
        }
    }

    /// Says hello for the next spec, where there is one and the worker is one of its.
    pub(crate) fn hello_next(&mut self, worker: WorkerIndex) {
        if let Some(Next { edit, .. }) = &self.next
            && worker.0 < edit.spec.workers
        {
            let (generation, spec) = (edit.generation, edit.spec.clone());
            self.send_hello(worker, generation, spec);
        }
    }

    /// What a worker says of the next spec.
    pub(crate) fn note_next(&mut self, worker: WorkerIndex, facts: &Facts) {
        if let Some(next) = &mut self.next
            && next.edit.generation == facts.generation
        {
            next.facts.insert(worker, facts.clone());
        }
    }

    /// A worker has gone or come anew: what it said does not count.
    pub(crate) fn forget_facts(&mut self, worker: WorkerIndex) {
        if let Some(next) = &mut self.next {
            next.facts.remove(&worker);
        }
    }

    /// A worker cannot serve the next spec, if that is what this is about.
    pub(crate) fn note_unfit(&mut self, generation: u64, failure: &Failure) {
        if self.next.as_ref().is_some_and(|next| next.edit.generation == generation && !next.taken)
        {
            self.next = None;
            self.refuse(generation, failure.clone());
        }
    }

    /// Shows why an edit is not taken up.
    pub(crate) fn refuse(&mut self, generation: u64, failure: Failure) {
        self.status.refused = Some(Refusal { generation, failure });
    }

    /// Whether the next spec can be taken up.
    pub(crate) fn readiness(&self) -> Readiness {
        let Some(next) = &self.next else { return Readiness::Not };
        let all = (0..next.edit.spec.workers).map(WorkerIndex);
        let facts: Option<Vec<&Facts>> = all.map(|worker| next.facts.get(&worker)).collect();
        match facts.map(|facts| agreement::check(&facts, self.config.key_groups)) {
            None => Readiness::Not,
            Some(Ok(())) => Readiness::Ready,
            Some(Err(failure)) => Readiness::Never(failure),
        }
    }

    /// Shows what a next spec waits for that is ready: a snapshot, where the last one failed. Says
    /// whether one does.
    pub(crate) fn holds_next(&mut self) -> bool {
        let failure = self.status.log_failure.as_ref().map(ToString::to_string);
        let failure = failure.or_else(|| self.status.snapshot_failure.clone());
        let ready = || matches!(self.readiness(), Readiness::Ready);
        let waits = self.next.as_ref().zip(failure).filter(|_| ready());
        let held = waits.map(|(next, reason)| Refusal {
            generation: next.edit.generation,
            failure: Failure::new(ErrorKind::Unavailable, held(&reason)),
        });
        self.status.held = held;
        self.status.held.is_some()
    }

    /// The next spec, its wish, and what worker 0 says of it.
    pub(crate) fn next_facts(&self) -> Option<(&Edit, &Facts)> {
        let next = self.next.as_ref()?;
        Some((&next.edit, next.facts.get(&WorkerIndex(0))?))
    }

    /// Gives what was being prepared up, because of this.
    pub(crate) fn refuse_next(&mut self, failure: Failure) {
        if let Some(next) = &self.next {
            let generation = next.edit.generation;
            self.next = None;
            self.refuse(generation, failure);
        }
    }

    /// From here on the job is stopped for the next spec: whatever comes now waits for its turn.
    pub(crate) fn take_next(&mut self) {
        let Some(next) = &mut self.next else { return };
        next.taken = true;
        let moves = cost(&self.config.spec, &next.edit.spec) == Ok(Cost::Places);
        let phase = if moves { Phase::Rescaling } else { Phase::Upgrading };
        self.editing = Some(phase);
        self.still_since = Some(self.now);
        self.status.phase = phase;
    }

    /// No snapshot can be taken behind which the job would go on as something else: the next spec
    /// waits again.
    pub(crate) fn give_next_back(&mut self) {
        if let Some(next) = &mut self.next {
            next.taken = false;
        }
        self.editing = None;
        self.still_since = None;
    }

    /// Puts the next spec in force, if there is one. No task may run.
    pub(crate) fn adopt(&mut self) {
        let Some(Next { edit, mut facts, .. }) = self.next.take() else { return };
        self.put_in_force(edit);
        for worker in self.indexes() {
            let known = facts.remove(&worker);
            self.workers[worker.0 as usize].facts = known;
        }
    }

    /// Whether tasks of this spec can go on under the one in force.
    pub(crate) fn is_like(&self, spec: &JobSpec) -> bool {
        cost(spec, &self.config.spec) == Ok(Cost::Live)
    }

    fn put_in_force(&mut self, Edit { generation, spec, wish }: Edit) {
        self.backoff.limit(spec.restart);
        self.config.spec = spec;
        // One that is under way is carried through; one that was acted upon is due no more.
        if wish != Wish::Latest {
            self.config.wish = wish;
        }
        self.generation = generation;
        self.status.generation = generation;
        self.status.refused = None;
    }

    /// An edit that came while the job was stopped for another has its turn.
    pub(crate) fn edit_later(&mut self) {
        if let Some(later) = self.later.take() {
            self.edit(&later);
        }
    }
}

fn held(reason: &str) -> String {
    format!(
        "it waits for a snapshot, without which the job would be set back: the last attempt \
         failed: {reason}. It goes on as it is until one succeeds; to have the change without, \
         stop the job, or suspend it, and start it again"
    )
}
