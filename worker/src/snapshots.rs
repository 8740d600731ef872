//! `snapshots`: lists, shows, verifies, marks and deletes the snapshots of a job.

mod delete;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use millstream_coordinator::history::History;
use millstream_dataflow::snapshot::{Put, Store, share};
use millstream_dataflow::{Error, Result, Timestamp};
use millstream_protocol::id::{Epoch, Run, Seq};
use millstream_protocol::log::Manifest;
use millstream_protocol::path::{JobPrefix, Name};
use serde::Serialize;

use self::delete::delete;
use crate::cli::Snapshots;
use crate::config::absolute_store;
use crate::control;
use crate::log_io::read_log;
use crate::parts::{self, Places};
use crate::store::{self, Access};

/// Runs one of the commands; returns what it prints.
pub(crate) fn run(command: Snapshots) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Snapshots::List { store, json, bucket } => {
                let job = Job::named(&store, bucket.access()).await?;
                list(&job, json).await
            }
            Snapshots::Show { snapshot, bucket } => {
                let job = Job::named(&snapshot, bucket.access()).await?;
                let (seq, manifest) = find(&job).await?;
                Ok(show(&job.prefix, seq, &manifest))
            }
            Snapshots::Verify { snapshot, bucket } => {
                let job = Job::named(&snapshot, bucket.access()).await?;
                let (seq, manifest) = find(&job).await?;
                verify(&job, seq, &manifest).await
            }
            Snapshots::Mark { snapshot, yes, bucket } => {
                mark(&Job::named(&snapshot, bucket.access()).await?, yes).await
            }
            Snapshots::Delete { what, bucket } => {
                delete(&Job::named(&what.place, bucket.access()).await?, &what).await
            }
        }
    })
}

/// What an address names: a job, the log entry where it names one, and where both lie.
pub(crate) struct Job {
    pub(crate) prefix: JobPrefix,
    seq: Option<Seq>,
    pub(crate) store: Arc<dyn Store>,
}

impl Job {
    async fn named(address: &str, access: Access) -> Result<Self> {
        let (prefix, seq) = place(address)?;
        Self::at(&prefix, seq, &access).await
    }

    pub(crate) async fn at(prefix: &JobPrefix, seq: Option<Seq>, access: &Access) -> Result<Self> {
        let store = store::open(prefix, access).await?;
        Ok(Self { prefix: prefix.clone(), seq, store })
    }

    /// Whoever runs the job relies on what lies there. Of a run on another machine nobody knows.
    async fn refuse_while_it_runs(&self) -> Result<()> {
        let Some(holder) = control::holder(&self.prefix).await else { return Ok(()) };
        Err(Error::invalid(format!(
            "{holder} runs this job on this machine, so that nothing was touched: `stop` it first"
        )))
    }
}

/// The job that an address names, and the log entry where it names one.
fn place(address: &str) -> Result<(JobPrefix, Option<Seq>)> {
    let address = &*absolute_store(address)?;
    if let Ok((prefix, seq)) = JobPrefix::parse_snapshot_uri(address) {
        return Ok((prefix, Some(seq)));
    }
    let wrong = || {
        Error::invalid(format!(
            "{address:?} is not a job's place: write <store>/<namespace>/<job>, \
             as in file:///var/snapshots/default/averages"
        ))
    };
    let mut parts = address.trim_end_matches('/').rsplitn(3, '/');
    let mut next = || parts.next().ok_or_else(wrong);
    let (job, namespace, root) = (next()?, next()?, next()?);
    let root = root.parse().map_err(|_| wrong())?;
    Ok((JobPrefix::new(root, namespace, job).map_err(|_| wrong())?, None))
}

/// A job's log, and which of its manifests are committed; an error where there is none.
pub(crate) async fn history(Job { prefix, store, .. }: &Job) -> Result<(History, Vec<Seq>)> {
    let (entries, committed) = read_log(&**store).await?;
    if entries.is_empty() && committed.is_empty() {
        return Err(Error::invalid(format!("there is no job at {prefix}")));
    }
    let history = History::read(prefix, &entries, &committed)
        .map_err(|failure| Error::new(failure.kind, format!("{prefix}{}", failure.message)))?;
    Ok((history, committed))
}

struct Log {
    manifests: BTreeMap<Seq, Manifest>,
    committed: Vec<Seq>,
}

async fn read(job: &Job) -> Result<Log> {
    let (history, committed) = history(job).await?;
    let manifests = history.manifests().map(|(seq, manifest)| (seq, manifest.clone())).collect();
    Ok(Log { manifests, committed })
}

async fn find(job: &Job) -> Result<(Seq, Manifest)> {
    let mut log = read(job).await?;
    let prefix = &job.prefix;
    let seq = job.seq.or_else(|| log.manifests.last_key_value().map(|(seq, _)| *seq));
    let seq = seq.ok_or_else(|| Error::invalid(format!("{prefix} has no snapshot yet")))?;
    let manifest = log.manifests.remove(&seq).ok_or_else(|| {
        Error::invalid(format!("{} is not a snapshot that is kept", prefix.snapshot_uri(seq)))
    })?;
    Ok((seq, manifest))
}

