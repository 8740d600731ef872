//! The log as one reading shows it, and what follows from it alone.
//!
//! Received from: a worker's [`Report::Log`](millstream_protocol::session::Report::Log), and the
//! coordinator's own appends. Handed to: [`crate::resolve`], [`crate::retain`] and the claim.
//! Invariant: entries are numbered from 1 without a gap.

use std::collections::{BTreeMap, BTreeSet};

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, OperatorId, Run, Seq};
use millstream_protocol::log::{self, Claim, Entry, Manifest};
use millstream_protocol::path::{JobPrefix, Name};
use millstream_protocol::wish::Wish;

/// How many of the last claims keep their base: that of the last one is what a restart needs, that
/// of the one before is a margin.
const CLAIMS_WITH_BASE: usize = 2;

/// The log, read and checked.
#[derive(Clone, Debug, Default)]
pub struct History {
    entries: BTreeMap<Seq, Entry>,
    committed: BTreeSet<Seq>,
}

/// What to say of an entry that is not there although what comes behind it is.
fn missing(seq: Seq, though: &Name) -> Failure {
    let message = format!(
        "{} is missing from the log although {though} is there: bring the object back from a \
         backup; without it no snapshot of the job can be used, and the job can only be deleted \
         (snapshots delete) and started anew",
        Name::Log(seq)
    );
    Failure::new(ErrorKind::Corrupt, message)
}

impl History {
    /// Reads a job's log from its bytes. An entry that does not read or belongs elsewhere, a gap,
    /// and a mark behind the end are `Corrupt`: nothing is guessed. Messages name objects relative
    /// to the job's prefix.
    pub fn read(
        job: &JobPrefix,
        texts: &[(Seq, String)],
        committed: &[Seq],
    ) -> Result<Self, Failure> {
        let mut history =
            Self { entries: BTreeMap::new(), committed: committed.iter().copied().collect() };
        for (seq, text) in texts {
            let entry = Entry::parse(text, job, *seq).map_err(|error| {
                let kind = match error {
                    log::Error::Newer { .. } | log::Error::Older { .. } => ErrorKind::Invalid,
                    log::Error::Damaged
                    | log::Error::Empty
                    | log::Error::Elsewhere { .. }
                    | log::Error::Malformed { .. }
                    | log::Error::Incomplete { .. } => ErrorKind::Corrupt,
                };
                Failure::new(kind, format!("{}: {error}", Name::Log(*seq)))
            })?;
            history.entries.insert(*seq, entry);
        }
        let mut expected = Seq(1);
        for seq in history.entries.keys() {
            if *seq != expected {
                return Err(missing(expected, &Name::Log(*seq)));
            }
            expected = expected.next();
        }
        if let Some(mark) = history.committed.last().filter(|mark| **mark > history.last()) {
            return Err(missing(*mark, &Name::Committed(*mark)));
        }
        Ok(history)
    }

    /// Adds an entry of our own, now that it is in the log. Replaces a manifest by its tombstone.
    pub fn insert(&mut self, seq: Seq, entry: Entry) {
        if matches!(entry, Entry::Tombstone(_)) {
            self.committed.remove(&seq);
        }
        self.entries.insert(seq, entry);
    }

    /// Notes that all output of a manifest is visible.
    pub fn commit(&mut self, seq: Seq) {
        self.committed.insert(seq);
    }

    /// The marks of manifests that are overwritten: whoever did that was stopped before it had
    /// deleted the mark.
    pub fn stale_marks(&self) -> impl Iterator<Item = Seq> {
        let is_stale = |seq: &Seq| matches!(self.entry(*seq), Some(Entry::Tombstone(_)));
        self.committed.iter().copied().filter(is_stale)
    }

    /// Notes that the marks of overwritten manifests are deleted.
    pub fn forget_stale_marks(&mut self) {
        let stale: Vec<_> = self.stale_marks().collect();
        self.committed.retain(|seq| !stale.contains(seq));
    }

    /// The number of the last entry; 0 for an empty log.
    pub fn last(&self) -> Seq {
        self.entries.last_key_value().map_or(Seq(0), |(seq, _)| *seq)
    }

