//! [`LogRuns`]: tells sinks which run of the job is the newest, out of its log.
//!
//! Made by [`crate::host`] for each run; asked by committers, before they write where a newer run
//! may be at work. Invariant: every entry is read once, and none is passed over.

use std::sync::Arc;

use async_trait::async_trait;
use millstream_dataflow::sink::Runs;
use millstream_dataflow::snapshot::Store;
use millstream_dataflow::{Error, Result};
use millstream_protocol::id::{Run, Seq};
use millstream_protocol::log::Entry;
use millstream_protocol::path::{JobPrefix, Name};

use crate::log_io::read_entry;

/// Reads the runs of a job out of its log.
pub(crate) struct LogRuns {
    store: Arc<dyn Store>,
    prefix: JobPrefix,
    read: tokio::sync::Mutex<Read>,
}

/// How far the log has been read.
struct Read {
    /// The last entry.
    seq: Seq,
    /// The highest run up to there.
    run: Run,
}

impl LogRuns {
    /// Reads what comes behind an entry, up to which no run was higher than `run`.
    pub(crate) fn behind(seq: Seq, run: Run, store: Arc<dyn Store>, prefix: JobPrefix) -> Self {
        Self { store, prefix, read: tokio::sync::Mutex::new(Read { seq, run }) }
    }
}

#[async_trait]
impl Runs for LogRuns {
    async fn highest(&self) -> Result<Run> {
        let mut read = self.read.lock().await;
        let last = Name::Log(read.seq).to_string();
        let names = self.store.list(Name::LOG, &last).await?;
        for name in names {
            let Ok(Name::Log(seq)) = name.parse() else { continue };
            // Behind a gap there is damage, which the next start reports.
            let Some(text) = read_entry(&*self.store, seq).await? else { continue };
            let entry = Entry::parse(&text, &self.prefix, seq).map_err(|error| {
                Error::corrupt(format!("{}: {error}", self.prefix.uri(&Name::Log(seq))))
            })?;
            if let Some(claim) = entry.as_claim() {
                read.run = read.run.max(claim.run);
            }
            read.seq = seq;
        }
        Ok(read.run)
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::log::{Claim, Lineage, Nonce};
    use millstream_protocol::time::Timestamp;
    use millstream_protocol::wish::Wish;

    use super::*;
    use crate::store::MemoryStore;

    fn claim(run: u64) -> Entry {
        Entry::Claim(Claim {
            nonce: Nonce("n".into()),
            run: Run(run),
            term: millstream_protocol::id::Term(1),
            base: None,
            wish: Wish::Latest,
            lineage: Lineage("l".into()),
            sink_parallelism: std::collections::BTreeMap::new(),
            protocol: 1,
            program: None,
            retain: None,
            at: Timestamp(0),
        })
    }

    #[tokio::test]
    async fn a_claim_is_seen_as_soon_as_it_is_in_the_log() {
        let prefix = JobPrefix::new("file:///s".parse().unwrap(), "default", "job").unwrap();
        let store = Arc::new(MemoryStore::default());
        let append = async |seq, run| {
            let text = claim(run).to_text(&prefix, seq);
            store.create(&Name::Log(seq).to_string(), text.as_bytes()).await.unwrap();
        };
        append(Seq(1), 1).await;
        append(Seq(2), 2).await;
        let runs = LogRuns::behind(Seq(1), Run(0), store.clone(), prefix.clone());
        assert_eq!(runs.highest().await.unwrap(), Run(2));
        append(Seq(3), 3).await;
        assert_eq!(runs.highest().await.unwrap(), Run(3));
        store.create(&Name::Log(Seq(4)).to_string(), b"{}").await.unwrap();
        let error = runs.highest().await.unwrap_err().to_string();
        assert!(error.contains("log/00000000000000000004.json"), "{error}");
    }
}
