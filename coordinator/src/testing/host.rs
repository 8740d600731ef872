//! A machine on which a job was started: a coordinator and its workers.

use std::sync::{Arc, Mutex};

use millstream_protocol::job::{API_VERSION, JobSpec, KIND, Metadata, StreamJob};
use millstream_protocol::path::JobPrefix;
use millstream_protocol::session::Command;
use millstream_protocol::time::GepDuration;
use millstream_protocol::wish::Wish;

use super::chance::Chance;
use super::outside::Outside;
use super::worker::{FakeWorker, RECORDS_PER_SPLIT, SPLITS};
use crate::channel::Link;
use crate::config::Config;

/// How many records the model's job makes visible.
pub(crate) const RECORDS: usize = (SPLITS as u64 * RECORDS_PER_SPLIT) as usize;

/// The model's job on so many workers.
pub(crate) fn config(workers: u32, seed: u64, wish: Option<Wish>) -> Config {
    let mut spec = JobSpec { workers, ..JobSpec::default() };
    spec.snapshots.store = "file:///s".into();
    spec.snapshots.interval = GepDuration::from_secs(1);
    spec.snapshots.timeout = GepDuration::from_secs(20);
    let job = StreamJob {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        metadata: Metadata { name: "job".into(), ..Metadata::default() },
        spec,
    };
    Config::new(&job, wish, seed).unwrap()
}

/// Where the model's job lies.
pub(crate) fn prefix() -> JobPrefix {
    config(1, 1, None).prefix
}

/// A world without faults, for workers that are tasks.
pub(crate) fn calm() -> Arc<Mutex<Outside>> {
    Arc::new(Mutex::new(Outside::default()))
}

/// Serves one worker's link until the coordinator is gone.
pub(crate) async fn serve(mut link: Link, outside: Arc<Mutex<Outside>>) {
    let mut worker = FakeWorker::new(link.worker, 0);
    let mut chance = Chance::new(1, false);
    while let Some(command) = link.commands.recv().await {
        let stop = command == Command::Stop;
        let mut reports = worker.on(command, &mut outside.lock().unwrap(), &mut chance);
        for _ in 0..RECORDS {
            reports.extend(worker.emit());
        }
        for report in reports {
            if link.reports.send(report).await.is_err() {
                return;
            }
        }
        if stop {
            return;
        }
    }
}