    /// Whether all output of a manifest is visible.
    pub fn is_committed(&self, seq: Seq) -> bool {
        self.committed.contains(&seq)
    }

    /// The entry in a slot.
    pub fn entry(&self, seq: Seq) -> Option<&Entry> {
        self.entries.get(&seq)
    }

    /// The manifest in a slot.
    pub fn manifest(&self, seq: Seq) -> Option<&Manifest> {
        self.entry(seq)?.as_manifest()
    }

    /// The manifests that are still there, oldest first.
    pub fn manifests(&self) -> impl DoubleEndedIterator<Item = (Seq, &Manifest)> {
        self.entries.iter().filter_map(|(seq, entry)| Some((*seq, entry.as_manifest()?)))
    }

    /// The claims, oldest first.
    pub fn claims(&self) -> impl DoubleEndedIterator<Item = (Seq, &Claim)> {
        self.entries.iter().filter_map(|(seq, entry)| Some((*seq, entry.as_claim()?)))
    }

    /// The highest run of any claim; 0 where there is none.
    pub fn highest_run(&self) -> Run {
        self.claims().map(|(_, claim)| claim.run).max().unwrap_or_default()
    }

    /// The highest epoch of any manifest that is, or was, in the log; 0 where there is none.
    pub fn highest_epoch(&self) -> Epoch {
        self.entries.values().filter_map(Entry::epoch).max().unwrap_or_default()
    }

    /// What a start with no wish begins from: the newest manifest after the last claim in force
    /// that raised the run, else that claim's base. None: from nothing.
    pub fn restorable(&self) -> Option<Seq> {
        let (seq, claim) = self.in_force().next_back()?;
        let behind = self.entries.range(seq..);
        let manifest = behind.rev().find(|(_, entry)| entry.as_manifest().is_some());
        manifest.map(|(seq, _)| *seq).or(claim.base)
    }

    /// The claims that raised the run and are part of the job's history, oldest first: those
    /// without a wish, and those with one whose run began. One whose run never did, because its
    /// tasks could not be made, changes nothing.
    pub fn in_force(&self) -> impl DoubleEndedIterator<Item = (Seq, &Claim)> {
        let mut run = Run(0);
        let raising = self.claims().filter(move |(_, claim)| {
            let raises = claim.run > run;
            run = run.max(claim.run);
            raises
        });
        let raising: Vec<_> = raising.collect();
        raising
            .into_iter()
            .filter(|(seq, claim)| claim.wish == Wish::Latest || self.began(*seq, claim.run))
    }

    /// Whether a run has acted upon this request to begin from something else.
    pub fn has_acted_upon(&self, request: u64) -> bool {
        self.in_force().any(|(_, claim)| claim.wish.request() == Some(request))
    }

    /// Whether what a start with no wish begins from is not marked as committed. Also where it has
    /// no output of its own, its sinks can only be recovered by what stands outside, which the next
    /// history replaces.
    pub fn is_unmarked(&self) -> bool {
        self.restorable().is_some_and(|seq| !self.is_committed(seq))
    }

    /// Whether the run of a claim has come to its start: nobody but its coordinator writes the
    /// entries behind the claim, up to the next claim.
    fn began(&self, claim: Seq, run: Run) -> bool {
        let mut behind = self.entries.range(claim.next()..).map(|(_, entry)| entry);
        behind.any(|entry| entry.run() == run && entry.as_claim().is_none())
    }

    /// The highest parallelism that each sink had in any claim.
    pub fn sinks_ever(&self) -> BTreeMap<OperatorId, u32> {
        let mut sinks = BTreeMap::new();
        for (_, claim) in self.claims() {
            for (sink, parallelism) in &claim.sink_parallelism {
                let highest = sinks.entry(sink.clone()).or_insert(0);
                *highest = (*highest).max(*parallelism);
            }
        }
        sinks
    }

