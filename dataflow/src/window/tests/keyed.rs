//! Session, count and global windows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::operator::aggregate::{Sum, TopN};
use crate::testing::suite;

/// A session of the model: its records' times and values, and whether its result is out.
type Joined = (Vec<(i64, i64)>, bool);

/// Sessions from all records of each key, joined anew at every record.
fn sessions(elements: &[Element<Record>], gap: i64, lateness: i64) -> (Vec<Outcome>, Vec<Record>) {
    let mut open: BTreeMap<u8, Vec<Joined>> = BTreeMap::new();
    let (mut out, mut late, mut watermark) = (Vec::new(), Vec::new(), i64::MIN);
    let span = |records: &[(i64, i64)]| {
        let times = records.iter().map(|record| record.0);
        (times.clone().min().unwrap(), times.max().unwrap().saturating_add(gap))
    };
    let show = |key: u8, records: &[(i64, i64)]| {
        let (start, end) = span(records);
        (key, start, end, sorted(records.iter().map(|record| record.1).collect()))
    };
    let end = [Element::Watermark(Timestamp::MAX)];
    for element in elements.iter().chain(&end) {
        match element {
            Element::Record((key, value), Timestamp(time)) => {
                let all = open.entry(*key).or_default();
                let mut joined = vec![(*time, *value)];
                // Whatever overlaps is joined, until nothing more does.
                while let Some(at) = all.iter().position(|(records, _)| {
                    let ((a, b), (c, d)) = (span(records), span(&joined));
                    a < d && c < b
                }) {
                    joined.extend(all.remove(at).0);
                }
                let end = span(&joined).1;
                if joined.len() == 1 && watermark >= end + lateness {
                    late.push((*key, *value));
                    continue;
                }
                let fired = end <= watermark;
                if fired {
                    out.push(show(*key, &joined));
                }
                all.push((joined, fired));
            }
            Element::Watermark(Timestamp(time)) => {
                watermark = watermark.max(*time);
                for (key, all) in &mut open {
                    for (records, fired) in all.iter_mut() {
                        if !*fired && span(records).1 <= watermark {
                            *fired = true;
                            out.push(show(*key, records));
                        }
                    }
                    all.retain(|(records, _)| watermark < span(records).1.saturating_add(lateness));
                }
            }
            _ => {}
        }
    }
    (sorted(out), sorted(late))
}

