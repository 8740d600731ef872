//! [`Keys`]: spells every key of a sink in a bucket, and reads them back.
//!
//! Used by the writer and the committer. Invariant: keys of one sink begin alike, those of no other
//! do, and their order is that of the epochs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_protocol::access::Access;
use millstream_protocol::id::{Epoch, Run};
use xxhash_rust::xxh3::xxh3_64;

use super::super::name::{check_prefix, default_prefix, escaped};
use crate::error::Result;
use crate::sink::SinkContext;

/// Digits of an epoch in a key: with leading zeros, a listing comes in order. One a second fills
/// them in three hundred years.
const EPOCH_DIGITS: usize = 10;

/// The keys of one task of a sink.
#[derive(Clone, Debug)]
pub(in super::super) struct Keys {
    pub(super) bucket: String,
    pub(super) access: Access,
    /// What stands in front of an epoch.
    stem: String,
    extension: &'static str,
    /// The sink's id.
    pub(super) sink: Arc<str>,
    /// What the metadata of this task's objects begins with.
    writer: String,
    pub(super) run: Run,
    pub(super) task: u32,
    parallelism: u32,
    /// The last epoch that was cut; before the first, the one that the run goes on from.
    last_cut: Arc<AtomicU64>,
}

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) epoch: Epoch,
    pub(super) run: Run,
    pub(super) task: u32,
}

impl Keys {
    pub(in super::super) fn new(
        (bucket, folder): (String, String),
        prefix: Option<&str>,
        ctx: &SinkContext,
        extension: &'static str,
    ) -> Result<Self> {
        check_prefix(prefix)?;
        let whose = default_prefix(ctx);
        // Uploads are known by their keys alone: two sinks that were given one prefix must not give
        // up each other's.
        let own = |prefix| format!("{prefix}.{:08x}", xxh3_64(whose.as_bytes()) as u32);
        let name = prefix.map_or_else(|| whose.clone(), own);
        let folder = match folder.trim_end_matches('/') {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let opened = ctx.clock.now().0;
        Ok(Self {
            bucket,
            access: Access::default(),
            stem: format!("{folder}{name}-"),
            extension,
            sink: ctx.info.operator.clone(),
            writer: format!("{}/{}/{opened}", escaped(&ctx.job), escaped(&ctx.info.operator)),
            run: ctx.run,
            task: ctx.info.task.0,
            parallelism: ctx.info.parallelism,
            last_cut: Arc::default(),
        })
    }

    /// What is written from here on belongs to later epochs than this one.
    pub(super) fn cut(&self, epoch: Epoch) {
        self.last_cut.store(epoch.0, Ordering::Relaxed);
    }

    /// The first epoch that what is written now can belong to. It may belong to a later one, where
    /// that one is given up; it never belongs to an epoch before.
    pub(super) fn next_epoch(&self) -> Epoch {
        Epoch(self.last_cut.load(Ordering::Relaxed).saturating_add(1))
    }

    pub(in super::super) fn reached_by(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The key of the object with this number that no epoch before this one holds.
    pub(super) fn key(&self, epoch: Epoch, number: u64) -> String {
        let (stem, run, task) = (&self.stem, self.run, self.task);
        format!("{stem}{:0EPOCH_DIGITS$}-{run}-{task}-{number}.{}", epoch.0, self.extension)
    }

    /// What the object with this number is known by.
    pub(super) fn writer(&self, number: u64) -> String {
        format!("{}/{}-{}-{number}", self.writer, self.run, self.task)
    }

    /// What all keys of the sink begin with.
    pub(super) fn all(&self) -> &str {
        &self.stem
    }

    /// Keys of later epochs sort behind it, and no others.
    pub(super) fn behind(&self, epoch: Epoch) -> String {
        format!("{}{:0EPOCH_DIGITS$}", self.stem, epoch.0.saturating_add(1))
    }

    /// All keys of the sink, for messages.
    pub(super) fn targets(&self) -> String {
        let name = format!("<epoch>-<run>-<task>-<number>.{}", self.extension);
        format!("s3://{}/{}{name}", self.bucket, self.stem)
    }

    /// What a key says; none where it is not of this sink.
    pub(super) fn read(&self, key: &str) -> Option<Told> {
        let (name, _) = key.strip_prefix(&self.stem)?.split_once('.')?;
        let [epoch, run, task, number] = name.split('-').collect::<Vec<_>>().try_into().ok()?;
        let _: u64 = number.parse().ok()?;
        let epoch = Epoch(epoch.parse().ok().filter(|_| epoch.len() >= EPOCH_DIGITS)?);
        Some(Told { epoch, run: Run(run.parse().ok()?), task: task.parse().ok()? })
    }

    /// Whether an upload was left by a lower run, by a task whose uploads this task looks after.
    pub(super) fn is_left_over(&self, key: &str) -> bool {
        let told = self.read(key);
        told.is_some_and(|it| it.run < self.run && it.task % self.parallelism == self.task)
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::TaskIndex;
    use millstream_protocol::key_group::KeyGroups;

    use super::*;
    use crate::clock::ManualClock;
    use crate::task::TaskInfo;

    fn keys(prefix: Option<&str>, sink: &str) -> Keys {
        let info = TaskInfo {
            operator: sink.into(),
            task: TaskIndex(1),
            parallelism: 2,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        };
        let (clock, job) = (Arc::new(ManualClock::default()), "plants/averages".into());
        let ctx = SinkContext { info, run: Run(7), job, history: Arc::default(), clock };
        Keys::new(("b".into(), "out/".into()), prefix, &ctx, "csv").unwrap()
    }

    #[test]
    fn keys_say_which_sink_epoch_run_and_task_an_object_is_of() {
        let default = keys(None, "by hour");
        let key = default.key(Epoch(12), 5);
        assert_eq!(key, "out/plants.averages.by%20hour-0000000012-7-1-5.csv");
        let told = Told { epoch: Epoch(12), run: Run(7), task: 1 };
        assert_eq!(default.read(&key), Some(told));
        let behind = default.behind(Epoch(11));
        assert!(behind < key && default.key(Epoch(11), 9) < behind);
        assert_eq!(default.writer(5), "plants%2Faverages/by%20hour/0/7-1-5");
        for other in ["out/plants.averages.by%20hour-x-0000000012-7-1-5.csv", "out/a.csv", ""] {
            assert_eq!(default.read(other), None, "{other}");
        }
    }

    #[test]
    fn sinks_that_are_given_one_prefix_keep_apart() {
        let (one, other) = (keys(Some("a"), "x"), keys(Some("a"), "y"));
        let key = one.key(Epoch(1), 0);
        assert!(key.starts_with("out/a.") && one.read(&key).is_some(), "{key}");
        assert_eq!(other.read(&key), None);
    }

    #[test]
    fn a_task_gives_up_what_lower_runs_and_its_own_tasks_left_only() {
        let keys = keys(None, "c");
        let left = |run: u64, task: u32| {
            let of = Keys { run: Run(run), task, ..keys.clone() };
            keys.is_left_over(&of.key(Epoch(3), 0))
        };
        assert!(left(6, 1) && left(6, 3));
        assert!(!left(7, 1) && !left(8, 1) && !left(6, 2));
    }
}