fn time(at: millstream_protocol::time::Timestamp) -> Timestamp {
    Timestamp::from_millis(at.0)
}

/// A snapshot in a list for programs. Users read these fields: none changes its meaning or goes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    seq: Seq,
    epoch: Epoch,
    run: Run,
    uri: String,
    at: String,
    bytes: u64,
    parts: usize,
    key_groups: u32,
    fingerprint: String,
    #[serde(rename = "final")]
    is_final: bool,
    savepoint: bool,
    committed: bool,
}

fn listed(job: &Job, log: &Log, seq: Seq, manifest: &Manifest) -> Listed {
    Listed {
        seq,
        epoch: manifest.epoch,
        run: manifest.run,
        uri: job.prefix.snapshot_uri(seq),
        at: time(manifest.at).to_string(),
        bytes: manifest.bytes(),
        parts: manifest.operators.iter().map(|operator| operator.parts.len()).sum(),
        key_groups: manifest.key_groups.count(),
        fingerprint: manifest.fingerprint.clone(),
        is_final: manifest.is_final,
        savepoint: manifest.savepoint,
        committed: log.committed.contains(&seq),
    }
}

async fn list(job: &Job, json: bool) -> Result<String> {
    let log = read(job).await?;
    if json {
        let all = log.manifests.iter().map(|(seq, manifest)| listed(job, &log, *seq, manifest));
        let text = serde_json::to_string_pretty(&all.collect::<Vec<_>>());
        return Ok(text.map_err(|error| Error::bug(error.to_string()))? + "\n");
    }
    let mut out =
        String::from("EPOCH  RUN  BYTES       COMMITTED  TIME                      SNAPSHOT\n");
    for (seq, manifest) in &log.manifests {
        let _ = writeln!(
            out,
            "{:<6} {:<4} {:<11} {:<10} {:<25} {}{}",
            manifest.epoch,
            manifest.run,
            manifest.bytes(),
            if log.committed.contains(seq) { "yes" } else { "no" },
            time(manifest.at).to_string(),
            job.prefix.snapshot_uri(*seq),
            if manifest.savepoint { " (savepoint)" } else { "" }
        );
    }
    Ok(out)
}

fn show(prefix: &JobPrefix, seq: Seq, manifest: &Manifest) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", prefix.snapshot_uri(seq));
    let _ = writeln!(
        out,
        "epoch {} of run {}, taken {}, {} bytes, {} key groups, program {}{}",
        manifest.epoch,
        manifest.run,
        time(manifest.at),
        manifest.bytes(),
        manifest.key_groups.count(),
        manifest.fingerprint,
        if manifest.is_final { ", final" } else { "" }
    );
    for operator in &manifest.operators {
        let bytes: u64 = operator.parts.iter().map(|part| part.length).sum();
        let _ = writeln!(
            out,
            "{}  x{}  {} parts  {bytes} bytes",
            operator.id,
            operator.parallelism,
            operator.parts.len()
        );
        let states = manifest.plan.operator(&operator.id).map(|it| &it.states);
        for state in states.into_iter().flatten() {
            let _ = writeln!(out, "    state {} ({}): {}", state.name, state.kind, state.schema);
        }
    }
    out
}

async fn verify(job: &Job, seq: Seq, manifest: &Manifest) -> Result<String> {
    let (mut parts, mut bytes) = (0u64, 0);
    for part in manifest.operators.iter().flat_map(|operator| &operator.parts) {
        let places = Places { store: &*job.store, local: None };
        let read = parts::read(places, part, seq).await?;
        let object = || format!("{}/{}", job.store.describe(), part.object);
        share::verify(&read.body).map_err(|error| error.context(object()))?;
        parts += 1;
        bytes += part.length;
    }
    Ok(format!("{} is whole: {parts} parts, {bytes} bytes\n", job.prefix.snapshot_uri(seq)))
}

/// Writes the mark of a snapshot in the place of its sinks.
async fn mark(job: &Job, yes: bool) -> Result<String> {
    let (seq, _) = find(job).await?;
    let uri = job.prefix.snapshot_uri(seq);
    if !yes {
        return Err(Error::invalid(format!(
            "this would say that no output of {uri} is left to be made visible: what is not \
             visible then stays so. Make sure that the job is not running, look, and add --yes"
        )));
    }
    job.refuse_while_it_runs().await?;
    match job.store.create(&Name::Committed(seq).to_string(), b"").await? {
        Put::Created => Ok(format!("{uri} is marked: a start sends none of its output again\n")),
        Put::Exists => Ok(format!("{uri} was marked before\n")),
    }
}