/// The last `size` records of each key, at every so many.
fn counts(elements: &[Element<Record>], size: usize, every: usize) -> Vec<(u8, Vec<i64>)> {
    let mut all: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    let mut out = Vec::new();
    for element in elements {
        let Element::Record((key, value), _) = element else { continue };
        let values = all.entry(*key).or_default();
        values.push(*value);
        if values.len().is_multiple_of(every) {
            out.push((*key, values[values.len().saturating_sub(size)..].to_vec()));
        }
    }
    sorted(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sessions_agree_with_the_model(
        elements in script(), gap in 1i64..40, lateness in prop_oneof![Just(0i64), Just(20)],
        threads in threads()
    ) {
        let (expected, late) = sessions(&elements, gap, lateness);
        let windows = |keyed: &KeyedStream<u8, Record>| {
            keyed.window(Session::gap(ms(gap))).allowed_lateness(ms(lateness))
        };
        let out = play(&threads, &elements, |keyed| windows(keyed).apply("w", outcome));
        prop_assert_eq!(out, expected);
        let dropped = play(&threads, &elements, |keyed| {
            windows(keyed).aggregate_with_late("w", |r| r.1, Sum).1
        });
        prop_assert_eq!(dropped, late);
    }

    #[test]
    fn count_windows_agree_with_the_model(
        elements in script(), size in 1usize..9, every in 1usize..9, threads in threads()
    ) {
        let every = every.min(size);
        let out = play(&threads, &elements, |keyed| {
            let windows = keyed.window(CountWindow::of(size as u64).every(every as u64));
            let top = windows.aggregate("w", |r| r.1, TopN(1000));
            top.map(|w| (w.key, sorted(w.value)))
        });
        prop_assert_eq!(out, counts(&elements, size, every));
    }
}

/// Bursts of three records every 40 ms, with watermarks, from below zero on.
fn bursts() -> Vec<Element<u64>> {
    let mut elements = Vec::new();
    for n in 0..48u64 {
        let time = (n / 12 * 40 + n % 12 / 4 * 5) as i64 - 60;
        elements.push(Element::Record(n, Timestamp(time)));
        if n % 12 == 11 {
            elements.push(Element::Watermark(Timestamp(time - 5)));
        }
    }
    elements
}

#[test]
fn sessions_pass_the_suite() {
    let out = suite(&bursts(), |numbers, _| {
        let windows = numbers.key_by(|n| n % 4).window(Session::gap(ms(20)));
        windows.aggregate("sums", |n| *n, Sum)
    });
    assert_eq!(out.len(), 16, "four bursts of four keys");
    for (sum, time) in &out {
        assert_eq!((sum.end.0 - sum.start.0, time.0), (30, sum.end.0 - 1));
    }
}

#[test]
fn count_windows_pass_the_suite() {
    let out = suite(&bursts(), |numbers, _| {
        let windows = numbers.key_by(|n| n % 4).window(CountWindow::of(5));
        windows.aggregate("sums", |n| *n, Sum)
    });
    assert_eq!(out.len(), 8, "two of five in the twelve records of each key");
    let (first, time) = &out[0];
    assert_eq!((first.start.0, first.end.0, time.0), (-60, -14, -15));
    suite(&bursts(), |numbers, _| {
        let windows = numbers.key_by(|n| n % 4).window(CountWindow::of(6).every(4));
        windows.apply("all", |key, _, records| Some((*key, sorted(records.to_vec()))))
    });
}

/// Fires 25 ms behind the first record since the last time, and at once at three records.
#[derive(Clone)]
struct ThreeOrSoon;

impl Trigger<u64> for ThreeOrSoon {
    type State = u32;

    fn on_record(&self, _: &u64, ctx: &mut TriggerContext<'_, u32>) -> Fire {
        *ctx.state += 1;
        if *ctx.state == 3 {
            return Fire::FireAndPurge;
        }
        if ctx.timer().is_none() {
            ctx.set_timer(ctx.time + ms(25));
        }
        Fire::Continue
    }

    fn on_timer(&self, ctx: &mut TriggerContext<'_, u32>) -> Fire {
        if *ctx.state == 0 { Fire::Purge } else { Fire::FireAndPurge }
    }
}

#[test]
fn global_windows_fire_by_count_and_by_timer_and_pass_the_suite() {
    let mut elements = bursts();
    elements.push(Element::Record(48, Timestamp(100)));
    elements.push(Element::Record(52, Timestamp(110)));
    elements.push(Element::Watermark(Timestamp(125)));
    elements.push(Element::Record(56, Timestamp(112)));
    elements.push(Element::Watermark(Timestamp(126)));
    elements.push(Element::Record(60, Timestamp(113)));
    let out = suite(&elements, |numbers, _| {
        let windows = numbers.key_by(|n| n % 4).window(Global::with(ThreeOrSoon));
        windows.apply("all", |key, window, records| {
            Some((*key, window.start.0, window.end.0, sorted(records.to_vec())))
        })
    });
    let of_zero: Vec<_> = out.into_iter().map(|(out, _)| out).filter(|out| out.0 == 0).collect();
    let last = [(0, 100, 113, vec![48, 52, 56]), (0, 113, 114, vec![60])];
    assert_eq!(of_zero[of_zero.len() - 2..], last, "the timer at 125 waits for 126");
}

/// Fires by a timer and goes on gathering, until told to forget.
#[derive(Clone)]
struct Every10;

impl Trigger<u64> for Every10 {
    type State = ();

    fn on_record(&self, record: &u64, ctx: &mut TriggerContext<'_, ()>) -> Fire {
        if ctx.timer().is_none() {
            ctx.set_timer(Timestamp(ctx.time.0 - ctx.time.0.rem_euclid(10) + 9));
        }
        if *record == 99 { Fire::Purge } else { Fire::Continue }
    }
}

#[test]
fn a_trigger_may_fire_again_and_again_and_forget() {
    let record = |n, time| Element::Record(n, Timestamp(time));
    let elements = [
        record(1, 5),
        Element::Watermark(Timestamp(9)),
        record(2, 7),
        Element::Watermark(Timestamp(10)),
        record(4, 15),
        Element::Watermark(Timestamp(22)),
        record(99, 25),
        record(8, 31),
    ];
    let out = suite(&elements, |numbers, _| {
        let windows = numbers.key_by(|_| 0u8).window(Global::with(Every10));
        windows.aggregate("sums", |n| *n, Sum).map(|w| w.value)
    });
    let sums: Vec<u64> = out.into_iter().map(|(sum, _)| sum).collect();
    assert_eq!(sums, [3, 7, 8]);
}
