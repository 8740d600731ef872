//! Tests of [`super::Buffer`]: captures between writes, settlements and drops, against a copy made
//! at the cut.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::partners::Partners;
use super::super::rig::{info, keys};
use super::super::script::Record;
use super::*;
use crate::state::{Buckets, entries};

type Tested = Buffer<u32, Record, Partners<u32, true>>;

#[derive(Clone, Debug)]
enum Op {
    Add {
        key: u32,
        ahead: i64,
    },
    /// Settles all records of a key and time.
    Settle(usize),
    Drop(i64),
    Begin {
        full: bool,
    },
    Scan(usize),
    Publish(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (0u32..4, 0i64..100).prop_map(|(key, ahead)| Op::Add { key, ahead }),
        8 => any::<usize>().prop_map(Op::Settle),
        2 => (0i64..40).prop_map(Op::Drop),
        1 => any::<bool>().prop_map(|full| Op::Begin { full }),
        4 => (1usize..20).prop_map(Op::Scan),
        1 => any::<bool>().prop_map(Op::Publish),
    ]
}

fn hash(key: u32) -> u64 {
    key_hash(&key).unwrap()
}

/// By record number: the record and whether it is settled.
type Model = BTreeMap<u32, (Record, bool)>;

struct Checker {
    buffer: Tested,
    model: Model,
    next: u32,
    /// Everything before this is over.
    now: i64,
    capture: Option<(Model, i64, bool, Vec<Vec<u8>>)>,
    /// The parts published so far.
    stored: Vec<Vec<u8>>,
    epoch: u64,
}

fn buffer() -> Tested {
    Buffer::new(keys(), &info(0, 1), 10, 3)
}

fn content(buffer: &Tested) -> Model {
    let mut model = Model::new();
    for slice in buffer.slices.values() {
        for id in 0..slice.log.len() {
            let (record, time) = slice.log.get(id);
            assert_eq!(record.2, time.0);
            assert!(model.insert(record.1, (*record, slice.settled.contains(&id))).is_none());
        }
    }
    assert_eq!(buffer.len(), model.len());
    model
}

impl Checker {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Add { key, ahead } => self.add(key, self.now + ahead),
            Op::Settle(choice) => {
                let open: Vec<_> = self.model.values().filter(|(_, settled)| !settled).collect();
                if let Some((record, _)) = open.get(choice % open.len().max(1)).copied() {
                    self.settle(*record);
                }
            }
            Op::Drop(by) => {
                self.now += by;
                self.buffer.drop_before(Timestamp(self.now));
                self.buffer.sweep();
                // Whole slices leave.
                let first = self.buffer.slices.keys().next().copied().unwrap_or(i64::MAX);
                assert!(first.saturating_add(10) > self.now);
                self.model.retain(|_, (record, _)| record.2 >= first);
            }
            Op::Begin { full } if self.capture.is_none() => {
                self.epoch += 1;
                let full = full || !self.buffer.can_delta();
                self.buffer.begin(Epoch(self.epoch), full);
                self.capture = Some((self.model.clone(), self.now, full, Vec::new()));
            }
            Op::Begin { .. } => {}
            Op::Scan(budget) => {
                self.scan(budget);
            }
            Op::Publish(published) => self.publish(published),
        }
    }

    /// As in a join, a record is settled from the start when its like is.
    fn add(&mut self, key: u32, time: i64) {
        let record = (key, self.next, time);
        let alike = |(it, settled): &(Record, bool)| *settled && it.0 == key && it.2 == time;
        let settled = self.model.values().any(alike);
        let (slice, id) = self.buffer.push(record, Timestamp(time), hash(key));
        slice.index.add(hash(key), key, Timestamp(time), settled);
        if settled {
            slice.settled.push(id);
        }
        self.model.insert(self.next, (record, settled));
        self.next += 1;
    }

    fn settle(&mut self, record: Record) {
        let start = self.buffer.start_of(Timestamp(record.2));
        let slice = self.buffer.slices.get_mut(&start).unwrap();
        for (its, settled) in self.model.values_mut() {
            if its.0 == record.0 && its.2 == record.2 && !*settled {
                *settled = true;
                let of = |id: &u32| slice.log.get(*id).0.1 == its.1;
                let id = slice.index.walk(hash(its.0), &its.0).find(of).unwrap();
                assert!(slice.index.meet(id));
                slice.settled.push(id);
            }
        }
    }

    fn scan(&mut self, mut budget: usize) -> bool {
        let Some((_, _, _, parts)) = &mut self.capture else { return false };
        let Some(chunk) = self.buffer.scan(&mut budget) else { return false };
        let groups = KeyGroups::default();
        let mut buckets = Buckets::new(groups);
        chunk.encode(&mut buckets).unwrap();
        parts.extend(buckets.into_groups().map(|(_, bytes)| bytes));
        true
    }

    fn publish(&mut self, published: bool) {
        while published && self.scan(7) {}
        let Some((at_cut, now, full, parts)) = self.capture.take() else { return };
        self.buffer.settled(Epoch(self.epoch), published);
        assert!(self.buffer.leaving.is_empty());
        if !published {
            return;
        }
        if full {
            self.stored.clear();
        }
        self.stored.extend(parts);
        let mut restored = buffer();
        let groups = KeyGroups::default().all();
        restored.is_over(groups, (Timestamp(now), 0));
        for entry in self.stored.iter().flat_map(|bytes| entries(bytes)) {
            restored.restore(entry.unwrap()).unwrap();
        }
        restored.restored();
        // A slice may stay longer than some of its records.
        let lives = |(_, (record, _)): &(u32, (Record, bool))| record.2 >= now;
        let expected: Model = at_cut.into_iter().filter(lives).collect();
        assert_eq!(content(&restored), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_published_and_not_over_is_what_stood_at_the_cut(
        ops in prop::collection::vec(op(), 1..600),
    ) {
        let (buffer, model, stored) = (buffer(), Model::new(), Vec::new());
        let mut checker =
            Checker { buffer, model, next: 0, now: -50, capture: None, stored, epoch: 0 };
        for op in ops {
            checker.apply(op);
            prop_assert_eq!(&content(&checker.buffer), &checker.model);
        }
    }
}
