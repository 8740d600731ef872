//! Chance: whether something goes wrong, from a seed.
//!
//! Received from: the scheduler, the seed. Handed to: the model's workers, which ask it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Faults by chance, from a seed; none once they are off.
#[derive(Debug)]
pub(crate) struct Chance {
    pub(crate) rng: SmallRng,
    pub(crate) on: bool,
}

impl Chance {
    pub(crate) fn new(seed: u64, on: bool) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), on }
    }

    /// True in so many of a thousand cases, while faults are on.
    pub(crate) fn hits(&mut self, per_mille: u32) -> bool {
        self.on && self.rng.random_ratio(per_mille, 1000)
    }
}
