//! [`Captures`]: brings the state of one operator instance to the encoder, a slice per step.
//!
//! Driven by a stage of [`crate::task`]; invariant: at most one capture at a time, and its pieces
//! reach the encoder in order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use millstream_protocol::id::{Epoch, TaskIndex};
use millstream_protocol::key_group::KeyGroupRange;

use super::encoder::{Durable, Finish, Late, Piece, ShareFacts, ShareKey};
use super::share::Index;
use crate::state::State;
use crate::task::{Step, TaskInfo};
use crate::time::Timestamp;

/// Slots looked at per step: some 30 us of work, a thirtieth of what a task may stall.
const SCAN_SLOTS: usize = 8192;
/// How long a task that has nothing else to do waits for the encoder, whose queue holds work for
/// ten times as long.
const ENCODER_WAIT_MS: i64 = 1;
/// A restore reads a chain of at most this many shares per operator instance.
const CHAIN_SHARES_MAX: usize = 32;

/// How many shares the chain of a task has at most. Not the same for all: tasks that began together
/// would write all their state in the same snapshot.
fn chain_shares(task: TaskIndex) -> usize {
    CHAIN_SHARES_MAX - task.0 as usize % (CHAIN_SHARES_MAX / 2)
}

/// What of an operator instance goes into a share besides its keyed states.
#[derive(Default)]
pub(crate) struct Cut {
    pub(crate) epoch: Epoch,
    pub(crate) watermark: Timestamp,
    /// Key groups that a restore had brought further than that.
    pub(crate) floors: Vec<(KeyGroupRange, Timestamp)>,
    pub(crate) lists: Vec<(String, Vec<Vec<u8>>)>,
    /// More of them, that are put into bytes off the engine thread.
    pub(crate) late: Vec<(String, Vec<Late>)>,
    pub(crate) durable: Option<Durable>,
    pub(crate) facts: ShareFacts,
}

struct Current {
    key: ShareKey,
    next_state: usize,
    finish: Option<Box<Finish>>,
}

/// The captures of one operator instance.
pub(crate) struct Captures {
    info: TaskInfo,
    groups: Option<KeyGroupRange>,
    states: Vec<String>,
    current: Option<Current>,
    /// Pieces that found the encoder's queue full.
    waiting: VecDeque<Piece>,
    /// The newest published epoch that a share of changes may build upon.
    base: Option<Epoch>,
    chain_shares: usize,
    chain_entries: usize,
    /// The epoch whose fate is not known, whether its share is complete in itself, and its entries.
    in_flight: Option<(Epoch, bool, usize)>,
    /// What snapshots that were given up left to be done before a later one is published.
    carried: Vec<Durable>,
}

impl Captures {
    pub(crate) fn new(info: TaskInfo, groups: Option<KeyGroupRange>, states: Vec<String>) -> Self {
        Self {
            info,
            groups,
            states,
            current: None,
            waiting: VecDeque::new(),
            base: None,
            chain_shares: 0,
            chain_entries: 0,
            in_flight: None,
            carried: Vec::new(),
        }
    }

    /// The state was restored from the snapshot of this epoch, out of so many shares.
    pub(crate) fn restored(&mut self, epoch: Epoch, shares: usize, entries: usize) {
        self.base = Some(epoch);
        self.chain_shares = shares;
        self.chain_entries = entries;
    }

    fn must_be_full(&self, states: &[&mut dyn State]) -> bool {
        let live: usize = states.iter().map(|state| state.len()).sum();
        self.base.is_none()
            || self.chain_shares >= chain_shares(self.info.task)
            || self.chain_entries > 2 * live + SCAN_SLOTS
            || states.iter().any(|state| !state.can_delta())
    }

