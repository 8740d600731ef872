//! [`Place`]: a job with its topics, its bucket and the faults before it; and [`Parts`], which all
//! of them share.
//!
//! Invariant: what a job has put out is compared with what [`crate::program::expected`] says, as a
//! reader of committed records sees it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{LazyLock, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use millstream_testkit::{Call, Fault, Kafka, Life, Passage, Proxy, Request, S3};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tempfile::TempDir;

use crate::input::{Feed, PARTITIONS};
use crate::program::{Line, SINKS, expected};
use crate::topic::Topic;

/// What every process says once its tasks run, from an empty state or from a snapshot.
pub(crate) const RUNNING: &str = "s from ";
/// What a process says that goes on from a snapshot.
pub(crate) const RESUMED: &str = "resumes from snapshot ";
/// What none may say that is to live through a fault.
pub(crate) const RESTARTS: &str = " restarts (attempt ";

/// How long anything may take that is waited for, on a machine with much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// How often it is looked for what tells nobody.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many looks at all ends a transaction may take to be over; each takes milliseconds.
const LOOKS_TO_SETTLE: u32 = 500;

/// How many records a partition of the input has, and how many come in a second: for longer than
/// any test disturbs.
const RECORDS: i64 = 20_000;
const PER_SECOND: u32 = 100;

/// A broker behind a gate, and a bucket.
pub(crate) struct Parts {
    pub(crate) kafka: Kafka,
    pub(crate) s3: S3,
}

/// How many brokers and buckets there are: so many tests run at a time.
pub(crate) const PARTS: usize = 2;

impl Parts {
    fn start() -> Mutex<Self> {
        // So that a transaction that is left open is ended soon after its time-out.
        let ends = ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500");
        Mutex::new(Self { kafka: Kafka::gated(&[ends]), s3: S3::start() })
    }
}

/// Those that no other test holds: a test may do as it likes with them.
pub(crate) fn parts() -> MutexGuard<'static, Parts> {
    static ALL: [LazyLock<Mutex<Parts>>; PARTS] = [const { LazyLock::new(Parts::start) }; PARTS];
    let free = ALL.iter().find_map(|parts| match parts.try_lock() {
        Ok(parts) => Some(parts),
        Err(TryLockError::Poisoned(failed)) => Some(failed.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    });
    let parts = free.expect("as many tests run as there are parts");
    // Of a test that has failed.
    parts.kafka.gate().cut();
    parts
}

/// A job: its file, its topics, and the proxy between it and its bucket.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) proxy: Proxy,
    folder: TempDir,
    brokers: String,
    outputs: [Topic; SINKS.len()],
    records: i64,
    expected: Lines,
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: write a number")))
}

/// Outputs by sink, sorted.
pub(crate) type Lines = [Vec<Line>; SINKS.len()];

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

impl Place {
    pub(crate) fn new(parts: &Parts, name: &str) -> Self {
        Self::with_records(parts, name, RECORDS)
    }

