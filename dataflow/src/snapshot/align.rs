//! [`Align`]: which inputs of a task may be read, and what the marks on them add up to. Pure.
//!
//! Fed by [`crate::task`] with the marks of each input. Invariants: the combined watermark never
//! falls; an input that has delivered barrier n is not read until all have; an input that ended
//! counts as having delivered every later barrier; no barrier passes before the task itself was
//! told of it, and so before it was told what became of the epoch before: in the stream a barrier
//! may overtake that, where a step takes long.

use millstream_protocol::id::Epoch;

use crate::task::Barrier;
use crate::time::Timestamp;

/// What the marks so far add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combined {
    /// Nothing new.
    Nothing,
    /// The smallest watermark over the inputs that are not idle has risen to this.
    Watermark(Timestamp),
    /// All inputs are idle.
    Idle,
}

#[derive(Clone, Copy, Debug)]
struct Input {
    watermark: Timestamp,
    idle: bool,
    delivered: bool,
    ended: bool,
}

/// The marks of a task's inputs.
#[derive(Debug)]
pub(crate) struct Align {
    inputs: Vec<Input>,
    watermark: Timestamp,
    idle: bool,
    pending: Option<Barrier>,
    /// Barriers up to this one are over: passed, or given up.
    settled: Epoch,
    /// The newest barrier that the task was told of.
    announced: Epoch,
}

impl Align {
    pub(crate) fn new(inputs: usize) -> Self {
        let input =
            Input { watermark: Timestamp::MIN, idle: false, delivered: false, ended: false };
        Self {
            inputs: vec![input; inputs],
            watermark: Timestamp::MIN,
            idle: false,
            pending: None,
            settled: Epoch(0),
            announced: Epoch(0),
        }
    }

    /// Whether the input must not be read now.
    pub(crate) fn is_held(&self, input: usize) -> bool {
        let input = self.inputs[input];
        input.ended || (input.delivered && self.pending.is_some())
    }

    /// Whether a barrier is on its way.
    pub(crate) fn is_expecting(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether every input has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.inputs.iter().all(|input| input.ended)
    }

    pub(crate) fn watermark(&mut self, input: usize, time: Timestamp) -> Combined {
        let input = &mut self.inputs[input];
        input.watermark = input.watermark.max(time);
        input.idle = false;
        self.combine()
    }

    pub(crate) fn idle(&mut self, input: usize) -> Combined {
        self.inputs[input].idle = true;
        self.combine()
    }

    pub(crate) fn end(&mut self, input: usize) -> Combined {
        self.inputs[input].ended = true;
        self.combine()
    }

    /// An input delivered a barrier. Barriers that are over are dropped; a newer one replaces an
    /// older.
    pub(crate) fn barrier(&mut self, input: usize, barrier: Barrier) {
        if barrier.epoch <= self.settled {
            return;
        }
        self.expect(barrier);
        if self.pending == Some(barrier) {
            self.inputs[input].delivered = true;
        }
    }

    /// The task was told that a barrier is on its way: the only word of it that one gets whose
    /// inputs have all ended.
    pub(crate) fn announce(&mut self, barrier: Barrier) {
        self.announced = self.announced.max(barrier.epoch);
        self.expect(barrier);
    }

    fn expect(&mut self, barrier: Barrier) {
        let newer = self.pending.is_none_or(|pending| pending.epoch < barrier.epoch);
        if barrier.epoch > self.settled && newer {
            self.release();
            self.pending = Some(barrier);
        }
    }

    /// The barrier that all inputs have delivered, once; they are read again from here.
    pub(crate) fn aligned(&mut self) -> Option<Barrier> {
        let pending = self.pending.filter(|pending| pending.epoch <= self.announced)?;
        if !self.inputs.iter().all(|input| input.delivered || input.ended) {
            return None;
        }
        self.settled = pending.epoch;
        self.release();
        Some(pending)
    }

    /// The epoch was given up: inputs that wait for it are read again, and it is declined for good.
    pub(crate) fn abort(&mut self, epoch: Epoch) {
        self.settled = self.settled.max(epoch);
        if self.pending.is_some_and(|pending| pending.epoch <= epoch) {
            self.release();
        }
    }

    fn release(&mut self) {
        self.pending = None;
        for input in &mut self.inputs {
            input.delivered = false;
        }
    }

    fn combine(&mut self) -> Combined {
        let live = self.inputs.iter().filter(|input| !input.idle && !input.ended);
        let Some(smallest) = live.map(|input| input.watermark).min() else {
            return self.combine_quiet();
        };
        if smallest > self.watermark || (self.idle && smallest >= self.watermark) {
            self.watermark = smallest;
            self.idle = false;
            return Combined::Watermark(smallest);
        }
        Combined::Nothing
    }

