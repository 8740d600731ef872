//! Which old manifests become tombstones, and which objects may be deleted.
//!
//! Received from: [`History`] after a snapshot is committed, or when a user deletes a savepoint.
//! Handed to: a worker, as [`Retain`](millstream_protocol::session::Retain), or to the command.
//! Invariants: a slot of the log is never freed; no object is deleted that a remaining manifest
//! names.

use std::collections::BTreeSet;

use millstream_protocol::id::{Epoch, Run, Seq};
use millstream_protocol::log::{Entry, Manifest, Tombstone};
use millstream_protocol::path::Name;
use millstream_protocol::time::Timestamp;

use crate::history::History;

/// What retention does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Manifests to overwrite, each with what takes its place.
    pub tombstones: Vec<(Seq, Entry)>,
    /// Objects to delete once that is done, named relative to the job's prefix.
    pub delete: BTreeSet<String>,
}

impl Retention {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.tombstones.is_empty() && self.delete.is_empty()
    }
}

/// Which manifests go when the newest `count` are kept, and what goes with them.
pub fn retain(history: &History, count: u32, now: Timestamp) -> Retention {
    keep(history, &history.kept(count), now)
}

/// Why a snapshot cannot be deleted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Indispensable {
    /// No manifest is there.
    #[error("is not a snapshot that is kept: snapshots list shows those that are")]
    Missing,
    /// It is the last one.
    #[error(
        "is the newest snapshot, which a start goes on from: take another one first, or delete the \
         whole job by naming its place"
    )]
    Newest,
    /// Retention sees to it.
    #[error(
        "is no savepoint: it goes by itself when there are newer ones (spec.snapshots.retain says \
         how many are kept)"
    )]
    NoSavepoint,
    /// Runs of the job are built on it.
    #[error(
        "is what one of the job's last two runs began with, and may be needed again: delete it \
         when two more runs have begun"
    )]
    Base,
}

/// What goes when a user deletes this savepoint.
///
/// # Errors
/// Where it is none, or must stay.
pub fn delete(history: &History, seq: Seq, now: Timestamp) -> Result<Retention, Indispensable> {
    let manifest = history.manifest(seq).ok_or(Indispensable::Missing)?;
    let newest = history.manifests().next_back();
    if newest.is_some_and(|(newest, _)| newest == seq) {
        return Err(Indispensable::Newest);
    }
    if !manifest.savepoint {
        return Err(Indispensable::NoSavepoint);
    }
    if history.bases().contains(&seq) {
        return Err(Indispensable::Base);
    }
    Ok(without(history, seq, now))
}

/// What goes when a user deletes this savepoint of a job that was removed: where only savepoints
/// are left of it, no start needs one of them, and with the last one all the rest may go.
///
/// # Errors
/// Where it is none, or must stay.
pub fn delete_of_removed(
    history: &History,
    seq: Seq,
    now: Timestamp,
) -> Result<Option<Retention>, Indispensable> {
    let is_removed = history.manifests().all(|(_, manifest)| manifest.savepoint);
    if !is_removed || history.manifest(seq).is_none() {
        return delete(history, seq, now).map(Some);
    }
    let is_last = history.manifests().count() == 1;
    Ok((!is_last).then(|| without(history, seq, now)))
}

fn without(history: &History, seq: Seq, now: Timestamp) -> Retention {
    let others = history.manifests().map(|(other, _)| other).filter(|other| *other != seq);
    keep(history, &others.collect(), now)
}

/// What goes when a job does, of which only savepoints are to stay; none where it has none. `parts`
/// are all that lie there: nobody is about to name one of them, and those that no savepoint names
/// go.
pub fn all_but_savepoints(
    history: &History,
    parts: Vec<String>,
    now: Timestamp,
) -> Option<Retention> {
    let savepoints = history.manifests().filter(|(_, manifest)| manifest.savepoint);
    let kept: BTreeSet<Seq> = savepoints.map(|(seq, _)| seq).collect();
    let named = |name: &String| {
        let mut kept = kept.iter().filter_map(|seq| history.manifest(*seq));
        kept.any(|manifest| manifest.objects().any(|object| object == name))
    };
    let mut retention = keep(history, &kept, now);
    retention.delete.extend(
        parts.into_iter().filter(|name| matches!(name.parse(), Ok(Name::Part(_))) && !named(name)),
    );
    (!kept.is_empty()).then_some(retention)
}

/// Lets all manifests go but these.
fn keep(history: &History, kept: &BTreeSet<Seq>, now: Timestamp) -> Retention {
    let mut retention = Retention::default();
    retention.delete.extend(history.stale_marks().map(|seq| Name::Committed(seq).to_string()));
    for (seq, manifest) in history.manifests().filter(|(seq, _)| !kept.contains(seq)) {
        let tombstone = Tombstone { run: manifest.run, epoch: manifest.epoch, at: now };
        retention.tombstones.push((seq, Entry::Tombstone(tombstone)));
        retention.delete.extend(manifest.objects().map(str::to_owned));
        if history.is_committed(seq) {
            retention.delete.insert(Name::Committed(seq).to_string());
        }
    }
    for seq in kept {
        for object in history.manifest(*seq).into_iter().flat_map(Manifest::objects) {
            retention.delete.remove(object);
        }
    }
    retention
}

