//! Tests of [`super::MapState`]: against plain maps, and captures against a clone made at the cut.

use std::collections::BTreeMap;

use millstream_protocol::key_hash::key_hash;
use proptest::prelude::*;

use super::*;
use crate::state::{Entry, State};

type Model = BTreeMap<(u16, u16), u64>;

fn hash(key: u16) -> u64 {
    key_hash(&key).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, u16, u64),
    Touch(u16, u16),
    Remove(u16, u16),
    RemoveRange(u16, u16, u16),
    RemoveAll(u16),
    Push(u16),
    Begin { full: bool },
    Scan(usize),
    Settle(bool),
    Restore,
}

/// Few keys with large maps among many with small ones.
fn key() -> impl Strategy<Value = u16> {
    prop_oneof![0u16..3, 0u16..600]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (key(), 0u16..300, any::<u64>()).prop_map(|(k, a, b)| Op::Insert(k, a, b)),
        6 => (key(), 0u16..300).prop_map(|(k, a)| Op::Touch(k, a)),
        6 => (key(), 0u16..300).prop_map(|(k, a)| Op::Remove(k, a)),
        2 => (key(), 0u16..300, 0u16..60).prop_map(|(k, a, n)| Op::RemoveRange(k, a, a + n)),
        1 => key().prop_map(Op::RemoveAll),
        4 => key().prop_map(Op::Push),
        1 => prop::bool::weighted(0.2).prop_map(|full| Op::Begin { full }),
        3 => (1usize..200).prop_map(Op::Scan),
        1 => prop::bool::weighted(0.7).prop_map(Op::Settle),
        1 => prop::bool::weighted(0.1).prop_map(|it| if it { Op::Restore } else { Op::Scan(9) }),
    ]
}

struct Cut {
    model: Model,
    full: bool,
    brought: Model,
    removed: Vec<(u16, u16)>,
    complete: bool,
}

#[derive(Default)]
struct Checker {
    table: MapState<u16, u16, u64>,
    model: Model,
    /// What the parts published so far add up to.
    stored: Model,
    capture: Option<Cut>,
    epoch: u64,
}

impl Checker {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(k, a, b) => {
                let old = self.table.insert(hash(k), &k, a, b);
                assert_eq!(old, self.model.insert((k, a), b));
            }
            Op::Touch(k, a) => {
                let touched = self.table.get_mut(hash(k), &k, &a).map(|value| *value ^= 1);
                let wanted = self.model.get_mut(&(k, a)).map(|value| *value ^= 1);
                assert_eq!(touched, wanted);
            }
            Op::Remove(k, a) => {
                assert_eq!(self.table.remove(hash(k), &k, &a), self.model.remove(&(k, a)));
            }
            Op::RemoveRange(k, from, to) => {
                let mut taken = Vec::new();
                self.table.remove_range(hash(k), &k, from..to, |value| taken.push(value));
                let wanted = self.model.extract_if((k, from)..(k, to), |_, _| true);
                assert_eq!(taken, wanted.map(|(_, value)| value).collect::<Vec<_>>());
            }
            Op::RemoveAll(k) => {
                self.table.remove_all(hash(k), &k);
                self.model.retain(|(other, _), _| *other != k);
            }
            Op::Push(k) => {
                let next = |last: Option<&u16>| last.map_or(0, |last| last + 1);
                let last = self.model.range((k, 0)..=(k, u16::MAX)).next_back();
                let at = next(last.map(|((_, a), _)| a));
                self.table.push(hash(k), &k, next, 5);
                self.model.insert((k, at), 5);
            }
            Op::Begin { full } if self.capture.is_none() => self.begin(full),
            Op::Scan(budget) => self.scan(budget),
            Op::Settle(published) => self.settle(published),
            Op::Restore => self.restore(),
            Op::Begin { .. } => {}
        }
    }

    fn begin(&mut self, full: bool) {
        self.epoch += 1;
        let full = full || !self.table.can_delta();
        self.table.begin(Epoch(self.epoch), full);
        self.capture = Some(Cut {
            model: self.model.clone(),
            full,
            brought: Model::new(),
            removed: Vec::new(),
            complete: false,
        });
    }

    fn scan(&mut self, mut budget: usize) {
        let Some(cut) = &mut self.capture else { return };
        match self.table.scan_entries(&mut budget) {
            Some(chunk) => {
                cut.removed.extend(chunk.removed);
                for (key, at, value) in chunk.entries {
                    assert!(
                        cut.brought.insert((key, at), value).is_none(),
                        "{key} {at} came twice"
                    );
                }
            }
            None => cut.complete = true,
        }
        cut.complete |= self.table.capture.is_none();
    }

    fn settle(&mut self, published: bool) {
        while published && self.capture.as_ref().is_some_and(|cut| !cut.complete) {
            self.scan(100);
        }
        let Some(cut) = self.capture.take() else { return };
        self.table.settled(Epoch(self.epoch), published);
        if published {
            if cut.full {
                self.stored.clear();
            }
            for key in cut.removed {
                self.stored.remove(&key);
            }
            self.stored.extend(cut.brought);
            assert_eq!(self.stored, cut.model);
        }
    }

    /// Goes on from what was published, in a table of its own, as after a failure.
    fn restore(&mut self) {
        self.capture = None;
        self.table = MapState::default();
        let mut restore = |removed, body: Vec<u8>| {
            self.table.restore(Entry { removed, body: &body }).unwrap();
        };
        for (&(k, a), &b) in &self.stored {
            restore(false, postcard::to_stdvec(&(k, a, b ^ 9)).unwrap());
            restore(false, postcard::to_stdvec(&(k, a + 1000, 0u64)).unwrap());
            restore(true, postcard::to_stdvec(&(k, a + 1000)).unwrap());
            restore(false, postcard::to_stdvec(&(k, a, b)).unwrap());
        }
        self.table.restored();
        self.model = self.stored.clone();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_is_a_map_of_maps_and_what_is_published_is_what_stood_at_the_cut(
        fill in 0u16..3000,
        ops in prop::collection::vec(op(), 1..2000),
    ) {
        let mut checker = Checker::default();
        for n in 0..fill {
            checker.apply(Op::Insert(n % 700, n / 700, 7));
        }
        for op in ops {
            checker.apply(op);
        }
        let Checker { table, model, .. } = checker;
        prop_assert_eq!(table.len(), model.len());
        for key in 0..700u16 {
            let entries: Vec<_> = table.range(hash(key), &key, ..).map(|(a, b)| (*a, *b)).collect();
            let wanted: Vec<_> =
                model.range((key, 0)..=(key, u16::MAX)).map(|((_, a), b)| (*a, *b)).collect();
            prop_assert_eq!(entries, wanted);
        }
    }
}

#[test]
fn one_changed_entry_of_a_large_map_is_captured_alone() {
    let mut table = MapState::default();
    for at in 0..100_000u32 {
        table.insert(1, &1u8, at, 0u64);
    }
    table.begin(Epoch(1), true);
    while table.scan_entries(&mut 8192).is_some() {}
    table.settled(Epoch(1), true);
    table.insert(1, &1, 50_000, 7);
    table.remove(1, &1, &3);
    table.insert(1, &1, 200_000, 8);
    table.remove(1, &1, &200_000);
    table.begin(Epoch(2), false);
    let chunk = table.scan_entries(&mut 1_000_000).unwrap();
    assert_eq!((chunk.entries, chunk.removed), (vec![(1, 50_000, 7)], vec![(1, 3)]));
}