    /// No input is live: the ended ones say how far time has come, unless one that is idle may go
    /// on.
    fn combine_quiet(&mut self) -> Combined {
        if self.has_ended() {
            let last = self.inputs.iter().map(|input| input.watermark).min();
            let last = last.unwrap_or(Timestamp::MAX);
            if last > self.watermark {
                self.watermark = last;
                return Combined::Watermark(last);
            }
            return Combined::Nothing;
        }
        if self.idle {
            return Combined::Nothing;
        }
        self.idle = true;
        Combined::Idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(epoch: u64) -> Barrier {
        Barrier { epoch: Epoch(epoch), stopping: false }
    }

    #[test]
    fn a_barrier_that_overtakes_its_announcement_waits_for_it() {
        let mut align = Align::new(1);
        align.barrier(0, barrier(1));
        assert_eq!(align.aligned(), None);
        assert!(align.is_held(0));
        align.announce(barrier(1));
        assert_eq!(align.aligned(), Some(barrier(1)));
        align.barrier(0, barrier(3));
        align.announce(barrier(2));
        assert_eq!(align.aligned(), None);
        align.announce(barrier(3));
        assert_eq!(align.aligned(), Some(barrier(3)));
    }

    #[test]
    fn the_watermark_is_the_smallest_of_the_live_inputs() {
        let mut align = Align::new(2);
        assert_eq!(align.watermark(0, Timestamp(5)), Combined::Nothing);
        assert_eq!(align.watermark(1, Timestamp(3)), Combined::Watermark(Timestamp(3)));
        assert_eq!(align.idle(1), Combined::Watermark(Timestamp(5)));
        assert_eq!(align.idle(0), Combined::Idle);
        assert_eq!(align.watermark(0, Timestamp(5)), Combined::Watermark(Timestamp(5)));
        // An input that comes back behind the others holds them, but time does not go back.
        assert_eq!(align.watermark(1, Timestamp(4)), Combined::Nothing);
        assert_eq!(align.watermark(0, Timestamp(9)), Combined::Nothing);
        assert_eq!(align.watermark(1, Timestamp(7)), Combined::Watermark(Timestamp(7)));
    }

    #[test]
    fn when_all_inputs_end_the_last_watermark_is_theirs() {
        let mut align = Align::new(2);
        align.watermark(0, Timestamp::MAX);
        assert_eq!(align.end(0), Combined::Nothing);
        assert_eq!(align.watermark(1, Timestamp(8)), Combined::Watermark(Timestamp(8)));
        assert_eq!(align.watermark(1, Timestamp::MAX), Combined::Watermark(Timestamp::MAX));
        assert_eq!(align.end(1), Combined::Nothing);
        assert!(align.has_ended());
    }

    #[test]
    fn a_barrier_holds_the_inputs_that_delivered_it_until_all_have() {
        let mut align = Align::new(2);
        align.announce(barrier(1));
        align.barrier(0, barrier(1));
        assert!(align.is_held(0) && !align.is_held(1));
        assert_eq!(align.aligned(), None);
        align.barrier(1, barrier(1));
        assert_eq!(align.aligned(), Some(barrier(1)));
        assert!(!align.is_held(0) && !align.is_held(1));
        assert_eq!(align.aligned(), None);
    }

    #[test]
    fn an_ended_input_counts_as_having_delivered_and_an_announced_barrier_finds_an_ended_task() {
        let mut align = Align::new(2);
        align.end(0);
        align.announce(barrier(1));
        align.barrier(1, barrier(1));
        assert_eq!(align.aligned(), Some(barrier(1)));
        align.end(1);
        align.announce(barrier(2));
        assert_eq!(align.aligned(), Some(barrier(2)));
    }

    #[test]
    fn an_aborted_barrier_is_declined_for_good() {
        let mut align = Align::new(2);
        align.barrier(0, barrier(1));
        align.abort(Epoch(1));
        assert!(!align.is_held(0));
        align.barrier(1, barrier(1));
        assert!(!align.is_held(1) && align.aligned().is_none());
        align.announce(barrier(2));
        align.barrier(0, barrier(2));
        align.barrier(1, barrier(2));
        assert_eq!(align.aligned(), Some(barrier(2)));
    }

    #[test]
    fn a_newer_barrier_replaces_one_that_never_came_to_all() {
        let mut align = Align::new(2);
        align.barrier(0, barrier(1));
        align.announce(barrier(2));
        assert!(!align.is_held(0));
        align.barrier(0, barrier(2));
        align.barrier(1, barrier(1));
        assert!(!align.is_held(1));
        align.barrier(1, barrier(2));
        assert_eq!(align.aligned(), Some(barrier(2)));
    }
}