/// Which of the listed parts are leftovers: named by no manifest, and of a lower run, or of our own
/// and an epoch below the last published one. Others may still be about to be named.
pub fn leftovers(
    history: &History,
    parts: &[String],
    run: Run,
    published: Epoch,
) -> BTreeSet<String> {
    let named: BTreeSet<&str> =
        history.manifests().flat_map(|(_, manifest)| manifest.objects()).collect();
    let done = |name: &str| match name.parse() {
        Ok(Name::Part(part)) => part.run < run || (part.run == run && part.epoch < published),
        Ok(Name::Log(_) | Name::Committed(_) | Name::Hint | Name::Probe) | Err(_) => false,
    };
    let left = parts.iter().filter(|name| !named.contains(name.as_str()) && done(name));
    left.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entries::{claim, manifest_with, tombstone};
    use crate::testing::host::prefix;

    fn history(entries: Vec<Entry>) -> History {
        let mut history = History::default();
        for (seq, entry) in (1..).map(Seq).zip(entries) {
            history.insert(seq, entry);
        }
        history
    }

    fn overwritten(retention: &Retention) -> Vec<u64> {
        retention.tombstones.iter().map(|(seq, _)| seq.0).collect()
    }

    #[test]
    fn the_newest_stay_and_so_does_what_they_name() {
        let mut log = history(vec![
            claim(1, None),
            manifest_with(1, 1, &["parts/1/1/0-a"]),
            manifest_with(1, 2, &["parts/1/1/0-a", "parts/1/2/0-a"]),
            manifest_with(1, 3, &["parts/1/2/0-a", "parts/1/3/0-a"]),
        ]);
        log.commit(Seq(2));
        let retention = retain(&log, 2, Timestamp(9));
        assert_eq!(overwritten(&retention), [2]);
        assert_eq!(retention.delete, BTreeSet::from(["committed/2".to_owned()]));
        let retention = retain(&log, 1, Timestamp(9));
        assert_eq!(overwritten(&retention), [2, 3]);
        assert!(retention.delete.contains("parts/1/1/0-a"));
        assert!(!retention.delete.contains("parts/1/2/0-a"), "the kept manifest names it");
    }

    #[test]
    fn the_base_of_the_last_claim_stays() {
        let log = history(vec![
            claim(1, None),
            manifest_with(1, 1, &["parts/1/1/0-a"]),
            manifest_with(1, 2, &["parts/1/2/0-a"]),
            claim(2, Some(2)),
            manifest_with(2, 3, &["parts/2/3/0-a"]),
        ]);
        assert_eq!(overwritten(&retain(&log, 1, Timestamp(0))), [3]);
    }

    fn savepoint(run: u64, epoch: u64, objects: &[&str]) -> Entry {
        let mut entry = manifest_with(run, epoch, objects);
        if let Entry::Manifest(manifest) = &mut entry {
            manifest.savepoint = true;
        }
        entry
    }

    #[test]
    fn a_savepoint_that_is_deleted_goes_with_what_no_other_snapshot_names() {
        let mut log = history(vec![
            claim(1, None),
            manifest_with(1, 1, &["parts/1/1/0-a"]),
            savepoint(1, 2, &["parts/1/1/0-a", "parts/1/2/0-a", "parts/1/2/0-b"]),
            savepoint(1, 3, &["parts/1/2/0-b", "parts/1/3/0-a"]),
            manifest_with(1, 4, &["parts/1/4/0-a"]),
        ]);
        log.commit(Seq(3));
        assert_eq!(overwritten(&retain(&log, 1, Timestamp(9))), [2], "retention leaves them");
        let retention = delete(&log, Seq(3), Timestamp(9)).unwrap();
        let tombstone = Tombstone { run: Run(1), epoch: Epoch(2), at: Timestamp(9) };
        assert_eq!(retention.tombstones, [(Seq(3), Entry::Tombstone(tombstone))]);
        let gone = ["committed/3".to_owned(), "parts/1/2/0-a".to_owned()];
        assert_eq!(retention.delete, BTreeSet::from(gone));
    }

    #[test]
    fn what_is_no_savepoint_or_is_needed_is_not_deleted() {
        let log = history(vec![
            claim(1, None),
            savepoint(1, 1, &["parts/1/1/0-a"]),
            savepoint(1, 2, &["parts/1/2/0-a"]),
            manifest_with(1, 3, &["parts/1/3/0-a"]),
            claim(2, Some(2)),
            claim(3, Some(3)),
            savepoint(3, 4, &["parts/3/4/0-a"]),
            tombstone(3, 5),
        ]);
        let refused = |seq| delete(&log, Seq(seq), Timestamp(9)).unwrap_err();
        assert_eq!(refused(1), Indispensable::Missing);
        assert_eq!(refused(8), Indispensable::Missing);
        assert_eq!(refused(9), Indispensable::Missing);
        assert_eq!(refused(7), Indispensable::Newest);
        assert_eq!(refused(4), Indispensable::NoSavepoint);
        assert_eq!((refused(2), refused(3)), (Indispensable::Base, Indispensable::Base));
    }

    #[test]
    fn of_a_job_that_goes_savepoints_stay_with_what_they_name() {
        let mut log = history(vec![
            claim(1, None),
            manifest_with(1, 1, &["parts/1/1/0-a"]),
            savepoint(1, 2, &["parts/1/1/0-a", "parts/1/2/0-a"]),
            manifest_with(1, 3, &["parts/1/2/0-a", "parts/1/3/0-a"]),
        ]);
        log.commit(Seq(3));
        log.commit(Seq(4));
        let parts = ["parts/1/1/0-a", "parts/1/2/0-a", "parts/1/3/0-a", "parts/1/9/0-a", "other"];
        let parts: Vec<_> = parts.map(str::to_owned).into();
        let retention = all_but_savepoints(&log, parts.clone(), Timestamp(9)).unwrap();
        assert_eq!(overwritten(&retention), [2, 4], "no slot of the log is freed");
        let gone = ["committed/4", "parts/1/3/0-a", "parts/1/9/0-a"].map(str::to_owned);
        assert_eq!(retention.delete, BTreeSet::from(gone));
        let none = history(vec![claim(1, None), manifest_with(1, 1, &["parts/1/1/0-a"])]);
        assert_eq!(all_but_savepoints(&none, parts, Timestamp(9)), None);
    }

    #[test]
    fn of_a_job_that_was_removed_each_savepoint_may_go() {
        let log = |entries: Vec<Entry>| history(entries);
        let (first, second) = (savepoint(1, 1, &["a"]), savepoint(1, 2, &["a", "b"]));
        let two = log(vec![claim(1, None), first.clone(), second.clone(), tombstone(1, 3)]);
        let gone = delete_of_removed(&two, Seq(3), Timestamp(9)).unwrap().unwrap();
        assert_eq!(overwritten(&gone), [3], "though it is what a start would begin with");
        assert_eq!(gone.delete, BTreeSet::from(["b".to_owned()]));
        let one = log(vec![claim(1, None), first, tombstone(1, 2)]);
        assert_eq!(delete_of_removed(&one, Seq(2), Timestamp(9)), Ok(None), "with all the rest");
        let goes_on = log(vec![claim(1, None), manifest_with(1, 1, &["a"]), second]);
        let stays = delete_of_removed(&goes_on, Seq(3), Timestamp(9));
        assert_eq!(stays, Err(Indispensable::Newest), "the job may come again");
        let missing = delete_of_removed(&two, Seq(4), Timestamp(9));
        assert_eq!(missing, Err(Indispensable::Missing));
    }

    #[test]
    fn with_nothing_old_there_is_nothing_to_do() {
        let log = history(vec![claim(1, None), manifest_with(1, 1, &["parts/1/1/0-a"])]);
        assert!(retain(&log, 3, Timestamp(0)).is_empty());
    }

    #[test]
    fn a_mark_that_outlived_its_manifest_goes() {
        let texts = [claim(1, None), tombstone(1, 1), manifest_with(1, 2, &["parts/1/2/0-a"])];
        let texts = (1..).map(Seq).zip(texts).map(|(seq, it)| (seq, it.to_text(&prefix(), seq)));
        let texts: Vec<_> = texts.collect();
        let mut log = History::read(&prefix(), &texts, &[Seq(2), Seq(3)]).unwrap();
        let retention = retain(&log, 3, Timestamp(0));
        assert_eq!(retention.tombstones, []);
        assert_eq!(retention.delete, BTreeSet::from(["committed/2".to_owned()]));
        log.forget_stale_marks();
        assert!(retain(&log, 3, Timestamp(0)).is_empty());
        assert!(log.is_committed(Seq(3)));
    }

    #[test]
    fn leftovers_are_only_what_nobody_can_still_name() {
        let log = history(vec![claim(3, None), manifest_with(3, 7, &["parts/2/4/0-a"])]);
        let parts = [
            "parts/2/4/0-a",  // named
            "parts/2/4/0-b",  // of a lower run
            "parts/3/6/0-a",  // of an aborted epoch
            "parts/3/7/0-b",  // of the published epoch: an upload that was repeated
            "parts/3/8/0-a",  // of an epoch to come
            "parts/4/1/0-a",  // of a higher run
            "parts/2/4/junk", // not ours
        ];
        let parts = parts.map(str::to_owned);
        let left = leftovers(&log, &parts, Run(3), Epoch(7));
        let want = ["parts/2/4/0-b".to_owned(), "parts/3/6/0-a".to_owned()];
        assert_eq!(left, BTreeSet::from(want));
    }
}
