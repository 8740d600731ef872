//! A job that begins from a snapshot of another job gets a copy of it, which is its own from then
//! on.
//!
//! Called by [`crate::session`] before it reads a log that is to begin so; reads the other job as
//! [`crate::snapshots`] does. Invariants: nothing is written for a job that has a log; the entry
//! with which the log begins is written last, and until then the log reads as one with a gap, never
//! as an empty one; all bytes follow from the two places and the request, so that whoever repeats
//! an attempt, or makes one at the same time, writes the same.

use std::collections::{BTreeMap, BTreeSet};

use millstream_dataflow::snapshot::{Put, Store};
use millstream_dataflow::{Error, Kind, Result};
use millstream_protocol::access::Access;
use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::id::{Seq, Term};
use millstream_protocol::log::{Claim, Entry, Lineage, Manifest, Nonce};
use millstream_protocol::path::{JobPrefix, Name};
use millstream_protocol::session::{Hello, PROTOCOL_VERSION};
use millstream_protocol::wish::Wish;
use xxhash_rust::xxh3::xxh3_128;

use crate::local::prefix_of;
use crate::log_io::read_entry;
use crate::snapshots::{self, Job};

/// Where the claim stands that the copied log begins with,
const CLAIM: Seq = Seq(1);
/// and the snapshot.
const SNAPSHOT: Seq = Seq(2);

/// The snapshot of another job that a job is to begin from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    from: JobPrefix,
    seq: Seq,
    access: Access,
    to: JobPrefix,
    request: Option<u64>,
}

impl Origin {
    /// That of a job as its coordinator describes it; none where it names none of another job.
    pub(crate) fn of(hello: &Hello) -> Option<Self> {
        let to = prefix_of(hello).ok()?;
        let restore = &hello.spec.restore;
        let Ok(Wish::Other { request }) = Wish::of(restore, &to) else { return None };
        let (from, seq) = JobPrefix::parse_snapshot_uri(restore.uri.as_deref()?).ok()?;
        Some(Self { from, seq, access: Access::from(&hello.spec.snapshots), to, request })
    }

    fn uri(&self) -> String {
        self.from.snapshot_uri(self.seq)
    }

    /// Begins the log of the job with a copy, where it has none.
    pub(crate) async fn copy(&self, to: &dyn Store) -> Result<()> {
        let names = to.list(Name::LOG, "").await?;
        // The second entry alone is what a copy leaves that did not come to its end.
        if names.iter().any(|name| *name != Name::Log(SNAPSHOT).to_string()) {
            return Ok(());
        }
        let from = Job::at(&self.from, Some(self.seq), &self.access).await?;
        let manifest =
            self.found(&from).await.map_err(|error| error.context("spec.restore.uri"))?;
        let objects: BTreeSet<&str> = manifest.objects().collect();
        let mut bytes = 0;
        for name in &objects {
            let Some(body) = from.store.read(name).await? else { return Err(self.gone(name)) };
            bytes += body.len();
            to.create(name, &body).await?;
        }
        self.begin(to, &manifest).await?;
        tracing::info!(
            "{} begins with a copy of {}: {} objects, {bytes} bytes",
            self.to.id(),
            self.uri(),
            objects.len()
        );
        Ok(())
    }

    async fn found(&self, from: &Job) -> Result<Manifest> {
        let (history, _) = snapshots::history(from).await?;
        let uri = self.uri();
        let Some(manifest) = history.manifest(self.seq) else {
            return Err(Error::invalid(format!(
                "{uri} is not a snapshot, or was deleted: name one that is there"
            )));
        };
        if !history.is_committed(self.seq) {
            return Err(Error::invalid(format!(
                "not all output of {uri} was made visible, so another job cannot begin from it: \
                 name an older one, or let its job go on until its next snapshot and name that"
            )));
        }
        if manifest.is_final {
            return Err(Error::invalid(format!(
                "{uri} is the last snapshot of a job that has finished: nothing is left to be run \
                 from it"
            )));
        }
        Ok(manifest.clone())
    }

