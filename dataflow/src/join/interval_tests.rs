//! Tests of the interval join: against nested loops, and cut in the middle of its work.

use std::time::Duration;

use proptest::prelude::*;

use super::super::rig::{Rig, info, keys};
use super::super::script::{Record, cut_at, side};
use super::*;
use crate::join::Offset::{After, Before};
use crate::stream::KeyedStream;
use crate::testing::{Element, Harness, suite_two};

type Out = (u32, Option<u32>);

fn keyed(stream: &Stream<Record>) -> KeyedStream<u32, Record> {
    stream.key_by(|record| record.0)
}

fn join(left: &Stream<Record>, right: &Stream<Record>, bounds: Bounds, outer: bool) -> Stream<Out> {
    let joined = Joined { left: keyed(left), right: keyed(right) };
    let join = IntervalJoin { joined, bounds };
    if outer {
        join.left_outer("join", |_, l, r| (l.1, r.map(|r| r.1)))
    } else {
        join.inner("join", |_, l, r| (l.1, Some(r.1)))
    }
}

/// The join by nested loops.
fn expected(
    left: &[Record],
    right: &[Record],
    bounds: Bounds,
    outer: bool,
) -> Vec<(Out, Timestamp)> {
    let mut out = Vec::new();
    for l in left {
        let its = right.iter().filter(|r| r.0 == l.0);
        let its = its.filter(|r| (bounds.lower..=bounds.upper).contains(&(r.2 - l.2)));
        let before = out.len();
        out.extend(its.map(|r| ((l.1, Some(r.1)), Timestamp(l.2.max(r.2)))));
        if outer && out.len() == before {
            out.push(((l.1, None), Timestamp(l.2.max(l.2 + bounds.upper))));
        }
    }
    out.sort();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn it_is_the_nested_loop_under_disorder_and_restores(
        left in side(),
        right in side(),
        (lower, span) in (-80i64..80, 0i64..120),
        outer: bool,
        cuts in prop::collection::vec((0usize..100, 0usize..100), 0..6),
        threads in prop::collection::vec(1u32..4, 1..4),
    ) {
        let bounds = Bounds { lower, upper: lower + span };
        let (left_cuts, right_cuts): (Vec<_>, Vec<_>) = cuts.into_iter().unzip();
        let mut out = Harness::new().threads(&threads).run_two(
            cut_at(left.0, &left_cuts),
            cut_at(right.0, &right_cuts),
            |left, right| join(left, right, bounds, outer),
        ).unwrap();
        out.sort();
        prop_assert_eq!(out, expected(&left.1, &right.1, bounds, outer));
    }
}

fn script(step: i64, keys: u32) -> (Vec<Element<Record>>, Vec<Record>) {
    let record = |n: i64| (n as u32 % keys, n as u32, n * step + n % 4 * 7);
    let records: Vec<Record> = (0..60).map(record).collect();
    let mut elements = Vec::new();
    for record in &records {
        elements.push(Element::Record(*record, Timestamp(record.2)));
        elements.push(Element::Watermark(Timestamp(record.2 - 30)));
    }
    (elements, records)
}

#[test]
fn both_joins_pass_the_suite() {
    let (left, right) = (script(5, 5), script(6, 4));
    let bounds = Bounds { lower: -40, upper: 15 };
    for outer in [false, true] {
        let out = suite_two(&left.0, &right.0, |left, right| join(left, right, bounds, outer));
        assert_eq!(out, expected(&left.1, &right.1, bounds, outer));
        assert!(out.iter().any(|((_, right), _)| right.is_some()));
        assert_eq!(outer, out.iter().any(|((_, right), _)| right.is_none()));
    }
}

#[test]
fn records_behind_the_watermark_are_dropped_and_those_at_it_are_not() {
    let record = |n: u32, time: i64| Element::Record((1, n, time), Timestamp(time));
    let mark = Element::Watermark(Timestamp(100));
    // The barriers bring both watermarks to the join before the records behind them.
    let left = vec![mark.clone(), Element::Snapshot, record(1, 99), record(2, 100)];
    let right = vec![record(3, 100), mark, Element::Snapshot, record(4, 99), record(5, 101)];
    for harness in [Harness::new(), Harness::new().without_restore()] {
        let mut out = harness
            .run_two(left.clone(), right.clone(), |left, right| {
                let both = keyed(left).join(&keyed(right)).within(Duration::from_millis(5));
                both.left_outer("join", |_, l, r| (l.1, r.map(|r| r.1)))
            })
            .unwrap();
        out.sort();
        let expected = [((2, Some(3)), Timestamp(100)), ((2, Some(5)), Timestamp(101))];
        assert_eq!(out, expected);
    }
}

