//! `snapshots delete`: removes a job, all of it but its savepoints, or one of them.
//!
//! Part of [`super`]. Invariant: of a job that is not removed as a whole, no object goes that one
//! of its remaining snapshots names, and no slot of its log is freed.

use std::collections::BTreeSet;

use millstream_coordinator::driver::{Clock as _, WallClock};
use millstream_coordinator::history::History;
use millstream_coordinator::retain::{self, Indispensable, Retention};
use millstream_dataflow::snapshot::Store;
use millstream_dataflow::{Error, Result};
use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::id::Seq;
use millstream_protocol::log::Entry;
use millstream_protocol::path::{JobPrefix, Name};
use millstream_protocol::session::Retain;

use super::{Job, history};
use crate::cli::Deletion;
use crate::log_io::retain_objects;

/// Removes what the address names.
pub(super) async fn delete(job: &Job, args: &Deletion) -> Result<String> {
    if args.yes {
        job.refuse_while_it_runs().await?;
    }
    if args.if_there && job.store.list(Name::LOG, "").await?.is_empty() {
        // A removal that was broken off has its log left: behind it nothing is.
        return whole(job, args).await;
    }
    match job.seq {
        Some(seq) => savepoint(job, seq, args).await,
        None if args.keep_savepoints => all_but_savepoints(job, args).await,
        None => whole(job, args).await,
    }
}

/// Lets a savepoint go, as retention lets go of other snapshots.
async fn savepoint(job: &Job, seq: Seq, args: &Deletion) -> Result<String> {
    let uri = job.prefix.snapshot_uri(seq);
    let (history, _) = history(job).await?;
    if args.if_there && history.manifest(seq).is_none() {
        return Ok(format!("{uri} is not there\n"));
    }
    let now = WallClock::new().now();
    let retention = if args.job_is_gone {
        retain::delete_of_removed(&history, seq, now)
    } else {
        retain::delete(&history, seq, now).map(Some)
    };
    let retention = retention.map_err(|reason| {
        // Of a job that was removed only savepoints are left, and nothing follows the last one.
        let is_removed = history.manifests().all(|(_, manifest)| manifest.savepoint);
        let also = match reason {
            Indispensable::Newest if is_removed => {
                "; where the job is removed for good, add --job-is-gone"
            }
            _ => "",
        };
        Error::invalid(format!("{uri} {reason}{also}"))
    })?;
    let Some(retention) = retention else { return whole(job, args).await };
    if !args.yes {
        return Err(Error::invalid(format!(
            "this would delete the savepoint {uri}, and {} objects that no other snapshot needs: \
             make sure that the job is not running, and add --yes",
            retention.delete.len()
        )));
    }
    let objects = retention.delete.len();
    carry_out(job, &history, retention, &uri).await?;
    Ok(format!("deleted {uri}, and {objects} objects with it\n"))
}

/// Lets everything of a job go but its savepoints: all of it, where it has none.
async fn all_but_savepoints(job: &Job, args: &Deletion) -> Result<String> {
    let (history, _) = history(job).await?;
    let parts = job.store.list(Name::PARTS, "").await?;
    let retention = retain::all_but_savepoints(&history, parts, WallClock::new().now());
    let Some(retention) = retention else { return whole(job, args).await };
    let prefix = &job.prefix;
    let gone: BTreeSet<Seq> = retention.tombstones.iter().map(|(seq, _)| *seq).collect();
    let kept = history.manifests().filter(|(seq, _)| !gone.contains(seq));
    let kept: Vec<_> = kept.map(|(seq, _)| prefix.snapshot_uri(seq)).collect();
    let (kept, objects) = (kept.join(", "), retention.delete.len());
    if !args.yes {
        return Err(Error::invalid(format!(
            "this would delete {} snapshots of {prefix} and {objects} objects, and keep {kept}: \
             make sure that the job is not running, and add --yes",
            gone.len()
        )));
    }
    carry_out(job, &history, retention, &prefix.to_string()).await?;
    Ok(format!("deleted {} snapshots of {prefix} and {objects} objects, kept {kept}\n", gone.len()))
}

async fn carry_out(job: &Job, history: &History, retention: Retention, what: &str) -> Result<()> {
    let text = |(seq, entry): &(Seq, Entry)| (*seq, entry.to_text(&job.prefix, *seq));
    let retain = Retain {
        guard: history.last().next(),
        tombstones: retention.tombstones.iter().map(text).collect(),
        delete: retention.delete.into_iter().collect(),
    };
    retain_objects(&*job.store, retain).await.map_err(|failure| match failure.kind {
        ErrorKind::Fenced => Error::invalid(format!(
            "{what} is not deleted, for the job is running: {}. Stop it, and try again",
            failure.message
        )),
        kind => Error::new(kind, failure.message),
    })
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
/// Where no entry of a log is there, and one must be: the place is no job's.
async fn own(prefix: &JobPrefix, store: &dyn Store, if_there: bool) -> Result<Own> {
    let is_own = |name: &String| name.parse::<Name>().is_ok();
    let log = store.list(Name::LOG, "").await?;
    // Not the whole log: a job whose log is damaged must be removable too. One that never ran has
    // none, and whoever says that it need not be there knows the place.
    let mut is_job = if_there && log.is_empty();
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
async fn whole(Job { prefix, store, .. }: &Job, args: &Deletion) -> Result<String> {
    let Own { names, others } = own(prefix, &**store, args.if_there).await?;
    let left = match others {
        0 => String::new(),
        1 => "; 1 other file there is left".to_owned(),
        _ => format!("; {others} other files there are left"),
    };
    if !args.yes {
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
