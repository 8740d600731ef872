//! [`Spread`]: an aggregate of one's own.

use millstream_worker::operator::aggregate::Aggregate;

/// The largest value less the smallest.
#[derive(Clone, Copy, Debug)]
pub struct Spread;

impl Aggregate<i64> for Spread {
    type Acc = (i64, i64);
    type Out = i64;

    fn zero(&self) -> (i64, i64) {
        (i64::MAX, i64::MIN)
    }

    fn add(&self, (low, high): &mut (i64, i64), value: i64) {
        *low = value.min(*low);
        *high = value.max(*high);
    }

    fn merge(&self, (low, high): &mut (i64, i64), other: &(i64, i64)) {
        *low = other.0.min(*low);
        *high = other.1.max(*high);
    }

    fn result(&self, (low, high): &(i64, i64)) -> i64 {
        high - low
    }
}
