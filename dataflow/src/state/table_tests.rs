//! Tests of [`super::Table`]: against a plain map, and captures against a clone made at the cut.

use std::cell::RefCell;
use std::collections::HashMap;

use millstream_protocol::key_hash::key_hash;
use proptest::prelude::*;

use super::*;
use crate::state::Tier;
use crate::state::tier::shelf;

fn hash(key: u32) -> u64 {
    key_hash(&key).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Put(u32, u64),
    Add(u32),
    AddAll(Vec<u32>),
    Remove(u32),
    Begin { full: bool },
    Scan(usize),
    Settle(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u32..3000, any::<u64>()).prop_map(|(k, v)| Op::Put(k, v)),
        4 => (0u32..3000).prop_map(Op::Add),
        1 => prop::collection::vec(0u32..5000, 0..600).prop_map(Op::AddAll),
        4 => (0u32..3000).prop_map(Op::Remove),
        1 => any::<bool>().prop_map(|full| Op::Begin { full }),
        3 => (1usize..400).prop_map(Op::Scan),
        1 => any::<bool>().prop_map(Op::Settle),
    ]
}

/// Tables whose entries constantly go out and come in, and one that has memory enough.
const BOUNDS: [Option<usize>; 4] = [None, Some(0), Some(20_000), Some(100_000)];

#[derive(Default)]
struct Checker {
    table: Table<u32, u64>,
    model: HashMap<u32, u64>,
    /// What the parts published so far add up to.
    stored: HashMap<u32, u64>,
    /// What the model held at the cut, whether the capture is full, what it has brought so far.
    capture: Option<(HashMap<u32, u64>, bool, HashMap<u32, u64>, Vec<u32>)>,
    complete: bool,
    epoch: u64,
}

impl Checker {
    /// One whose table has this tier, if any.
    fn over(tier: Option<Tier>) -> Self {
        let mut checker = Self::default();
        if let Some(tier) = tier {
            checker.table.bound(tier, Vec::new());
        }
        checker
    }

    /// One whose table may take so much memory, and has a tier for the rest.
    fn bounded(bytes: Option<usize>) -> Self {
        Self::over(bytes.map(shelf::tier))
    }

    /// Fills the table, does all of this, and compares it with the model.
    fn run(mut self, fill: u32, ops: Vec<Op>) {
        for key in 0..fill {
            self.apply(Op::Put(key % 3000 + key / 3000 * 1_000_000, 7));
        }
        for op in ops {
            self.apply(op);
        }
        assert_eq!(self.table.len(), self.model.len());
        assert_eq!(self.all(), self.model);
        for (key, value) in &self.model {
            assert_eq!(self.table.get(hash(*key), key), Some(value));
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Put(k, v) => {
                self.table.put(hash(k), k, v);
                self.model.insert(k, v);
            }
            Op::Add(k) => {
                *self.table.entry(hash(k), k, || 0) ^= 1;
                *self.model.entry(k).or_insert(0) ^= 1;
            }
            Op::AddAll(keys) => {
                let hashes: Vec<_> = keys.iter().map(|key| hash(*key)).collect();
                let (known, seen) = (self.model.clone(), RefCell::new(Vec::new()));
                let init = |item: &u64| *item;
                self.table.update_all(&hashes, keys.iter().zip(0..), init, |key, v, n, new| {
                    assert_eq!(new, !known.contains_key(key) && !seen.borrow().contains(key));
                    seen.borrow_mut().push(*key);
                    *v = if new { n } else { *v ^ n };
                });
                for (n, key) in (0..).zip(keys) {
                    self.model.entry(key).and_modify(|v| *v ^= n).or_insert(n);
                }
            }
            Op::Remove(k) => assert_eq!(self.table.remove(hash(k), &k), self.model.remove(&k)),
            Op::Begin { full } if self.capture.is_none() => {
                self.epoch += 1;
                let full = full || !self.table.can_delta();
                self.table.begin_capture(Epoch(self.epoch), full);
                self.capture = Some((self.model.clone(), full, HashMap::new(), vec![]));
                self.complete = false;
            }
            Op::Scan(budget) => self.scan(budget),
            Op::Settle(published) => self.settle(published),
            Op::Begin { .. } => {}
        }
    }

    /// All entries, wherever they are.
    fn all(&self) -> HashMap<u32, u64> {
        let mut all: HashMap<_, _> = self.table.iter().map(|(k, v)| (*k, *v)).collect();
        let (mut from, mut budget, mut more) = (Vec::new(), 700, true);
        while more {
            let each = |key: &u32, value: &u64| assert!(all.insert(*key, *value).is_none());
            more = self.table.walk_outside(&mut from, &mut budget, each).unwrap();
            budget = 700;
        }
        all
    }

    fn scan(&mut self, mut budget: usize) {
        let Some((_, _, brought, removed)) = &mut self.capture else { return };
        match self.table.scan(&mut budget) {
            Some(chunk) => {
                let mut outside = Vec::new();
                if let Some(chunk) = chunk.outside {
                    outside = shelf::entries_of(chunk);
                }
                removed.extend(chunk.removed);
                let is_bounded = self.table.is_bounded();
                for (key, value) in chunk.entries.into_iter().chain(outside) {
                    // What came in between the cut and the scan may be taken in both places.
                    let before = brought.insert(key, value);
                    assert!(
                        before.is_none_or(|before| is_bounded && before == value),
                        "{key} came twice"
                    );
                }
            }
            None => self.complete = true,
        }
        self.complete |= !self.table.is_capturing();
    }

