//! `snapshots delete`: removes a job, or one of its savepoints.
//!
//! Part of [`super`]. Invariant: of a job that is not removed as a whole, no object goes that one
//! of its snapshots names.

use millstream_coordinator::driver::{Clock as _, WallClock};
use millstream_coordinator::retain;
use millstream_dataflow::snapshot::Store;
use millstream_dataflow::{Error, Result};
use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::id::Seq;
use millstream_protocol::log::Entry;
use millstream_protocol::path::{JobPrefix, Name};
use millstream_protocol::session::Retain;

use super::{Job, history};
use crate::log_io::retain_objects;

/// Removes what the address names.
pub(super) async fn delete(job: &Job, yes: bool) -> Result<String> {
    if yes {
        job.refuse_while_it_runs().await?;
    }
    match job.seq {
        Some(seq) => savepoint(job, seq, yes).await,
        None => whole(job, yes).await,
    }
}

/// Lets a savepoint go, as retention lets go of other snapshots.
async fn savepoint(job: &Job, seq: Seq, yes: bool) -> Result<String> {
    let uri = job.prefix.snapshot_uri(seq);
    let (history, _) = history(job).await?;
    let retention = retain::delete(&history, seq, WallClock::new().now());
    let retention = retention.map_err(|reason| Error::invalid(format!("{uri} {reason}")))?;
    if !yes {
        return Err(Error::invalid(format!(
            "this would delete the savepoint {uri}, and {} objects that no other snapshot needs: \
             make sure that the job is not running, and add --yes",
            retention.delete.len()
        )));
    }
    let text = |(seq, entry): &(Seq, Entry)| (*seq, entry.to_text(&job.prefix, *seq));
    let retain = Retain {
        guard: history.last().next(),
        tombstones: retention.tombstones.iter().map(text).collect(),
        delete: retention.delete.iter().cloned().collect(),
    };
    retain_objects(&*job.store, retain).await.map_err(|failure| match failure.kind {
        ErrorKind::Fenced => Error::invalid(format!(
            "{uri} is not deleted, for the job is running: {}. Stop it, and try again",
            failure.message
        )),
        kind => Error::new(kind, failure.message),
    })?;
    Ok(format!("deleted {uri}, and {} objects with it\n", retention.delete.len()))
}

/// What is to be removed of a job's place.
struct Own {
    names: Vec<String>,
    /// How many other files lie there.
    others: usize,
}

/// Tells the objects of a job from what else lies in its place.
///
/// # Errors
/// Where no entry of a log is there: the place is no job's.
async fn own(prefix: &JobPrefix, store: &dyn Store) -> Result<Own> {
    let is_own = |name: &String| name.parse::<Name>().is_ok();
    let log = store.list(Name::LOG, "").await?;
    // Not the whole log: a job whose log is damaged must be removable too.
    let mut is_job = false;
    for name in log.iter().filter(|name| is_own(name)) {
        let bytes = store.read(name).await?.unwrap_or_default();
        // One that was cut off to nothing has its name left.
        if bytes.is_empty() || str::from_utf8(&bytes).is_ok_and(Entry::is_any) {
            is_job = true;
            break;
        }
    }
    if !is_job {
        return Err(Error::invalid(format!(
            "there is no job at {prefix}: {prefix}{} holds no entry of a log that can be read, so \
             nothing is removed",
            Name::LOG
        )));
    }
    let all = store.list("", "").await?;
    let (names, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_own);
    Ok(Own { names, others: others.len() })
}

/// Removes the job.
async fn whole(Job { prefix, store, .. }: &Job, yes: bool) -> Result<String> {
    let Own { names, others } = own(prefix, &**store).await?;
    let left = match others {
        0 => String::new(),
        1 => "; 1 other file there is left".to_owned(),
        _ => format!("; {others} other files there are left"),
    };
    if !yes {
        return Err(Error::invalid(format!(
            "this would remove all {} objects of {prefix}, also the log that keeps two runs of \
             the job apart: make sure that it is not running, here or on another machine, and add \
             --yes{left}",
            names.len()
        )));
    }
    // The log goes last: a removal that was broken off can be begun again.
    let (log, rest): (Vec<_>, Vec<_>) = names.iter().partition(|it| it.starts_with(Name::LOG));
    for name in rest.into_iter().chain(log) {
        store.delete(name).await?;
    }
    Ok(format!("removed {} objects of {prefix}{left}\n", names.len()))
}