#[test]
fn bounds_the_wrong_way_round_are_an_error_that_names_the_place() {
    let error = Harness::new()
        .run_two(Vec::<Element<Record>>::new(), Vec::<Element<Record>>::new(), |left, right| {
            let second = Duration::from_secs(1);
            let both = keyed(left).join(&keyed(right)).between(After(second), Before(second));
            both.inner("join", |_, l, _| l.1)
        })
        .unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Invalid);
    assert!(error.to_string().contains("must not be later"), "{error}");
    assert!(error.to_string().contains("interval_tests.rs"), "{error}");
}

type Made =
    Interval<u32, Record, Record, LeftOuter<fn(&u32, &Record, Option<&Record>) -> Out>, true>;

fn rig(task: u32, parallelism: u32) -> Rig<Made> {
    let info = info(task, parallelism);
    let combine: fn(&u32, &Record, Option<&Record>) -> Out = |_, l, r| (l.1, r.map(|r| r.1));
    let operator = Interval {
        bounds: Bounds { lower: -10, upper: 10 },
        reached: Reached::at(Timestamp::MIN, Timestamp::MIN),
        floors: Floors::new(&info),
        left: Buffer::new(keys(), &info, 16, 0),
        right: Buffer::new(keys(), &info, 16, 0),
        scratch: Vec::new(),
        combine: LeftOuter(combine),
    };
    Rig::new(operator, info)
}

/// Sorted, with each result once: a repeated one fails the test.
fn once(mut out: Vec<(Out, Timestamp)>) -> Vec<u32> {
    out.sort();
    out.windows(2).for_each(|two| assert_ne!(two[0], two[1], "put out twice"));
    out.into_iter().map(|((left, _), _)| left).collect()
}

#[test]
fn a_snapshot_in_the_middle_of_a_watermark_repeats_and_loses_nothing() {
    let records = 20_000;
    let all = |n: u32| (n % 100, (n % 100, n, i64::from(n % 3)), i64::from(n % 3));
    let mut one = rig(0, 1);
    one.left((0..records).map(all).collect());
    let kept = one.cut(None);
    assert!(!one.watermark(50));
    assert!(!one.watermark(50));
    let kept = one.cut(Some(&kept));
    let before = one.shown();
    assert!(before.len() > WORK_PER_CALL && before.len() < records as usize);
    // Two tasks go on from there, at different paces, and are cut once more.
    let mut second = Vec::new();
    let mut halves = [rig(0, 2), rig(1, 2)];
    for half in &mut halves {
        half.restore(std::slice::from_ref(&kept));
        assert!(!half.watermark(50));
        second.extend(half.shown());
    }
    while !halves[1].watermark(50) {}
    second.extend(halves[1].shown());
    let kept = halves.each_mut().map(|half| half.cut(None));
    let mut whole = rig(0, 1);
    whole.restore(&kept);
    // The half that is done takes no record behind its watermark; the other one does.
    whole.left(vec![(0, (0, 90_000, 49), 49), (1, (1, 90_001, 49), 49), (2, (2, 90_002, 49), 49)]);
    let groups = halves[1].info.groups();
    let key_hash = |key: u32| millstream_protocol::key_hash::key_hash(&key).unwrap();
    let of_second = |key: &u32| groups.contains(whole.info.key_groups.of_hash(key_hash(*key)));
    let late = (0..3).filter(of_second).count();
    assert_eq!(whole.late(), late as u64);
    while !whole.watermark(100) {}
    let rest: Vec<_> = whole.shown().into_iter().filter(|((n, _), _)| *n < 90_000).collect();
    let all: Vec<_> = before.into_iter().chain(second).chain(rest).collect();
    assert_eq!(once(all), (0..records).collect::<Vec<_>>());
}

#[test]
fn what_has_met_before_a_snapshot_is_not_alone_after_it() {
    let mut one = rig(0, 1);
    one.left(vec![(1, (1, 1, 100), 100), (1, (1, 2, 100), 100), (1, (1, 3, 101), 101)]);
    let kept = one.cut(None);
    one.right(vec![(1, (1, 9, 90), 90)]);
    assert!(one.watermark(100));
    one.left(vec![(1, (1, 4, 100), 100)]);
    assert_eq!(one.shown().len(), 3);
    let kept = one.cut(Some(&kept));
    let mut two = rig(0, 1);
    two.restore(std::slice::from_ref(&kept));
    let again = two.cut(Some(&kept));
    let mut three = rig(0, 1);
    three.restore(&[again]);
    assert!(three.watermark(1000));
    assert_eq!(three.shown(), [((3, None), Timestamp(111))]);
    assert!(three.operator.left.slices.is_empty() && three.operator.right.slices.is_empty());
}
