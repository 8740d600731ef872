//! What the tests of this crate share: entries by the handful, and a world of faults.

pub(crate) mod entries;
