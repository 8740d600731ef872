//! [`Names`]: spells every path of a sink, and reads them back.
//!
//! Used by the writer and the committer. Invariant: the files that wait lie in a directory that
//! belongs to one sink of one job alone, and each name there says which run and task wrote it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_protocol::id::{Epoch, Run};

use super::super::fail;
use crate::error::{Error, Result};
use crate::sink::SinkContext;

/// Where files wait. The dot keeps the files source, and most other readers, away.
const PENDING: &str = ".pending";

/// The paths of one task of a sink.
#[derive(Debug)]
pub(super) struct Names {
    directory: PathBuf,
    waiting: PathBuf,
    prefix: String,
    extension: &'static str,
    /// The sink's id.
    pub(super) sink: Arc<str>,
    pub(super) run: Run,
    pub(super) task: u32,
    pub(super) parallelism: u32,
}

impl Names {
    pub(super) fn new(
        directory: &Path,
        prefix: Option<&str>,
        ctx: &SinkContext,
        extension: &'static str,
    ) -> Result<Self> {
        check_prefix(prefix)?;
        let (job, sink) = (escaped(&ctx.job), escaped(&ctx.info.operator));
        Ok(Self {
            directory: directory.to_owned(),
            waiting: directory.join(PENDING).join(job).join(&sink),
            prefix: prefix.map_or_else(|| default_prefix(ctx), str::to_owned),
            extension,
            sink: ctx.info.operator.clone(),
            run: ctx.run,
            task: ctx.info.task.0,
            parallelism: ctx.info.parallelism,
        })
    }

    /// Where files appear.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the files of this sink wait.
    pub(super) fn waiting(&self) -> &Path {
        &self.waiting
    }

    /// Makes the directories, durably.
    pub(super) fn make_directories(&self) -> Result<()> {
        let waiting = self.waiting();
        std::fs::create_dir_all(waiting).map_err(|error| fail("cannot create", waiting, error))?;
        let above = waiting.ancestors().take_while(|path| path.starts_with(&self.directory));
        for path in above {
            sync_directory(path)?;
        }
        Ok(())
    }

    /// Where the file with this number is written.
    pub(super) fn pending(&self, number: u64) -> PathBuf {
        let name = format!("{}-{}-{number}.{}", self.run, self.task, self.extension);
        self.waiting.join(name)
    }

    /// Where it appears.
    pub(super) fn target(&self, epoch: Epoch, number: u64) -> PathBuf {
        let (prefix, run, task) = (&self.prefix, self.run, self.task);
        self.directory.join(format!("{prefix}-{run}-{epoch}-{task}-{number}.{}", self.extension))
    }

    /// The files that appear, for messages: of which job and sink they are, and what else is told
    /// by their names.
    pub(super) fn targets(&self) -> String {
        let name = format!("{}-<run>-<epoch>-<task>-<number>.{}", self.prefix, self.extension);
        self.directory.join(name).display().to_string()
    }

    /// The notes of all tasks, for messages, as a shell takes it.
    pub(super) fn notes(&self) -> String {
        self.waiting.join("done-*").display().to_string()
    }

    /// Where a task notes which epoch it has committed, beside its files that wait.
    pub(super) fn done(waiting: &Path, task: u32) -> PathBuf {
        waiting.join(format!("done-{task}"))
    }

    /// The task whose note a file is.
    pub(super) fn noted_by(name: &str) -> Option<u32> {
        name.strip_prefix("done-").and_then(|task| task.parse().ok())
    }

    /// Whether a file is such a note, of a task that this task looks after.
    pub(super) fn is_note(&self, name: &str) -> bool {
        Self::noted_by(name).is_some_and(|task| task % self.parallelism == self.task)
    }

    /// Whether a file that waits was left by a lower run, by a task whose files this task looks
    /// after.
    pub(super) fn is_left_over(&self, name: &str) -> bool {
        let mut parts = name.splitn(3, '-');
        let run = parts.next().and_then(|run| run.parse::<u64>().ok());
        let task = parts.next().and_then(|task| task.parse::<u32>().ok());
        match (run, task, parts.next()) {
            (Some(run), Some(task), Some(_)) => {
                Run(run) < self.run && task % self.parallelism == self.task
            }
            _ => false,
        }
    }
}

/// Brings the entries of a directory to disk.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    let directory = std::fs::File::open(path).and_then(|directory| directory.sync_all());
    directory.map_err(|error| fail("cannot sync", path, error))
}

/// Fails if no name can begin so.
pub(super) fn check_prefix(prefix: Option<&str>) -> Result<()> {
    if prefix.is_some_and(|it| it.is_empty() || it.starts_with('.') || it.contains('/')) {
        return Err(Error::invalid(
            "prefix: names of files cannot begin with it; leave out slashes and leading dots",
        ));
    }
    Ok(())
}

/// What names begin with where nothing else is said: no two sinks have the same.
pub(super) fn default_prefix(ctx: &SinkContext) -> String {
    format!("{}.{}", escaped(&ctx.job.replace('/', ".")), escaped(&ctx.info.operator))
}

/// A name as one part of a path, no two names the same.
pub(super) fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if place == 0 => escaped.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                escaped.push(byte.into());
            }
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::TaskIndex;
    use millstream_protocol::key_group::KeyGroups;

    use super::*;
    use crate::clock::SystemClock;
    use crate::task::TaskInfo;

    fn names(job: &str, sink: &str, task: u32, parallelism: u32) -> Names {
        let info = TaskInfo {
            operator: sink.into(),
            task: TaskIndex(task),
            parallelism,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        };
        let clock = Arc::new(SystemClock::new());
        let job = job.into();
        let ctx = SinkContext { info, run: Run(7), job, history: Arc::default(), clock };
        Names::new(Path::new("out"), None, &ctx, "csv").unwrap()
    }

    #[test]
    fn names_say_which_job_sink_run_epoch_and_task_a_file_is_of() {
        let names = names("plants/averages", "by hour", 2, 3);
        assert_eq!(
            names.pending(5).to_str().unwrap(),
            "out/.pending/plants%2Faverages/by%20hour/7-2-5.csv"
        );
        assert_eq!(
            names.target(Epoch(12), 5).to_str().unwrap(),
            "out/plants.averages.by%20hour-7-12-2-5.csv"
        );
        assert_eq!(escaped("../x"), "%2E.%2Fx");
    }

    #[test]
    fn a_task_clears_after_lower_runs_and_its_own_tasks_only() {
        let names = names("a/b", "c", 1, 2);
        assert!(names.is_left_over("6-1-0.csv") && names.is_left_over("6-3-0.csv"));
        for kept in ["7-1-0.csv", "8-1-0.csv", "6-2-0.csv", "6-1", "notes.txt"] {
            assert!(!names.is_left_over(kept), "{kept}");
        }
    }
}