    /// Whose retention may still overwrite this manifest, and how many of the newest that one
    /// keeps: a coordinator that looked at the log, slept, and was overtaken meanwhile overwrites
    /// when it wakes. What a claim keeps while it is the last does not grow, so that its state at
    /// the next claim counts. For claims that do not say what they keep, `unsaid` stands.
    pub fn retired_by(&self, seq: Seq, unsaid: u32) -> Option<(Run, u32)> {
        if self.manifest(seq).is_some_and(|manifest| manifest.savepoint) {
            return None;
        }
        let claims: Vec<(Seq, &Claim)> = self.claims().collect();
        let is_snapshot = |(_, entry): &(&Seq, &Entry)| entry.epoch().is_some();
        (0..claims.len()).find_map(|last| {
            let (start, claim) = claims[last];
            let end = claims.get(last + 1).map_or(self.last().next(), |(next, _)| *next);
            // Retention follows a snapshot, and knows of none that came later.
            let retires = seq < end && self.entries.range(start..end).any(|it| is_snapshot(&it));
            let keeps = claim.retain.unwrap_or(unsaid).max(1);
            // Those that are already overwritten count: a sleeper may not know that they are.
            let newer = || self.entries.range(seq.next()..end).filter(is_snapshot);
            let is_kept = || newer().take(keeps as usize).count() < keeps as usize;
            let of_claims = &claims[(last + 1).saturating_sub(CLAIMS_WITH_BASE)..=last];
            let is_base = || of_claims.iter().any(|(_, claim)| claim.base == Some(seq));
            (retires && !is_kept() && !is_base()).then_some((claim.run, keeps))
        })
    }

    /// The manifests that retention keeps: the newest `count`, savepoints, and what starts need.
    pub fn kept(&self, count: u32) -> BTreeSet<Seq> {
        let newest = self.manifests().rev().take(count.max(1) as usize).map(|(seq, _)| seq);
        let savepoints = self.manifests().filter(|(_, manifest)| manifest.savepoint);
        newest.chain(savepoints.map(|(seq, _)| seq)).chain(self.bases()).collect()
    }

