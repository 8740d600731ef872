//! Tests of the window join: against nested loops, and cut in the middle of a firing window.

use std::time::Duration;

use proptest::prelude::*;

use super::super::rig::{Rig, info, keys};
use super::super::script::{Record, cut_at, side};
use super::*;
use crate::connector::collection::Collection;
use crate::join::JoinWindow;
use crate::stream::{Job, JobSettings};
use crate::testing::{Element, Harness, suite_two};
use crate::time::Watermarks;
use crate::window::{Hop, Tumbling};

type Out = (u32, Option<u32>);

fn join(left: &Stream<Record>, right: &Stream<Record>, grid: Grid, outer: bool) -> Stream<Out> {
    let left = left.key_by(|record: &Record| record.0);
    let joined = left.join(&right.key_by(|record| record.0)).window(JoinWindow {
        size: grid.size,
        slide: grid.slide,
        offset: grid.offset,
    });
    if outer {
        joined.left_outer("join", |_, l, r| (l.1, r.map(|r| r.1)))
    } else {
        joined.inner("join", |_, l, r| (l.1, Some(r.1)))
    }
}

/// The join by nested loops: every window, every pair.
fn expected(left: &[Record], right: &[Record], grid: Grid, outer: bool) -> Vec<(Out, Timestamp)> {
    let mut out = Vec::new();
    for n in -3000 / grid.slide..3000 / grid.slide {
        let start = grid.offset + n * grid.slide;
        let window = start..start + grid.size;
        let time = Timestamp(window.end - 1);
        for l in left.iter().filter(|l| window.contains(&l.2)) {
            let its = right.iter().filter(|r| r.0 == l.0 && window.contains(&r.2));
            let before = out.len();
            out.extend(its.map(|r| ((l.1, Some(r.1)), time)));
            if outer && out.len() == before {
                out.push(((l.1, None), time));
            }
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
        (size, slide, offset) in (1i64..120, 1i64..60, 0i64..50),
        outer: bool,
        cuts in prop::collection::vec((0usize..100, 0usize..100), 0..6),
        threads in prop::collection::vec(1u32..4, 1..4),
    ) {
        let grid = Grid::new(size, slide.min(size), offset);
        let (left_cuts, right_cuts): (Vec<_>, Vec<_>) = cuts.into_iter().unzip();
        let mut out = Harness::new().threads(&threads).run_two(
            cut_at(left.0, &left_cuts),
            cut_at(right.0, &right_cuts),
            |left, right| join(left, right, grid, outer),
        ).unwrap();
        out.sort();
        prop_assert_eq!(out, expected(&left.1, &right.1, grid, outer));
    }
}

fn script(step: i64, keys: u32) -> (Vec<Element<Record>>, Vec<Record>) {
    let record = |n: i64| (n as u32 % keys, n as u32, n * step + n % 4 * 7 - 100);
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
    for (grid, outer) in [(Grid::new(50, 50, 7), true), (Grid::new(60, 20, 0), false)] {
        let out = suite_two(&left.0, &right.0, |left, right| join(left, right, grid, outer));
        assert_eq!(out, expected(&left.1, &right.1, grid, outer));
        assert!(out.iter().any(|((_, right), _)| right.is_some()));
        assert_eq!(outer, out.iter().any(|((_, right), _)| right.is_none()));
    }
}

#[test]
fn a_record_is_late_when_the_last_of_its_windows_has_ended() {
    let record = |n: u32, time: i64| Element::Record((1, n, time), Timestamp(time));
    let mark = |time| Element::Watermark(Timestamp(time));
    let left = vec![mark(100), Element::Snapshot, record(1, 89), record(2, 90), mark(200)];
    let right = vec![record(3, 95), mark(100), Element::Snapshot, record(4, 105)];
    let mut out = Harness::new()
        .run_two(left, right, |left, right| join(left, right, Grid::new(20, 10, 0), false))
        .unwrap();
    out.sort();
    // The window [80, 100) is over; [90, 110) holds what is left.
    assert_eq!(out, [((2, Some(3)), Timestamp(109)), ((2, Some(4)), Timestamp(109))]);
}

#[test]
fn windows_are_what_the_program_says() {
    let records = |times: &[i64]| -> Vec<_> {
        let record =
            |(n, time): (usize, &i64)| Element::Record((1, n as u32, *time), Timestamp(*time));
        times.iter().enumerate().map(record).collect()
    };
    let out = Harness::new()
        .run_two(records(&[1_999]), records(&[500, 1_500, 2_400, 2_600]), |left, right| {
            let ms = Duration::from_millis;
            let left = left.key_by(|record: &Record| record.0);
            left.join(&right.key_by(|record| record.0))
                .window(Tumbling::of(ms(1000)).offset(ms(500)))
                .inner("join", |_, l, r| (l.2, r.2))
        })
        .unwrap();
    let time = Timestamp(2_499);
    let mut out = out;
    out.sort();
    assert_eq!(out, [((1_999, 1_500), time), ((1_999, 2_400), time)]);
}

#[test]
fn a_join_without_event_times_or_with_gaps_is_an_error_that_names_the_place() {
    let job = Job::new(JobSettings::default());
    let untimed = job.source("untimed", Collection::of(vec![1u32]));
    let timed = job.source("timed", Collection::of(vec![1u32]));
    let timed = timed.event_time(|_| Timestamp(0), Watermarks::ascending());
    let second = Duration::from_secs(1);
    let joined = timed.key_by(|n| *n).join(&untimed.key_by(|n| *n));
    joined.window(Hop::of(second, 2 * second)).inner("window", |_, l, _| *l);
    joined.within(second).inner("interval", |_, l, _| *l);
    let error = crate::plan::resolve(&job.graph.borrow(), 1, job.settings.key_groups).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Invalid);
    let text = error.to_string();
    for part in ["operator window: ", "operator interval: ", "event_time", "slide of 2000 ms"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert_eq!(text.matches("window_tests.rs").count(), 3, "{text}");
}

type Made = WindowJoin<u32, Record, Record, LeftOuter<fn(&u32, &Record, Option<&Record>) -> Out>>;

fn rig(task: u32, parallelism: u32) -> Rig<Made> {
    let info = info(task, parallelism);
    let combine: fn(&u32, &Record, Option<&Record>) -> Out = |_, l, r| (l.1, r.map(|r| r.1));
    let operator = WindowJoin {
        grid: Grid::new(20, 10, 0),
        done: Timestamp::MIN,
        floors: Floors::new(&info),
        left: Buffer::new(keys(), &info, 10, 0),
        right: Buffer::new(keys(), &info, 10, 0),
        firing: None,
        spare: Firing::default(),
        fired: Fired::default(),
        combine: LeftOuter(combine),
    };
    Rig::new(operator, info)
}

#[test]
fn a_snapshot_in_the_middle_of_a_window_repeats_and_loses_nothing() {
    // Keys 0..20 on both sides in two slices; keys from 20 on are alone.
    let left: Vec<Record> = (0..3_000).map(|n| (n % 40, n, i64::from(n % 2) * 10)).collect();
    let right: Vec<Record> = (0..600).map(|n| (n % 20, n, i64::from(n % 3) * 5)).collect();
    let keyed = |records: &[Record]| records.iter().map(|it| (it.0, *it, it.2)).collect();
    let mut one = rig(0, 1);
    one.left(keyed(&left));
    let kept = one.cut(None);
    one.right(keyed(&right));
    let mut out = Vec::new();
    let mut kept = one.cut(Some(&kept));
    for _ in 0..3 {
        assert!(!one.watermark(1_000));
        kept = one.cut(Some(&kept));
    }
    out.extend(one.shown());
    for turn in 0..4 {
        let mut halves = [rig(0, 2), rig(1, 2)];
        for half in &mut halves {
            half.restore(std::slice::from_ref(&kept));
            half.watermark(1_000);
        }
        if turn == 2 {
            // One of them comes to the end of all windows, the other does not.
            while !halves[1].watermark(1_000) {}
        }
        let parts = halves.each_mut().map(|half| half.cut(None));
        for half in &mut halves {
            out.extend(half.shown());
        }
        one = rig(0, 1);
        one.restore(&parts);
        if turn < 3 {
            one.watermark(1_000);
        }
        out.extend(one.shown());
        kept = one.cut(None);
    }
    while !one.watermark(1_000) {}
    out.extend(one.shown());
    out.sort();
    assert_eq!(out, expected(&left, &right, Grid::new(20, 10, 0), true));
    assert!(one.operator.left.slices.is_empty() && one.operator.right.slices.is_empty());
}