    /// The cut: states raise their generation, and the rest of the share is written down. That is
    /// all the data path waits for.
    pub(crate) fn begin(&mut self, step: &mut Step, mut states: Vec<&mut dyn State>, cut: Cut) {
        let full = self.must_be_full(&states);
        let entries: usize = states.iter().map(|state| state.len()).sum();
        self.info.counters.state_entries.store(entries as u64, Ordering::Relaxed);
        for state in &mut states {
            state.begin(cut.epoch, full);
        }
        let key = ShareKey {
            operator: self.info.operator.clone(),
            task: self.info.task,
            epoch: cut.epoch,
        };
        let index = Index {
            operator: self.info.operator.to_string(),
            task: self.info.task.0,
            epoch: cut.epoch,
            since: if full || self.groups.is_none() { None } else { self.base },
            groups: self.groups,
            watermark: cut.watermark,
            floors: cut.floors,
            states: Vec::new(),
            lists: cut.lists,
        };
        let states_named = self.states.clone();
        let mut durable = std::mem::take(&mut self.carried);
        durable.extend(cut.durable);
        let Cut { late, facts, .. } = cut;
        let finish = Finish { index, states: states_named, durable, late, facts };
        self.in_flight = Some((cut.epoch, full, 0));
        self.current = Some(Current { key, next_state: 0, finish: Some(Box::new(finish)) });
        // The first slice is taken in the next step: the barrier does not wait for it.
        step.capturing = true;
    }

    /// Takes a slice of the capture, if one is under way and the encoder keeps up.
    pub(crate) fn poll(&mut self, step: &mut Step, mut states: Vec<&mut dyn State>) {
        self.offer_waiting(step);
        let mut budget = SCAN_SLOTS;
        while budget > 0 && self.waiting.is_empty() {
            let Some(current) = &mut self.current else { break };
            let Some(state) = states.get_mut(current.next_state) else {
                let finish = current.finish.take().expect("a capture ends once");
                self.waiting.push_back(Piece::Finish(current.key.clone(), finish));
                self.current = None;
                break;
            };
            match state.scan(&mut budget) {
                Some(chunk) => {
                    if let Some((_, _, entries)) = &mut self.in_flight {
                        *entries += chunk.len();
                    }
                    let piece = Piece::Chunk(current.key.clone(), current.next_state, chunk);
                    self.waiting.push_back(piece);
                }
                None => current.next_state += 1,
            }
            self.offer_waiting(step);
        }
        self.offer_waiting(step);
        if self.waiting.is_empty() {
            step.capturing |= self.current.is_some();
        } else {
            // The encoder has more than it can do: to ask at every turn would take the processor
            // that it needs.
            step.wake_by(step.now.saturating_add(ENCODER_WAIT_MS));
        }
    }

    fn offer_waiting(&mut self, step: &mut Step) {
        while let Some(piece) = self.waiting.pop_front() {
            if let Err(piece) = step.encoder.offer(piece) {
                self.waiting.push_front(piece);
                return;
            }
        }
    }

    /// Whether there is more to take or to hand over.
    pub(crate) fn is_under_way(&self) -> bool {
        self.current.is_some() || !self.waiting.is_empty()
    }

    /// The snapshot was published or given up.
    pub(crate) fn settled(&mut self, epoch: Epoch, published: bool, states: Vec<&mut dyn State>) {
        let Some((captured, full, entries)) = self.in_flight else { return };
        if captured != epoch {
            return;
        }
        self.in_flight = None;
        if published {
            self.base = Some(epoch);
            self.chain_shares = if full { 1 } else { self.chain_shares + 1 };
            self.chain_entries = if full { entries } else { self.chain_entries + entries };
        } else {
            let open = self.current.take().and_then(|current| current.finish);
            self.carried.extend(open.into_iter().flat_map(|finish| finish.durable));
            for piece in self.waiting.drain(..) {
                if let Piece::Finish(_, finish) = piece {
                    self.carried.extend(finish.durable);
                }
            }
            self.waiting.push_back(Piece::Forget(epoch));
        }
        for state in states {
            state.settled(epoch, published);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_write_all_their_state_in_different_snapshots() {
        let bounds: Vec<usize> = (0..17).map(|task| chain_shares(TaskIndex(task))).collect();
        assert_eq!((bounds[0], bounds[15], bounds[16]), (CHAIN_SHARES_MAX, 17, CHAIN_SHARES_MAX));
        assert!(bounds.windows(2).take(15).all(|pair| pair[0] == pair[1] + 1));
    }
}