    /// The bases of the last claims, and what a restart would begin from.
    pub fn bases(&self) -> BTreeSet<Seq> {
        let bases = self.claims().rev().take(CLAIMS_WITH_BASE).filter_map(|(_, claim)| claim.base);
        bases.chain(self.restorable()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entries::{began, claim, manifest, tombstone, wished};
    use crate::testing::host::prefix;

    #[test]
    fn restorable_follows_the_claims() {
        let mut history = History::default();
        assert_eq!(history.restorable(), None);
        history.insert(Seq(1), claim(1, None));
        assert_eq!(history.restorable(), None);
        history.insert(Seq(2), manifest(1, 1));
        history.insert(Seq(3), manifest(1, 2));
        assert_eq!(history.restorable(), Some(Seq(3)));
        history.insert(Seq(4), claim(2, Some(2)));
        assert_eq!(history.restorable(), Some(Seq(2)), "a wish went back to an older one");
        history.insert(Seq(5), manifest(2, 3));
        assert_eq!(history.restorable(), Some(Seq(5)));
        history.insert(Seq(6), claim(3, None));
        assert_eq!(history.restorable(), None, "a wish went back to nothing");
        history.insert(Seq(7), claim(3, Some(2)));
        assert_eq!(history.restorable(), None, "a takeover changes nothing");
    }

    #[test]
    fn a_wish_counts_when_its_run_has_begun() {
        let mut history = History::default();
        history.insert(Seq(1), claim(1, None));
        history.insert(Seq(2), manifest(1, 1));
        history.insert(Seq(3), wished(2));
        history.insert(Seq(4), wished(3));
        let lineage = |history: &History| history.in_force().last().unwrap().1.lineage.0.clone();
        assert_eq!((history.restorable(), &*lineage(&history)), (Some(Seq(2)), "l"));
        history.insert(Seq(5), began(3));
        assert_eq!((history.restorable(), &*lineage(&history)), (None, "l3"));
        history.insert(Seq(6), claim(4, None));
        history.insert(Seq(7), wished(5));
        history.insert(Seq(8), manifest(5, 2));
        assert_eq!(history.restorable(), Some(Seq(8)), "what has a snapshot has begun");
        history.insert(Seq(8), tombstone(5, 2));
        assert_eq!(history.in_force().count(), 4, "also where the snapshot is overwritten");
    }

    #[test]
    fn epochs_rise_above_overwritten_ones_too() {
        let mut history = History::default();
        history.insert(Seq(1), claim(1, None));
        history.insert(Seq(2), manifest(1, 8));
        history.insert(Seq(3), manifest(1, 5));
        history.commit(Seq(2));
        history.insert(Seq(2), tombstone(1, 8));
        assert_eq!(history.highest_epoch(), Epoch(8));
        assert!(!history.is_committed(Seq(2)));
    }

    fn keeping(run: u64, base: Option<u64>, retain: Option<u32>) -> Entry {
        let Entry::Claim(claim) = claim(run, base) else { unreachable!("it is a claim") };
        Entry::Claim(Claim { retain, ..claim })
    }

    #[test]
    fn whoever_kept_less_may_still_overwrite() {
        let mut history = History::default();
        history.insert(Seq(1), keeping(1, None, Some(2)));
        for (seq, epoch) in [(2, 1), (3, 2), (4, 3)] {
            history.insert(Seq(seq), manifest(1, epoch));
        }
        let by = |history: &History, seq| history.retired_by(Seq(seq), 9).map(|(run, _)| run.0);
        assert_eq!(history.retired_by(Seq(2), 9), Some((Run(1), 2)));
        assert_eq!((by(&history, 3), by(&history, 4)), (None, None));
        history.insert(Seq(5), keeping(2, Some(4), Some(9)));
        history.insert(Seq(6), manifest(2, 4));
        assert_eq!(by(&history, 2), Some(1), "that the next run keeps more wakes nobody up");
        assert_eq!(by(&history, 3), None, "run 1 has not seen what came after it");
        history.insert(Seq(7), keeping(3, Some(3), Some(1)));
        assert_eq!(by(&history, 4), None, "run 3 retires nothing before its first snapshot");
        history.insert(Seq(8), manifest(3, 5));
        assert_eq!(by(&history, 6), Some(3));
        assert_eq!(
            (by(&history, 3), by(&history, 4)),
            (None, None),
            "the bases of two claims stay"
        );
        history.insert(Seq(3), tombstone(1, 2));
        assert_eq!(by(&history, 2), Some(1), "run 1 may not know that it is overwritten");
    }

    #[test]
    fn a_claim_that_does_not_say_keeps_what_it_is_told() {
        let mut history = History::default();
        history.insert(Seq(1), keeping(1, None, None));
        history.insert(Seq(2), manifest(1, 1));
        history.insert(Seq(3), manifest(1, 2));
        assert_eq!(history.retired_by(Seq(2), 1), Some((Run(1), 1)));
        assert_eq!(history.retired_by(Seq(2), 2), None);
    }

    #[test]
    fn a_gap_and_garbage_are_corrupt_and_named() {
        let job = prefix();
        let text = |seq| claim(1, None).to_text(&job, Seq(seq));
        let gap = [(Seq(1), text(1)), (Seq(3), text(3))];
        let failure = History::read(&job, &gap, &[]).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Corrupt);
        assert!(failure.message.contains("log/00000000000000000002.json is missing"));
        let garbage = [(Seq(1), text(1)), (Seq(2), "{".to_owned())];
        let failure = History::read(&job, &garbage, &[]).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Corrupt);
        assert!(failure.message.contains("log/00000000000000000002.json"));
        let failure = History::read(&job, &[(Seq(1), text(1))], &[Seq(2)]).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Corrupt, "a mark outlives no entry");
        assert!(failure.message.contains("log/00000000000000000002.json is missing"));
        let newer = [(Seq(1), r#"{"version":99}"#.to_owned())];
        assert_eq!(History::read(&job, &newer, &[]).unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(History::read(&job, &[(Seq(1), text(1))], &[]).unwrap().last(), Seq(1));
    }
}
