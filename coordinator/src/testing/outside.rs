//! What outlives every process: the store with the log, and the broker that a sink writes to. Both
//! check what must never happen.

use std::collections::{BTreeMap, BTreeSet};

use millstream_protocol::id::{Epoch, Run, Seq};
use millstream_protocol::log::{Claim, Entry, Lineage, Manifest};
use millstream_protocol::wish::Wish;
use serde::{Deserialize, Serialize};

use super::host::prefix;
use super::worker::{Body, SINK};
use crate::history::History;

/// A record: its split, and its place in it.
pub(crate) type Record = (u32, u64);

/// What a transaction of a sink leaves beside its records: the epoch, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) epoch: Epoch,
    pub(crate) lineage: Lineage,
}

/// Whoever initialised a sink task's transactional id last; those before are fenced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Producer {
    pub(crate) task: u32,
    number: u64,
}

fn parse(text: &str, seq: Seq) -> Entry {
    Entry::parse(text, &prefix(), seq).unwrap()
}

/// The store and the broker.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    log: BTreeMap<Seq, String>,
    committed: BTreeSet<Seq>,
    objects: BTreeMap<String, Body>,
    /// By sink task: how often its transactional id was initialised, and its last token.
    producers: BTreeMap<u32, u64>,
    tokens: BTreeMap<u32, Token>,
    /// What is visible, with the epoch that made it so.
    outputs: Vec<(Record, Epoch)>,
    /// Every manifest that ever was in the log, by epoch: what its parent's epoch was.
    parents: BTreeMap<Epoch, Option<Epoch>>,
    started: Run,
    /// The newest snapshot of the history that began last: what a start without a wish goes on
    /// from.
    newest: Option<Seq>,
    /// What users have said that they do not want any more.
    pub(crate) unwanted: BTreeSet<Seq>,
    /// How many savepoints were deleted.
    pub(crate) let_go: usize,
}

impl Outside {
    pub(crate) fn log(&self) -> &BTreeMap<Seq, String> {
        &self.log
    }

