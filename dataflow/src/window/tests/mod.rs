//! Windows against a model that keeps every record, under disorder, lateness and restores.

mod aligned;
mod captured;
mod errors;
mod keyed;
mod uneven;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::{Element, Harness};

/// A record of the tests: a key and a value that is different for each.
type Record = (u8, i64);
/// A result: key, start, end, and the sorted values.
type Outcome = (u8, i64, i64, Vec<i64>);

fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis as u64)
}

#[derive(Clone, Copy, Debug)]
enum Move {
    /// A record of a key, so far from the watermark.
    Record(u8, i64),
    Advance(i64),
    Snapshot,
}

/// Scripts with records up to 40 ms behind the watermark and 60 ms ahead of it, from -100 on.
fn script() -> impl Strategy<Value = Vec<Element<Record>>> {
    let moves = prop_oneof![
        12 => (0u8..4, -40i64..60).prop_map(|(key, ahead)| Move::Record(key, ahead)),
        4 => (0i64..25).prop_map(Move::Advance),
        1 => (100i64..300).prop_map(Move::Advance),
        1 => Just(Move::Snapshot),
    ];
    prop::collection::vec(moves, 0..90).prop_map(|moves| {
        let mut watermark = -100;
        let moves = moves.into_iter().enumerate();
        let element = moves.map(|(index, next)| match next {
            Move::Record(key, ahead) => {
                Element::Record((key, index as i64), Timestamp(watermark + ahead))
            }
            Move::Advance(by) => {
                watermark += by;
                Element::Watermark(Timestamp(watermark))
            }
            Move::Snapshot => Element::Snapshot,
        });
        element.collect()
    })
}

/// Threads of the first life, of the second, and so on.
fn threads() -> impl Strategy<Value = Vec<u32>> {
    prop::sample::select(vec![vec![1], vec![2], vec![1, 3, 2], vec![3, 1]])
}

fn play<U: Data + Ord>(
    threads: &[u32],
    elements: &[Element<Record>],
    build: impl Fn(&KeyedStream<u8, Record>) -> Stream<U>,
) -> Vec<U> {
    let build = |records: &Stream<Record>, _: &mut crate::Job| build(&records.key_by(|r| r.0));
    let out = Harness::new().threads(threads).run(elements.to_vec(), build);
    let mut out: Vec<U> = out.unwrap().into_iter().map(|(record, _)| record).collect();
    out.sort();
    out
}

/// What `apply` puts out in these tests.
#[expect(clippy::trivially_copy_pass_by_ref, clippy::unnecessary_wraps, reason = "as apply has it")]
fn outcome(key: &u8, window: Window, records: &[Record]) -> Option<Outcome> {
    let mut values: Vec<i64> = records.iter().map(|record| record.1).collect();
    values.sort_unstable();
    Some((*key, window.start.0, window.end.0, values))
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values
}