    fn settle(&mut self, published: bool) {
        if published {
            while self.capture.is_some() && !self.complete {
                self.scan(100);
            }
        }
        let Some((at_cut, full, brought, removed)) = self.capture.take() else { return };
        self.table.settled(Epoch(self.epoch), published);
        if published {
            if full {
                self.stored.clear();
            }
            for key in removed {
                self.stored.remove(&key);
            }
            self.stored.extend(brought);
            assert_eq!(self.stored, at_cut);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_is_a_map_and_what_is_published_is_what_stood_at_the_cut(
        bound in prop::sample::select(&BOUNDS[..]),
        fill in 0u32..20_000,
        ops in prop::collection::vec(op(), 1..2000),
    ) {
        Checker::bounded(bound).run(fill, ops);
    }
}

#[cfg(feature = "rocksdb")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_is_the_same_over_rocksdb(
        bytes in prop::sample::select(&[0, 20_000, 100_000][..]),
        fill in 0u32..10_000,
        ops in prop::collection::vec(op(), 1..1000),
    ) {
        Checker::over(Some(shelf::rocks(bytes))).run(fill, ops);
    }
}

/// A key whose hash is that of all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
struct Alike(u32);

impl serde::Serialize for Alike {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(7)
    }
}

#[test]
fn keys_with_equal_hashes_are_told_apart() {
    let mut table = Table::default();
    let all = || (0..10_000).map(Alike);
    all().for_each(|key| table.put(hash(7), key, key.0));
    assert!(all().all(|key| table.get(hash(7), &key) == Some(&key.0)));
    assert_eq!(table.remove(hash(7), &Alike(5000)), Some(5000));
    assert_eq!(table.remove(hash(7), &Alike(10_000)), None);
    assert_eq!(table.len(), 9999);
    assert_eq!(all().filter_map(|key| table.remove(hash(7), &key)).count(), 9999);
    assert_eq!((table.len(), table.get(hash(7), &Alike(0))), (0, None));
}

/// Entries that stay unwritten for longer than an age can tell, with and without published
/// captures in between, broken-off scans included.
#[test]
fn ages_do_not_come_round() {
    let fates = [(true, true), (false, true), (false, false)];
    for (bound, (published, scanned)) in BOUNDS.into_iter().flat_map(|b| fates.map(|f| (b, f))) {
        let mut checker = Checker::bounded(bound);
        for key in 0..5000 {
            checker.apply(Op::Put(key, 1));
        }
        checker.apply(Op::Begin { full: false });
        checker.apply(Op::Settle(true));
        for round in 0..600 {
            checker.apply(Op::Put(round % 7 * 100, u64::from(round)));
            checker.apply(Op::Begin { full: false });
            if scanned {
                checker.apply(Op::Scan(100_000));
            }
            checker.apply(Op::Settle(published));
            if round == 300 {
                (0..5000).step_by(3).for_each(|key| checker.apply(Op::Put(key, 2)));
            }
        }
        (0..5000).step_by(2).for_each(|key| checker.apply(Op::Put(key, 3)));
        checker.apply(Op::Begin { full: false });
        (0..5000).step_by(5).for_each(|key| checker.apply(Op::Put(key, 4)));
        checker.apply(Op::Settle(true));
    }
}

#[test]
fn a_restored_table_captures_only_what_changed() {
    let mut table = Table::default();
    for key in 0..1000u32 {
        table.restore(hash(key), key, 1u64);
    }
    table.put(hash(3), 3, 2);
    table.remove(hash(4), &4);
    table.begin_capture(Epoch(1), false);
    let chunk = table.scan(&mut 1_000_000).unwrap();
    assert_eq!((chunk.entries, chunk.removed), (vec![(3, 2)], vec![4]));
}

#[test]
fn segments_that_are_full_at_once_split_one_at_a_time() {
    let mut table = Table::<u32, u64>::default();
    let keys: Vec<u32> = (0..300_000).collect();
    for batch in keys.chunks(500) {
        let hashes: Vec<u64> = batch.iter().map(|key| hash(*key)).collect();
        let before = table.segment_count();
        let items = batch.iter().map(|key| (key, u64::from(*key)));
        table.update_all(&hashes, items, |_| 1, |_, sum, item, _| *sum += item);
        let after = table.segment_count();
        assert!(after <= before + 1, "{before} segments became {after} in one batch");
    }
    assert_eq!(table.len(), keys.len());
    // The last ones split when nothing comes any more, too.
    while !table.crowded.is_empty() {
        let (key, left) = (keys[0], table.crowded.len());
        table.update_all(&[hash(key)], [(&key, 0)], |_| 0, |_, sum, item, _| *sum += item);
        assert_eq!(table.crowded.len(), left - 1);
    }
    assert!(table.segments.iter().all(|segment| !segment.is_full()));
    for key in keys {
        assert_eq!(table.get(hash(key), &key), Some(&(u64::from(key) + 1)));
    }
}