    /// With so many records in each partition of its input.
    pub(crate) fn with_records(parts: &Parts, name: &str, records: i64) -> Self {
        let (brokers, proxy) = (parts.kafka.address(), Proxy::to(parts.s3.port()));
        let outputs = SINKS.map(|id| Topic::at(brokers.clone(), &format!("{name}-{id}"), 2));
        let input = Topic::at(brokers.clone(), name, PARTITIONS);
        block_on(async {
            input.create(&[]).await;
            for output in &outputs {
                output.create(&[]).await;
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let (gate, endpoint) = (parts.kafka.gate().address(), proxy.endpoint());
        let text = format!(
            "apiVersion: millstream.dev/v1alpha1\n\
             kind: StreamJob\n\
             metadata: {{name: {name}}}\n\
             spec:\n  \
               program: {{args: {{brokers: '{gate}', name: {name}, records: '{records}'}}}}\n  \
               snapshots: {{store: 's3://{}', endpoint: '{endpoint}', interval: 300ms}}\n",
            S3::BUCKET
        );
        std::fs::write(folder.path().join("job.yaml"), text).unwrap();
        let (name, expected) = (name.to_owned(), expected(records));
        Self { name, proxy, folder, brokers, outputs, records, expected }
    }

    /// Starts to give it its input.
    pub(crate) fn feed(&self) -> Feed {
        self.feed_at(PER_SECOND)
    }

    pub(crate) fn feed_at(&self, per_second: u32) -> Feed {
        Feed::start(&self.brokers, &self.name, self.records, per_second)
    }

    /// Starts a process of the job.
    pub(crate) fn start(&self, threads: u32, sets: &[String]) -> Life {
        self.start_with(&["--threads", &threads.to_string()], sets)
    }

    pub(crate) fn start_with(&self, args: &[&str], sets: &[String]) -> Life {
        // Also from one that sleeps, or is about to be gone.
        let mut command = self.command(&["run", "--take-over"]);
        command.arg(self.folder.path().join("job.yaml")).args(args);
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        Life::start(command)
    }

    /// Asks the job that runs for so many workers.
    pub(crate) fn scale(&self, workers: u32) -> Life {
        let mut command = self.command(&["scale"]);
        command.arg(self.folder.path().join("job.yaml"));
        command.args(["--workers", &workers.to_string()]);
        Life::start(command)
    }

    /// Starts a worker that waits for a coordinator.
    pub(crate) fn serve(&self, address: &str) -> Life {
        let mut command = self.command(&["serve", "--listen", address]);
        command.args(["--threads", "1"]);
        Life::start(command)
    }

    /// A name in the folder in which its processes run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Removes what a worker's machine has of its parts.
    pub(crate) fn forget_copies(&self, worker: u32) {
        let folders = std::fs::read_dir(self.folder.path()).unwrap().map(|it| it.unwrap().path());
        let is_copies = |path: &PathBuf| path.to_string_lossy().contains("/millstream-parts-");
        let copies = folders.filter(is_copies).flat_map(|it| std::fs::read_dir(it).unwrap());
        let jobs: Vec<_> = copies.map(|it| it.unwrap().path()).collect();
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        std::fs::remove_dir_all(jobs[0].join(worker.to_string())).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(args).current_dir(self.folder.path()).env("TMPDIR", self.folder.path());
        command.env("MILLSTREAM_LOG", "info,librdkafka=off");
        command.env("AWS_ACCESS_KEY_ID", S3::WRITER.key);
        command.env("AWS_SECRET_ACCESS_KEY", S3::WRITER.secret);
        command
    }

    /// Says that somebody has looked at the output of the newest snapshot.
    pub(crate) fn mark(&self, s3: &S3) {
        let place = format!("s3://{}/default/{}", S3::BUCKET, self.name);
        let mark = |more: &[&str]| {
            let mut command = self.command(&["snapshots", "mark", &place]);
            command.args(["--endpoint", &s3.endpoint()]).args(more).output().unwrap()
        };
        assert_eq!(mark(&[]).status.code(), Some(2), "not without --yes");
        let marked = mark(&["--yes"]);
        assert!(marked.status.success(), "{marked:?}");
    }

    /// Starts a process of the job and waits until its tasks run.
    pub(crate) fn run(&self, threads: u32, sets: &[String]) -> Life {
        let mut life = self.start(threads, sets);
        assert!(life.wait_for(RUNNING), "it ended:\n{}", life.said());
        life
    }

    /// Lets it go on until it has committed so many snapshots more.
    pub(crate) fn commits(&self, life: &mut Life, count: usize) {
        let marks = || self.proxy.seen().iter().filter(|it| is_put(it, "/committed/")).count();
        let (before, mut looks) = (marks(), PATIENCE.as_millis() / LOOK_EVERY.as_millis());
        while marks() < before + count {
            looks -= 1;
            assert!(looks > 0, "nothing is committed:\n{}", life.said());
            assert!(life.go_on(LOOK_EVERY), "it ended:\n{}", life.said());
        }
    }

    /// Takes a request for the nth time as this fault, and lets the store answer nothing from there
    /// on; tells when.
    pub(crate) fn stop_at(
        &self,
        nth: usize,
        fault: Fault,
        is_it: impl Fn(&Request) -> bool + Send + 'static,
    ) -> Receiver<()> {
        let (say, said) = sync_channel(1);
        let mut seen = 0;
        self.proxy.rule(move |request| {
            let is_it = is_it(request);
            seen += usize::from(is_it && seen < nth);
            match seen {
                _ if seen < nth => Fault::None,
                _ if is_it && say.try_send(()).is_ok() => fault,
                _ => Fault::Hang,
            }
        });
        said
    }

    /// What readers of committed records see.
    pub(crate) fn seen(&self) -> Lines {
        let lines = |topic: &Topic| {
            let records = topic.read("read_committed").into_iter();
            let lines = records.map(|it| serde_json::from_slice(&it.value.unwrap()).unwrap());
            let mut lines: Vec<Line> = lines.collect();
            lines.sort_unstable();
            lines
        };
        self.outputs.each_ref().map(lines)
    }

    /// Nothing is there twice, and nothing that should not be.
    #[track_caller]
    pub(crate) fn check_part(&self, told: &str) -> Lines {
        let seen = self.seen();
        for ((sink, seen), expected) in SINKS.iter().zip(&seen).zip(&self.expected) {
            let mut expected = expected.iter().peekable();
            let wrong = seen.iter().find(|line| {
                while expected.next_if(|next| next < line).is_some() {}
                expected.next_if_eq(line).is_none()
            });
            assert_eq!(wrong, None, "{told}: {sink} has a line twice, or one that is wrong");
        }
        seen
    }

    /// All is there, and nothing is left in the bucket.
    #[track_caller]
    pub(crate) fn check_all(&self, parts: &Parts, told: &str) {
        self.check_complete(told);
        self.check_orphans(parts, told);
    }

    /// Nothing is left in the bucket that nobody needs.
    #[track_caller]
    pub(crate) fn check_orphans(&self, parts: &Parts, told: &str) {
        assert_eq!(self.orphans(&parts.s3), "", "{told}");
    }

    /// All is there, each line once, and no transaction is open.
    #[track_caller]
    pub(crate) fn check_complete(&self, told: &str) {
        self.settle(told);
        let seen = self.check_part(told);
        for ((sink, seen), expected) in SINKS.iter().zip(&seen).zip(&self.expected) {
            let missing = expected.iter().find(|line| seen.binary_search(line).is_err());
            assert_eq!(missing, None, "{told}: {sink} lacks {}", expected.len() - seen.len());
        }
    }

    /// Waits until no transaction is open: one is over when its end is in the topics, a moment
    /// after that was promised.
    #[track_caller]
    pub(crate) fn settle(&self, told: &str) {
        let mut looks = LOOKS_TO_SETTLE;
        while !self.open_transactions().is_empty() {
            looks -= 1;
            assert!(looks > 0, "{told}: a transaction is left open");
        }
    }

    /// The partitions of its outputs in which a transaction is open.
    pub(crate) fn open_transactions(&self) -> Vec<i32> {
        let end = |topic: &Topic, partition, isolation| {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", &topic.brokers).set("isolation.level", isolation);
            let reader: BaseConsumer = config.set("group.id", "ends").create().unwrap();
            reader.fetch_watermarks(&topic.name, partition, PATIENCE).unwrap().1
        };
        let all = self.outputs.iter().flat_map(|topic| (0..2).map(move |it| (topic, it)));
        let is_open = |(topic, it): &(&Topic, i32)| {
            end(topic, *it, "read_committed") < end(topic, *it, "read_uncommitted")
        };
        all.filter(is_open).map(|(_, partition)| partition).collect()
    }

    /// Deletes the groups in which so many tasks of each sink keep their tokens.
    pub(crate) fn delete_tokens(&self, tasks: u32) {
        for (sink, topic) in SINKS.iter().zip(&self.outputs) {
            let group = |task| format!("millstream.default.{}.{sink}.{task}.epochs", self.name);
            let groups: Vec<_> = (0..tasks).map(group).collect();
            block_on(topic.delete_groups(&groups));
        }
    }

    /// The number of the newest entry in the log whose output is marked as visible.
    pub(crate) fn newest_mark(&self, s3: &S3) -> u64 {
        let marks = s3.keys(&format!("default/{}/committed", self.name)).into_iter();
        let numbers = marks.filter_map(|key| key.rsplit('/').next()?.parse().ok());
        numbers.max().expect("something is committed")
    }

    /// Objects that nothing names any more, a line each.
    fn orphans(&self, s3: &S3) -> String {
        let place = format!("default/{}/", self.name);
        let (mut names, mut manifests) = (String::new(), Vec::new());
        let mut orphans = String::new();
        for key in s3.keys(&format!("{place}log")) {
            let entry = String::from_utf8(s3.read(&key).unwrap()).unwrap();
            if entry.contains("parts/") {
                let number = key.trim_end_matches(".json").rsplit('/').next().unwrap();
                manifests.push(number.trim_start_matches('0').to_owned());
            }
            names += &entry;
        }
        for key in s3.keys(&format!("{place}parts")) {
            if !names.contains(key.strip_prefix(&place).unwrap()) {
                let _ = writeln!(orphans, "{key}: no manifest names it");
            }
        }
        for key in s3.keys(&format!("{place}committed")) {
            let number = key.rsplit('/').next().unwrap().trim_start_matches('0');
            if !manifests.iter().any(|manifest| manifest == number) {
                let _ = writeln!(orphans, "{key}: its manifest is gone");
            }
        }
        orphans
    }
}

/// Whether a request writes an object below this.
pub(crate) fn is_put(request: &Request, below: &str) -> bool {
    request.method == "PUT" && request.target.contains(below)
}

/// Takes a call for the nth time in this way, and lets the broker answer nothing from there on;
/// tells when.
pub(crate) fn hold_at(kafka: &Kafka, nth: usize, call: Call, passage: Passage) -> Receiver<()> {
    let (say, said) = sync_channel(1);
    let mut seen = 0;
    kafka.gate().rule(move |next| {
        seen += usize::from(next == call && seen < nth);
        match seen {
            _ if seen < nth => Passage::Through,
            _ if next == call && say.try_send(()).is_ok() => passage,
            _ => Passage::Hold,
        }
    });
    said
}