    pub(crate) fn committed(&self) -> &BTreeSet<Seq> {
        &self.committed
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// What the history that ends with the newest manifest has made visible. What was visible
    /// before a wish went back is not part of it.
    pub(crate) fn history(&self) -> Vec<Record> {
        let mut chain = BTreeSet::new();
        let newest = self.restorable().and_then(|seq| self.manifest(seq));
        let mut next = newest.map(|manifest| manifest.epoch);
        while let Some(epoch) = next {
            chain.insert(epoch);
            next = self.parents[&epoch];
        }
        let mine = self.outputs.iter().filter(|(_, epoch)| chain.contains(epoch));
        mine.map(|(record, _)| *record).collect()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (Seq, Entry)> {
        self.log.iter().map(|(seq, text)| (*seq, parse(text, *seq)))
    }

    pub(crate) fn manifest(&self, seq: Seq) -> Option<Manifest> {
        parse(self.log.get(&seq)?, seq).as_manifest().cloned()
    }

    /// The snapshots that are kept for a user.
    pub(crate) fn savepoints(&self) -> Vec<Seq> {
        let is_saved = |entry: &Entry| entry.as_manifest().is_some_and(|it| it.savepoint);
        self.entries().filter(|(_, entry)| is_saved(entry)).map(|(seq, _)| seq).collect()
    }

    fn restorable(&self) -> Option<Seq> {
        let texts: Vec<_> = self.log.iter().map(|(seq, text)| (*seq, text.clone())).collect();
        History::read(&prefix(), &texts, &[]).unwrap().restorable()
    }

    /// Whether nothing is left to run.
    pub(crate) fn finished(&self) -> bool {
        self.restorable().is_some_and(|seq| {
            self.committed.contains(&seq) && self.manifest(seq).is_some_and(|last| last.is_final)
        })
    }

    /// The highest run of any claim.
    pub(crate) fn highest_run(&self) -> Run {
        let runs = self.entries().filter_map(|(_, entry)| Some(entry.as_claim()?.run));
        runs.max().unwrap_or_default()
    }

    /// Creates an entry; where the slot is taken, says by what.
    pub(crate) fn append(&mut self, seq: Seq, text: &str) -> Result<(), String> {
        if let Some(there) = self.log.get(&seq) {
            return Err(there.clone());
        }
        let last = self.log.last_key_value().map_or(0, |(seq, _)| seq.0);
        assert_eq!(seq.0, last + 1, "the log has no gap");
        let entry = parse(text, seq);
        if let Some(manifest) = entry.as_manifest() {
            let highest = self.entries().filter_map(|(_, entry)| entry.epoch()).max();
            assert!(Some(manifest.epoch) > highest, "epochs rise: {} at {seq}", manifest.epoch);
            let run = self.highest_run();
            assert_eq!(manifest.run, run, "a manifest of a fenced run at {seq}");
            let parent =
                manifest.parent.map(|seq| self.manifest(seq).expect("a parent stays").epoch);
            self.parents.insert(manifest.epoch, parent);
            for object in manifest.objects() {
                assert!(self.objects.contains_key(object), "{seq} names {object}, which is gone");
            }
        }
        self.follow(seq, &entry);
        self.log.insert(seq, text.to_owned());
        Ok(())
    }

    /// Keeps the newest snapshot in mind, and checks that a start without a wish goes on from it.
    fn follow(&mut self, seq: Seq, entry: &Entry) {
        match entry {
            Entry::Claim(claim) if claim.wish == Wish::Latest => {
                assert_eq!(claim.base, self.newest, "{seq} is older than the log, or newer");
            }
            Entry::Claim(_) => {
                let visible = self.newest.is_none_or(|newest| self.committed.contains(&newest));
                assert!(visible, "{seq} turns away from output that may not be visible");
            }
            Entry::Began(began) => {
                self.newest = self.claim(began.run).expect("a claim comes first").base;
            }
            Entry::Manifest(_) => self.newest = Some(seq),
            Entry::Tombstone(_) => unreachable!("a tombstone takes a slot that is there"),
        }
    }

    fn claim(&self, run: Run) -> Option<Claim> {
        let claims = self.entries().filter_map(|(_, entry)| entry.as_claim().cloned());
        claims.filter(|claim| claim.run == run).last()
    }

    /// Whether a wish asked for this run.
    pub(crate) fn is_wished(&self, run: Run) -> bool {
        self.claim(run).is_some_and(|claim| claim.wish != Wish::Latest)
    }

    pub(crate) fn overwrite(&mut self, seq: Seq, text: &str) {
        let there = parse(&self.log[&seq], seq);
        let entry = parse(text, seq);
        assert!(matches!(entry, Entry::Tombstone(_)), "only tombstones overwrite: {seq}");
        assert_eq!(there.epoch(), entry.epoch(), "a tombstone keeps the epoch: {seq}");
        let is_saved = there.as_manifest().is_some_and(|manifest| manifest.savepoint);
        assert!(!is_saved || self.unwanted.contains(&seq), "savepoint {seq} is wanted");
        self.let_go += usize::from(is_saved);
        assert_ne!(Some(seq), self.newest, "what a start goes on from is overwritten");
        let claims = self.entries().filter_map(|(_, entry)| entry.as_claim().cloned());
        let base = claims.last().and_then(|claim| claim.base);
        assert_ne!(Some(seq), base, "the base of the run is overwritten");
        self.log.insert(seq, text.to_owned());
    }

    pub(crate) fn upload(&mut self, name: &str, body: Body) {
        let before = self.objects.insert(name.to_owned(), body);
        assert!(before.is_none(), "{name} is written twice");
    }

    pub(crate) fn part(&self, name: &str) -> Option<&Body> {
        self.objects.get(name)
    }

    pub(crate) fn parts(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub(crate) fn delete(&mut self, name: &str) {
        for (seq, entry) in self.entries() {
            let named = entry
                .as_manifest()
                .is_some_and(|manifest| manifest.objects().any(|object| object == name));
            assert!(!named, "{name} is deleted, but manifest {seq} names it");
        }
        if let Some(seq) = name.strip_prefix("committed/") {
            self.committed.remove(&Seq(seq.parse().unwrap()));
        }
        self.objects.remove(name);
    }

    /// Writes the mark; by then all output of the manifest must be visible.
    pub(crate) fn mark(&mut self, seq: Seq) {
        if let Some(manifest) = self.manifest(seq) {
            for part in manifest.operator(&SINK.into()).into_iter().flat_map(|sink| &sink.parts) {
                for record in &self.objects[&part.object].pending {
                    let visible = self.outputs.iter().any(|(output, _)| output == record);
                    assert!(visible, "{seq} is marked without {record:?}");
                }
            }
        }
        self.committed.insert(seq);
    }

    pub(crate) fn start(&mut self, run: Run) {
        let began = |(_, entry): (_, Entry)| matches!(entry, Entry::Began(it) if it.run == run);
        let began = !self.is_wished(run) || self.entries().any(began);
        assert!(began, "run {run} starts and the log does not say so");
        self.started = self.started.max(run);
    }

    /// Initialises a transactional id: whoever did before is fenced.
    pub(crate) fn init(&mut self, task: u32) -> Producer {
        let number = self.producers.entry(task).or_default();
        *number += 1;
        Producer { task, number: *number }
    }

    pub(crate) fn token(&self, task: u32) -> Option<&Token> {
        self.tokens.get(&task)
    }

    /// A whole transaction, records and token together. False: the producer is fenced.
    pub(crate) fn transact(
        &mut self,
        producer: Producer,
        run: Run,
        records: &[Record],
        token: Token,
    ) -> bool {
        let Producer { task, number } = producer;
        if self.producers.get(&task) != Some(&number) {
            return false;
        }
        if !records.is_empty() {
            assert!(run >= self.started, "output of run {run} after run {} began", self.started);
            let epoch = token.epoch;
            assert!(
                self.parents.contains_key(&epoch),
                "epoch {epoch} is committed but not published"
            );
        }
        self.outputs.extend(records.iter().map(|record| (*record, token.epoch)));
        self.tokens.insert(task, token);
        true
    }
}