    fn gone(&self, object: &str) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "{object} of {} is gone: its job may have deleted that snapshot meanwhile. Take a \
                 savepoint of it, and name that in spec.restore.uri",
                self.uri()
            ),
        )
    }

    /// What the two entries say beside the other job's snapshot.
    fn nonce(&self) -> Nonce {
        let of = format!("{} {} {:?}", self.uri(), self.to, self.request);
        Nonce(format!("{:032x}", xxh3_128(of.as_bytes())))
    }

    /// The log of a job whose first run left that snapshot.
    async fn begin(&self, to: &dyn Store, snapshot: &Manifest) -> Result<()> {
        let nonce = self.nonce();
        let lineage = Lineage(nonce.0.clone());
        let claim = Claim {
            nonce: nonce.clone(),
            run: snapshot.run,
            term: Term(1),
            base: None,
            wish: Wish::Other { request: self.request },
            lineage: lineage.clone(),
            sink_parallelism: BTreeMap::new(),
            protocol: PROTOCOL_VERSION,
            program: None,
            retain: None,
            at: snapshot.at,
        };
        let manifest =
            Manifest { nonce, lineage, parent: None, savepoint: false, ..snapshot.clone() };
        self.put(to, SNAPSHOT, &Entry::Manifest(manifest)).await?;
        to.create(&Name::Committed(SNAPSHOT).to_string(), b"").await?;
        self.put(to, CLAIM, &Entry::Claim(claim)).await
    }

    async fn put(&self, to: &dyn Store, seq: Seq, entry: &Entry) -> Result<()> {
        let (name, text) = (Name::Log(seq).to_string(), entry.to_text(&self.to, seq));
        if to.create(&name, text.as_bytes()).await? == Put::Created
            || read_entry(to, seq).await?.is_some_and(|there| there == text)
        {
            return Ok(());
        }
        Err(Error::new(
            Kind::Invalid,
            format!(
                "spec.restore.uri: {}/{name} is of another start of this job, which began from \
                 something else: delete what the job has there (snapshots delete {} --yes), or \
                 name the job otherwise",
                to.describe(),
                self.to
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::{Epoch, Run, WorkerIndex};
    use millstream_protocol::job::{JobSpec, RestoreFrom};
    use millstream_protocol::key_group::KeyGroups;
    use millstream_protocol::plan::Plan;
    use millstream_protocol::time::Timestamp;

    use super::*;
    use crate::store::MemoryStore;

    fn origin(seq: u64) -> Origin {
        let place = |job| JobPrefix::new("file:///s".parse().unwrap(), "default", job).unwrap();
        Origin {
            from: place("old"),
            seq: Seq(seq),
            access: Access::default(),
            to: place("new"),
            request: Some(1),
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            nonce: Nonce("n".into()),
            run: Run(3),
            epoch: Epoch(9),
            lineage: Lineage("old".into()),
            parent: Some(Seq(4)),
            fingerprint: String::new(),
            plan: Plan::default(),
            key_groups: KeyGroups::default(),
            operators: vec![],
            pending_commits: true,
            is_final: false,
            savepoint: true,
            at: Timestamp(5),
        }
    }

    #[tokio::test]
    async fn an_attempt_is_repeated_by_writing_the_same_and_none_of_another_is_gone_on_with() {
        let store = MemoryStore::default();
        origin(5).begin(&store, &manifest()).await.unwrap();
        let history = |entries: &[_], committed: &[_]| {
            millstream_coordinator::history::History::read(&origin(5).to, entries, committed)
        };
        let (entries, committed) = crate::log_io::read_log(&store).await.unwrap();
        let whole = history(&entries, &committed).unwrap();
        assert_eq!((whole.restorable(), whole.is_committed(SNAPSHOT)), (Some(SNAPSHOT), true));
        assert_ne!(whole.manifest(SNAPSHOT).unwrap().lineage, manifest().lineage);
        store.delete(&Name::Log(CLAIM).to_string()).await.unwrap();
        let (half, marks) = crate::log_io::read_log(&store).await.unwrap();
        assert!(history(&half, &marks).is_err(), "half of it is no empty log");
        let other = origin(6).begin(&store, &manifest()).await.unwrap_err();
        assert!(other.to_string().contains("which began from something else"), "{other}");
        origin(5).begin(&store, &manifest()).await.unwrap();
        assert_eq!(crate::log_io::read_log(&store).await.unwrap().0, entries);
        origin(5).copy(&store).await.expect("a job that has a log is left alone");
    }

    #[test]
    fn only_a_snapshot_of_another_job_is_copied() {
        let hello = |uri: &str| {
            let mut spec = JobSpec::default();
            spec.snapshots.store = "file:///s".into();
            spec.restore.from = RestoreFrom::Snapshot;
            spec.restore.uri = Some(uri.into());
            spec.restore.request = 4;
            Hello {
                protocol: PROTOCOL_VERSION,
                namespace: "default".into(),
                name: "new".into(),
                generation: 1,
                spec,
                worker: WorkerIndex(0),
                holds: None,
            }
        };
        let other = Origin::of(&hello(&origin(5).uri())).unwrap();
        assert_eq!((other.seq, other.request, other.from), (Seq(5), Some(4), origin(5).from));
        assert!(Origin::of(&hello(&origin(5).to.snapshot_uri(Seq(5)))).is_none());
    }
}
