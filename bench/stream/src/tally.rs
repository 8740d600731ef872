//! Counts and checksums what a workload puts out.
//!
//! Fed by every contender's last operator, merged over its threads, and compared by the runner.
//! Invariant: the order of the records does not matter, their pairing of key, time and value does.

use serde::{Deserialize, Serialize};

/// The count and checksums of a set of output records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many records came out.
    pub records: u64,
    /// The sum, modulo 2^64, of a mix of each record.
    pub checksum: u64,
    /// The sum, modulo 2^64, of the values alone.
    pub value_sum: i64,
}

impl Tally {
    /// Counts one output record. For a window result the time is the window's start.
    #[inline]
    pub fn add(&mut self, key: u64, at: i64, value: i64) {
        self.add_if(true, key, at, value);
    }

    /// Counts the record if `keep`, without a branch.
    #[inline]
    pub fn add_if(&mut self, keep: bool, key: u64, at: i64, value: i64) {
        let x = key
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add((at as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
            .wrapping_add((value as u64).wrapping_mul(0x1656_67B1_9E37_79F9));
        let mask = u64::from(keep).wrapping_neg();
        self.records += u64::from(keep);
        self.checksum = self.checksum.wrapping_add((x ^ (x >> 29)) & mask);
        self.value_sum = self.value_sum.wrapping_add(value & mask as i64);
    }

    /// The checksum as contenders print it.
    pub fn checksum_hex(&self) -> String {
        format!("{:016x}", self.checksum)
    }

    /// Adds what another thread has counted.
    pub fn merge(&mut self, other: Self) {
        self.records += other.records;
        self.checksum = self.checksum.wrapping_add(other.checksum);
        self.value_sum = self.value_sum.wrapping_add(other.value_sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[(u64, i64, i64)]) -> Tally {
        let mut tally = Tally::default();
        for &(key, at, value) in records {
            tally.add(key, at, value);
        }
        tally
    }

    #[test]
    fn order_does_not_matter_and_pairing_does() {
        assert_eq!(of(&[(1, 2, 3), (4, 5, 6)]), of(&[(4, 5, 6), (1, 2, 3)]));
        assert_ne!(of(&[(1, 2, 3), (4, 5, 6)]), of(&[(1, 2, 6), (4, 5, 3)]));
        assert_ne!(of(&[(1, 2, 3), (4, 5, 6)]), of(&[(1, 5, 3), (4, 2, 6)]));
    }

    #[test]
    fn a_record_that_is_not_kept_leaves_no_trace() {
        let mut tally = of(&[(1, 2, 3)]);
        tally.add_if(false, 7, 8, 9);
        assert_eq!(tally, of(&[(1, 2, 3)]));
    }
}
