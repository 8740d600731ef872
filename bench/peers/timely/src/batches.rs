//! Batches of the size that every contender uses; timely's own would be 8 KiB.

use std::collections::VecDeque;

use millstream_bench_stream::BATCH_RECORDS;
use timely::container::{ContainerBuilder, LengthPreservingContainerBuilder, PushInto};
use timely::dataflow::channels::pact::ExchangeCore;

/// Exchanges by a function whose low bits name the worker.
pub fn exchange<T: Clone + 'static, F: FnMut(&T) -> u64 + 'static>(
    function: F,
) -> ExchangeCore<Batches<T>, F> {
    ExchangeCore::<Batches<T>, F>::new_core(function)
}

/// Collects records into vectors of [`BATCH_RECORDS`].
pub struct Batches<T> {
    current: Vec<T>,
    spare: Vec<T>,
    full: VecDeque<Vec<T>>,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self { current: Vec::new(), spare: Vec::new(), full: VecDeque::new() }
    }
}

impl<T> PushInto<T> for Batches<T> {
    #[inline]
    fn push_into(&mut self, item: T) {
        if self.current.capacity() == 0 {
            self.current = std::mem::take(&mut self.spare);
            self.current.clear();
            self.current.reserve(BATCH_RECORDS);
        }
        self.current.push(item);
        if self.current.len() >= BATCH_RECORDS {
            self.full.push_back(std::mem::take(&mut self.current));
        }
    }
}

impl<T> ContainerBuilder for Batches<T> {
    type Container = Vec<T>;

    #[inline]
    fn extract(&mut self) -> Option<&mut Vec<T>> {
        self.spare = self.full.pop_front()?;
        Some(&mut self.spare)
    }

    #[inline]
    fn finish(&mut self) -> Option<&mut Vec<T>> {
        if !self.current.is_empty() {
            self.full.push_back(std::mem::take(&mut self.current));
        }
        self.extract()
    }
}

impl<T> LengthPreservingContainerBuilder for Batches<T> {}
