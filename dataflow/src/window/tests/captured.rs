//! Captures of [`Slices`] while slices are written to, closed, emptied and used again.

use std::collections::BTreeMap;

use millstream_protocol::id::Epoch;
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::key_hash::key_hash;
use proptest::prelude::*;

use crate::state::{Buckets, State, entries};
use crate::window::grid::Grid;
use crate::window::slices::Slices;

type Content = BTreeMap<(i64, u16), u64>;

#[derive(Clone, Debug)]
enum Op {
    Add(i64, u16),
    Close,
    Sweep(usize),
    Begin { full: bool },
    Scan(usize),
    Settle(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0i64..3, 0u16..600).prop_map(|(slice, key)| Op::Add(slice, key)),
        1 => Just(Op::Close),
        1 => (1usize..200).prop_map(Op::Sweep),
        1 => any::<bool>().prop_map(|full| Op::Begin { full }),
        3 => (1usize..100).prop_map(Op::Scan),
        1 => any::<bool>().prop_map(Op::Settle),
    ]
}

struct Capture {
    at_cut: Content,
    closed: i64,
    full: bool,
    brought: Content,
    complete: bool,
}

struct Checker {
    slices: Slices<u16, u64>,
    model: Content,
    /// What a restore would find: what the published parts add up to, but for closed slices.
    stored: Content,
    /// Slices before this one are closed.
    closed: i64,
    capture: Option<Capture>,
    epoch: u64,
}

impl Checker {
    fn new() -> Self {
        Self {
            slices: Slices::new(Grid::new(1, 1, 0)),
            model: Content::new(),
            stored: Content::new(),
            closed: 0,
            capture: None,
            epoch: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Add(ahead, key) => {
                let slice = self.closed + ahead;
                let place = self.slices.open(slice);
                let table = self.slices.table_mut(place);
                *table.entry(key_hash(&key).unwrap(), key, || 0) += 1;
                *self.model.entry((slice, key)).or_insert(0) += 1;
            }
            Op::Close => {
                let until = self.closed;
                self.slices.close_first(|slice| slice <= until);
                self.closed += 1;
                self.model.retain(|(slice, _), _| *slice > until);
            }
            Op::Sweep(budget) => self.slices.sweep(budget),
            Op::Begin { full } if self.capture.is_none() => {
                self.epoch += 1;
                let full = full || !self.slices.can_delta();
                self.slices.begin(Epoch(self.epoch), full);
                let (at_cut, brought) = (self.model.clone(), Content::new());
                let closed = self.closed;
                self.capture = Some(Capture { at_cut, closed, full, brought, complete: false });
            }
            Op::Begin { .. } => {}
            Op::Scan(budget) => self.scan(budget),
            Op::Settle(published) => self.settle(published),
        }
    }

    fn scan(&mut self, mut budget: usize) {
        let Some(capture) = self.capture.as_mut().filter(|capture| !capture.complete) else {
            return;
        };
        let Some(chunk) = self.slices.scan(&mut budget) else {
            capture.complete = true;
            return;
        };
        let groups = KeyGroups::default();
        let mut buckets = Buckets::new(groups);
        chunk.encode(&mut buckets).unwrap();
        for (_, bytes) in buckets.into_groups() {
            for entry in entries(&bytes) {
                let entry = entry.unwrap();
                assert!(!entry.removed);
                let (slice, key, acc) = postcard::from_bytes(entry.body).unwrap();
                assert!(capture.brought.insert((slice, key), acc).is_none(), "{key} came twice");
            }
        }
    }

    fn settle(&mut self, published: bool) {
        while published && self.capture.as_ref().is_some_and(|capture| !capture.complete) {
            self.scan(100);
        }
        let Some(capture) = self.capture.take() else { return };
        self.slices.settled(Epoch(self.epoch), published);
        if published {
            if capture.full {
                self.stored.clear();
            }
            self.stored.extend(capture.brought);
            self.stored.retain(|(slice, _), _| *slice >= capture.closed);
            assert_eq!(self.stored, capture.at_cut);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn published_parts_add_up_to_the_open_slices_at_the_cut(
        ops in prop::collection::vec(op(), 0..1500)
    ) {
        let mut checker = Checker::new();
        for op in ops {
            checker.apply(op);
        }
        prop_assert_eq!(checker.slices.len(), checker.model.len());
        checker.settle(true);
    }
}
