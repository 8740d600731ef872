//! What a worker does with the log and the objects when its coordinator says so.
//!
//! Receives the commands that need the store, each run beside the session; hands back a report.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use millstream_dataflow::snapshot::{Put, Store};
use millstream_dataflow::{Error, Kind, Result};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::Seq;
use millstream_protocol::path::Name;
use millstream_protocol::session::{AppendOutcome, Command, Report, Retain};
use tokio::task::JoinSet;

use crate::copy::Origin;
use crate::host::failure;

/// How many entries of a log are read at once. A bucket takes 10 ms to answer, and a log grows by
/// an entry per snapshot: a week of one every ten seconds is read in ten seconds.
const READS_AT_ONCE: usize = 64;

/// Starts what a command asks for; its report comes out of the set.
pub(crate) fn spawn(beside: &mut JoinSet<Report>, store: Arc<dyn Store>, command: Command) {
    match command {
        Command::ReadEntry { seq } => {
            beside.spawn(async move {
                let content = read_entry(&*store, seq).await.map_err(|error| failure(&error));
                Report::Slot { seq, content }
            });
        }
        Command::Append { seq, nonce, text } => {
            beside.spawn(async move {
                let outcome = append(&*store, seq, &text).await;
                Report::Appended { seq, nonce, outcome }
            });
        }
        Command::WriteCommitted { seq } => {
            beside.spawn(async move {
                let put = store.create(&Name::Committed(seq).to_string(), b"").await;
                let result = put.map(|_| ()).map_err(|error| failure(&error));
                Report::CommittedWritten { seq, result }
            });
        }
        Command::Retain(retain) => {
            beside.spawn(async move {
                let guard = retain.guard;
                Report::Retained { guard, result: retain_objects(&*store, retain).await }
            });
        }
        Command::ListParts => {
            beside.spawn(async move {
                let listed = store.list(Name::PARTS, "").await;
                Report::Parts(listed.map_err(|error| failure(&error)))
            });
        }
        // The session itself obeys the others.
        _ => {}
    }
}

/// Reads the log of a job. It begins with a copy where it is to begin from another job's snapshot.
pub(crate) async fn report_log(
    store: Arc<dyn Store>,
    origin: Option<Origin>,
    request: u64,
) -> Report {
    let read = async {
        if let Some(origin) = origin {
            origin.copy(&*store).await?;
        }
        read_log(&*store).await
    };
    match read.await {
        Ok((entries, committed)) => Report::Log { request, entries, committed },
        Err(error) => Report::LogUnread { request, failure: failure(&error) },
    }
}

/// Reads the whole log, and which manifests are committed. The marks first: an entry is older than
/// its mark, so a mark without an entry is damage, never an entry that was written in between.
pub(crate) async fn read_log(store: &dyn Store) -> Result<(Vec<(Seq, String)>, Vec<Seq>)> {
    let committed = store.list(Name::COMMITTED, "").await?;
    let names = store.list(Name::LOG, "").await?;
    let slots = names.iter().filter_map(|name| match name.parse() {
        Ok(Name::Log(seq)) => Some(seq),
        _ => None,
    });
    let slots: Vec<Seq> = slots.collect();
    let reads = slots.into_iter().map(|seq| async move {
        Ok::<_, Error>(read_entry(store, seq).await?.map(|text| (seq, text)))
    });
    let reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
    let entries = reads.try_filter_map(|entry| std::future::ready(Ok(entry))).try_collect().await?;
    let committed = committed.iter().filter_map(|name| match name.parse() {
        Ok(Name::Committed(seq)) => Some(seq),
        _ => None,
    });
    Ok((entries, committed.collect()))
}

pub(crate) async fn read_entry(store: &dyn Store, seq: Seq) -> Result<Option<String>> {
    let name = Name::Log(seq).to_string();
    let Some(bytes) = store.read(&name).await? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::new(Kind::Corrupt, format!("{}/{name} is not text", store.describe()))
    })?;
    Ok(Some(text))
}

async fn append(store: &dyn Store, seq: Seq, text: &str) -> AppendOutcome {
    if let Err(outcome) = follows(store, seq).await {
        return outcome;
    }
    match store.create(&Name::Log(seq).to_string(), text.as_bytes()).await {
        Ok(Put::Created) => AppendOutcome::Created,
        Ok(Put::Exists) => match read_entry(store, seq).await {
            Ok(Some(there)) => AppendOutcome::Exists(there),
            Ok(None) => AppendOutcome::Unknown("the slot was taken, and is empty now".to_owned()),
            Err(error) => AppendOutcome::Unknown(error.to_string()),
        },
        Err(error) if error.kind() == Kind::Invalid => AppendOutcome::Failed(failure(&error)),
        // Whether the entry is there after a failure, only a look at the slot can tell.
        // It is tried again, for minutes, and the coordinator shows why.
        Err(error) => AppendOutcome::Unknown(error.to_string()),
    }
}

/// Checks that the entry before this slot is still there: behind a gap, no restart would find what
/// was appended. A store that is emptied under a running job is noticed by that.
async fn follows(store: &dyn Store, seq: Seq) -> Result<(), AppendOutcome> {
    let Some(before) = seq.0.checked_sub(1).filter(|before| *before > 0).map(Seq) else {
        return Ok(());
    };
    let name = Name::Log(before).to_string();
    match store.read(&name).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(AppendOutcome::Failed(Failure::new(
            ErrorKind::Corrupt,
            format!(
                "the log's entry {before} is gone: {}/{name} was deleted while the job runs; \
                 restore the object, or start the job anew",
                store.describe()
            ),
        ))),
        Err(error) => Err(AppendOutcome::Failed(failure(&error))),
    }
}

/// Overwrites old manifests, then deletes objects, unless another coordinator is at work.
pub(crate) async fn retain_objects(store: &dyn Store, retain: Retain) -> Result<(), Failure> {
    let try_retain = async {
        for (seq, text) in &retain.tombstones {
            store.overwrite(&Name::Log(*seq).to_string(), text.as_bytes()).await?;
            store.delete(&Name::Committed(*seq).to_string()).await?;
        }
        for name in &retain.delete {
            store.delete(name).await?;
        }
        Ok(())
    };
    match read_entry(store, retain.guard).await {
        Ok(None) => try_retain.await.map_err(|error: Error| failure(&error)),
        Ok(Some(_)) => {
            let message = format!("log entry {} is a newer run's", retain.guard);
            Err(Failure::new(ErrorKind::Fenced, message))
        }
        Err(error) => Err(failure(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn nothing_is_appended_behind_a_gap() {
        let store = MemoryStore::default();
        assert_eq!(append(&store, Seq(1), "one").await, AppendOutcome::Created);
        assert_eq!(append(&store, Seq(2), "two").await, AppendOutcome::Created);
        store.delete(&Name::Log(Seq(2)).to_string()).await.unwrap();
        let AppendOutcome::Failed(failure) = append(&store, Seq(3), "three").await else {
            panic!("it must fail");
        };
        assert_eq!(failure.kind, ErrorKind::Corrupt);
        assert!(failure.message.starts_with("the log's entry 2 is gone: "), "{failure}");
        assert_eq!(store.list(Name::LOG, "").await.unwrap().len(), 1);
    }
}
