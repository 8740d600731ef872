//! Whether contenders put out the same: a figure for the wrong answer is no figure.
//!
//! Receives each [`Outcome`] from the runner. Invariant: for one workload and number of records the
//! first full answer, the hand loop's where there is one, is what all later ones must equal.

use std::collections::HashMap;

use anyhow::ensure;
use millstream_bench_stream::{Agreement, Outcome};

/// What has been agreed on for one workload, by number of records.
#[derive(Debug, Default)]
pub struct Agreed {
    by_records: HashMap<u64, Outcome>,
}

impl Agreed {
    /// Compares an outcome with the agreed one; `hand` makes one where there is none yet.
    ///
    /// # Errors
    /// Where they differ, and those of `hand`.
    pub fn check(
        &mut self,
        outcome: &Outcome,
        hand: &impl Fn(u64) -> anyhow::Result<Option<Outcome>>,
    ) -> anyhow::Result<()> {
        let records = outcome.records_in;
        if !self.by_records.contains_key(&records) {
            let exact = outcome.agreement == Agreement::Exact;
            let first = hand(records)?.or_else(|| exact.then(|| outcome.clone()));
            self.by_records.extend(first.map(|first| (records, first)));
        }
        let Some(agreed) = self.by_records.get(&records) else { return Ok(()) };
        match outcome.agreement {
            Agreement::Exact => {
                let of = |o: &Outcome| (o.records_out, o.checksum.clone());
                let (is, should) = (of(outcome), of(agreed));
                ensure!(is == should, "wrong output: {is:?} (records, checksum), not {should:?}");
            }
            Agreement::Values => {
                let (is, should) = (outcome.value_sum, agreed.value_sum);
                ensure!(is == should, "wrong output: the values' sum is {is}, not {should}");
            }
            Agreement::None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millstream_bench_stream::{Stopwatch, Tally, Workload};

    use super::*;

    fn outcome(value: i64) -> Outcome {
        let mut tally = Tally::default();
        tally.add(1, 2, value);
        Stopwatch::start().stop(Workload::Sum, 10, tally)
    }

    #[test]
    fn the_hand_loop_decides() {
        let hand = |_| Ok(Some(outcome(5)));
        let mut agreed = Agreed::default();
        assert!(agreed.check(&outcome(5), &hand).is_ok());
        assert!(agreed.check(&outcome(6), &hand).is_err());
        assert!(agreed.check(&outcome(6).agreeing(Agreement::Values), &hand).is_err());
        assert!(agreed.check(&outcome(6).agreeing(Agreement::None), &hand).is_ok());
    }

    #[test]
    fn without_a_hand_loop_the_first_full_answer_decides() {
        let none = |_| Ok(None);
        let mut agreed = Agreed::default();
        assert!(agreed.check(&outcome(4).agreeing(Agreement::None), &none).is_ok());
        assert!(agreed.check(&outcome(5), &none).is_ok());
        assert!(agreed.check(&outcome(6), &none).is_err());
    }
}
