//! [`Metrics`]: what a worker's process has done, as Prometheus reads it.
//!
//! Counted by [`crate::host`] and by the tasks of the engine, shown by [`crate::health`]. Names and
//! units are in docs/operate/metrics.md. Invariant: nothing is shown that is not counted; what
//! starts again with each run of the job, the tasks' counters, Prometheus takes for a restart.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millstream_dataflow::{Counters, LinkCounts, Links, SplitSeen, TaskInfo, Timestamp};

use crate::host::Shown;

/// What is counted beside the tasks' own counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// The tasks that run.
    pub(crate) shown: Shown,
    /// Those tasks were started.
    runs: AtomicBool,
    /// Where these send to.
    links: Mutex<Option<Links>>,
    captures: AtomicU64,
    capture_ns: AtomicU64,
    commits: AtomicU64,
    commit_ns: AtomicU64,
    uploads: AtomicU64,
    upload_bytes: AtomicU64,
    upload_ns: AtomicU64,
    failed_uploads: AtomicU64,
    restores: AtomicU64,
    restore_ns: AtomicU64,
    disk_bytes: AtomicU64,
    store_bytes: AtomicU64,
}

/// A metric of each task: name, kind, help, value.
type OfTask = (&'static str, &'static str, &'static str, fn(&Counters) -> Option<f64>);

const OF_TASKS: [OfTask; 12] = [
    ("records_in_total", COUNTER, "Records taken in.", |it| count(&it.records_in)),
    ("batches_in_total", COUNTER, "The batches they came in.", |it| count(&it.batches_in)),
    ("records_out_total", COUNTER, "Records put out.", |it| count(&it.records_out)),
    ("late_records_total", COUNTER, "Records too late for their window.", |it| count(&it.late)),
    (
        "failed_records_total",
        COUNTER,
        "Records malformed, or for which a function failed, and left out or put aside.",
        |it| count(&it.failed),
    ),
    ("busy_seconds_total", COUNTER, "Time at work.", |it| seconds(&it.busy_ns)),
    ("blocked_seconds_total", COUNTER, "Time in which it waited for room downstream.", |it| {
        seconds(&it.blocked_ns)
    }),
    (
        "ahead_seconds_total",
        COUNTER,
        "Time in which a source left what was too far ahead alone.",
        |it| seconds(&it.ahead_ns),
    ),
    (
        "barrier_wait_seconds_total",
        COUNTER,
        "Time between the word of a barrier and its passing.",
        |it| seconds(&it.aligning_ns),
    ),
    ("state_entries", GAUGE, "Entries of keyed state at the last barrier.", |it| {
        count(&it.state_entries)
    }),
    ("longest_step_seconds", GAUGE, "The longest time without a pause.", |it| {
        seconds(&it.longest_step_ns)
    }),
    ("watermark_seconds", GAUGE, "The watermark, as a Unix time.", |it| {
        unix(Timestamp(it.watermark.load(Ordering::Relaxed)))
    }),
];

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// A time that is one, in seconds.
fn unix(time: Timestamp) -> Option<f64> {
    (time > Timestamp::MIN && time < Timestamp::MAX).then(|| time.0 as f64 / 1e3)
}

fn load(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

#[expect(clippy::unnecessary_wraps, reason = "one of the values may be missing")]
fn count(counter: &AtomicU64) -> Option<f64> {
    Some(load(counter))
}

#[expect(clippy::unnecessary_wraps, reason = "one of the values may be missing")]
fn seconds(counter: &AtomicU64) -> Option<f64> {
    Some(load(counter) / 1e9)
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Metrics {
    /// Whether tasks run here.
    pub(crate) fn runs(&self) -> bool {
        self.runs.load(Ordering::Relaxed)
    }

    /// They begin to, or have ended.
    pub(crate) fn set_runs(&self, runs: bool) {
        self.runs.store(runs, Ordering::Relaxed);
    }

    /// Whether tasks are here.
    pub(crate) fn has_tasks(&self) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The channels between these tasks and those of other workers.
    pub(crate) fn set_links(&self, links: Option<Links>) {
        *self.links.lock().unwrap_or_else(PoisonError::into_inner) = links;
    }

    /// All tasks here have written down their state, so long after their barrier came.
    pub(crate) fn captured(&self, took: Duration) {
        add(&self.captures, 1);
        add(&self.capture_ns, nanoseconds(took));
    }

    /// What sinks here held back for a snapshot is visible.
    pub(crate) fn committed(&self, took: Duration) {
        add(&self.commits, 1);
        add(&self.commit_ns, nanoseconds(took));
    }

    /// A part of a snapshot is in the store.
    pub(crate) fn uploaded(&self, bytes: u64, took: Duration) {
        add(&self.uploads, 1);
        add(&self.upload_bytes, bytes);
        add(&self.upload_ns, nanoseconds(took));
    }

    /// A part of a snapshot could not be stored.
    pub(crate) fn upload_failed(&self) {
        add(&self.failed_uploads, 1);
    }

    /// The parts of a snapshot were read.
    pub(crate) fn restored(&self, from_disk: u64, from_store: u64, took: Duration) {
        add(&self.restores, 1);
        add(&self.disk_bytes, from_disk);
        add(&self.store_bytes, from_store);
        add(&self.restore_ns, nanoseconds(took));
    }

    /// All of them, in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let version = env!("CARGO_PKG_VERSION");
        head(&mut text, "build_info", GAUGE, "Which version runs; always 1.");
        let _ = writeln!(text, "millstream_build_info{{version=\"{version}\"}} 1");
        let own = [
            ("snapshot_captures_total", "Snapshots written down.", load(&self.captures)),
            (
                "snapshot_capture_seconds_total",
                "Time from their barriers to that.",
                load(&self.capture_ns) / 1e9,
            ),
            ("snapshot_parts_total", "Parts of snapshots stored.", load(&self.uploads)),
            ("snapshot_bytes_total", "Bytes of these.", load(&self.upload_bytes)),
            ("snapshot_upload_seconds_total", "Time that took.", load(&self.upload_ns) / 1e9),
            (
                "snapshot_part_failures_total",
                "Parts that could not be stored.",
                load(&self.failed_uploads),
            ),
            ("commits_total", "Snapshots whose output was made visible.", load(&self.commits)),
            ("commit_seconds_total", "Time that took.", load(&self.commit_ns) / 1e9),
            ("restores_total", "Snapshots read back.", load(&self.restores)),
            ("restore_read_seconds_total", "Time that took.", load(&self.restore_ns) / 1e9),
            (
                "restore_disk_bytes_total",
                "Bytes of these from copies on the local disk.",
                load(&self.disk_bytes),
            ),
            (
                "restore_store_bytes_total",
                "Bytes of these from the store.",
                load(&self.store_bytes),
            ),
        ];
        for (name, help, value) in own {
            head(&mut text, name, COUNTER, help);
            let _ = writeln!(text, "millstream_{name} {value}");
        }
        of_s3(&mut text);
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner).clone();
        of_links(&mut text, &links.map(|it| it.counts()).unwrap_or_default());
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = shown.as_deref().unwrap_or_default();
        of_tasks(&mut text, tasks);
        of_splits(&mut text, tasks);
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP millstream_{name} {help}\n# TYPE millstream_{name} {kind}");
}

fn of_tasks(text: &mut String, tasks: &[TaskInfo]) {
    for (name, kind, help, value) in OF_TASKS {
        let name = format!("task_{name}");
        head(text, &name, kind, help);
        for task in tasks {
            let Some(value) = value(&task.counters) else { continue };
            // An operator's id has no character that would have to be escaped.
            let (operator, task) = (&task.operator, task.task);
            let _ = writeln!(
                text,
                "millstream_{name}{{operator=\"{operator}\",task=\"{task}\"}} {value}"
            );
        }
    }
}

/// A metric of each split, below its source's task: name, help, value.
type OfSplit = (&'static str, &'static str, fn(SplitSeen<'_>) -> Option<f64>);

const OF_SPLITS: [OfSplit; 2] = [
    ("split_watermark_seconds", "The watermark of a split, as a Unix time.", |it| {
        unix(it.watermark)
    }),
    ("split_waiting_records", "Records of a split that wait to be read.", |it| {
        it.waiting.map(|records| records as f64)
    }),
];

fn of_splits(text: &mut String, tasks: &[TaskInfo]) {
    for (name, help, value) in OF_SPLITS {
        head(text, name, GAUGE, help);
        for task in tasks {
            let (operator, task, counters) = (&task.operator, task.task, &task.counters);
            counters.each_split(|seen| {
                let Some(value) = value(seen) else { return };
                let split = escaped(seen.id);
                let labels = format!("operator=\"{operator}\",task=\"{task}\",split=\"{split}\"");
                let _ = writeln!(text, "millstream_{name}{{{labels}}} {value}");
            });
        }
    }
}

/// A split may be a file, whose name has any character.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A metric of the channels between two workers: name, kind, help, value.
type OfLink = (&'static str, &'static str, &'static str, fn(&LinkCounts) -> u64);

const OF_LINKS: [OfLink; 6] = [
    ("sent_frames_total", COUNTER, "Batches and marks sent there.", |it| it.frames_sent),
    ("sent_bytes_total", COUNTER, "Bytes of these.", |it| it.bytes_sent),
    ("waiting_bytes", GAUGE, "Bytes of these that wait for the connection.", |it| it.bytes_waiting),
    ("received_frames_total", COUNTER, "Batches and marks come from there.", |it| {
        it.frames_received
    }),
    ("received_bytes_total", COUNTER, "Bytes of the batches.", |it| it.bytes_received),
    ("room_bytes", GAUGE, "Bytes that may come before tasks here take some.", |it| {
        it.bytes_of_room
    }),
];

fn of_links(text: &mut String, links: &[LinkCounts]) {
    for (name, kind, help, value) in OF_LINKS {
        let name = format!("exchange_{name}");
        head(text, &name, kind, help);
        for link in links {
            let _ =
                writeln!(text, "millstream_{name}{{worker=\"{}\"}} {}", link.worker, value(link));
        }
    }
}

#[cfg(feature = "s3")]
fn of_s3(text: &mut String) {
    let (sent, failed) = millstream_s3::requests();
    for (name, help, value) in [
        ("s3_requests_total", "Requests sent to S3, each attempt for itself.", sent),
        ("s3_request_failures_total", "Those refused or without an answer.", failed),
    ] {
        head(text, name, COUNTER, help);
        let _ = writeln!(text, "millstream_{name} {value}");
    }
}

#[cfg(not(feature = "s3"))]
fn of_s3(_: &mut String) {}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::TaskIndex;
    use millstream_protocol::key_group::KeyGroups;

    use super::*;

    #[test]
    fn a_task_has_a_line_for_each_of_its_counters() {
        let metrics = Metrics::default();
        metrics.uploaded(1000, Duration::from_millis(250));
        metrics.restored(7, 3, Duration::from_secs(2));
        assert!(!metrics.text().contains("{operator"), "there are no tasks");
        let counters = Counters::default();
        counters.records_in.store(12, Ordering::Relaxed);
        counters.busy_ns.store(1_500_000_000, Ordering::Relaxed);
        let task = TaskInfo {
            operator: "sums/map-1".into(),
            task: TaskIndex(2),
            parallelism: 3,
            key_groups: KeyGroups::default(),
            counters: std::sync::Arc::new(counters),
        };
        *metrics.shown.lock().unwrap() = Some(vec![task]);
        let text = metrics.text();
        let of_task = "{operator=\"sums/map-1\",task=\"2\"}";
        for line in [
            "# TYPE millstream_task_records_in_total counter".to_owned(),
            format!("millstream_task_records_in_total{of_task} 12"),
            format!("millstream_task_busy_seconds_total{of_task} 1.5"),
            "millstream_snapshot_bytes_total 1000".to_owned(),
            "millstream_snapshot_upload_seconds_total 0.25".to_owned(),
            "millstream_restore_store_bytes_total 3".to_owned(),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("watermark_seconds{"), "there is none yet");
    }

    #[test]
    fn a_split_may_have_any_name() {
        assert_eq!(escaped("a \"b\"\\c\nd"), "a \\\"b\\\"\\\\c\\nd");
    }

    #[test]
    fn another_worker_has_a_line_for_each_way() {
        let link = LinkCounts {
            worker: millstream_protocol::id::WorkerIndex(2),
            frames_sent: 1,
            bytes_sent: 20,
            bytes_waiting: 3,
            frames_received: 4,
            bytes_received: 50,
            bytes_of_room: 6,
        };
        let mut text = String::new();
        of_links(&mut text, &[link]);
        let lines = text.lines().filter_map(|line| line.split_once("{worker=\"2\"} "));
        let values: Vec<_> = lines.map(|(_, value)| value).collect();
        assert_eq!(values, ["1", "20", "3", "4", "50", "6"]);
    }
}
