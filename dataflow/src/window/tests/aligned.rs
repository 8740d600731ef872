//! Tumbling windows and hops.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::operator::aggregate::{Count, Max, Mean, Sum, TopN};
use crate::testing::suite;

#[derive(Clone, Copy, Debug)]
struct Shape {
    size: i64,
    slide: i64,
    offset: i64,
    lateness: i64,
}

fn shape() -> impl Strategy<Value = Shape> {
    let slides = prop_oneof![Just((20, 20)), Just((30, 10)), Just((25, 10)), Just((40, 7))];
    (slides, 0i64..15, prop_oneof![Just(0i64), Just(15)])
        .prop_map(|((size, slide), offset, lateness)| Shape { size, slide, offset, lateness })
}

/// Every result and every late record, by keeping all records of all windows.
fn model(elements: &[Element<Record>], shape: Shape) -> (Vec<Outcome>, Vec<Record>) {
    let Shape { size, slide, offset, lateness } = shape;
    let mut windows: BTreeMap<(i64, u8), Vec<i64>> = BTreeMap::new();
    let (mut out, mut late, mut watermark) = (Vec::new(), Vec::new(), i64::MIN);
    let end = [Element::Watermark(Timestamp::MAX)];
    for element in elements.iter().chain(&end) {
        match element {
            Element::Record((key, value), Timestamp(time)) => {
                let mut taken = false;
                let last = time - (time - offset).rem_euclid(slide);
                let starts =
                    (0..).map(|n| last - n * slide).take_while(|start| start + size > *time);
                for start in starts.filter(|start| watermark < start + size + lateness) {
                    taken = true;
                    let values = windows.entry((start, *key)).or_default();
                    values.push(*value);
                    if start + size <= watermark {
                        out.push((*key, start, start + size, sorted(values.clone())));
                    }
                }
                if !taken {
                    late.push((*key, *value));
                }
            }
            Element::Watermark(Timestamp(time)) => {
                for ((start, key), values) in &windows {
                    if (watermark + 1..=*time).contains(&(start + size)) {
                        out.push((*key, *start, start + size, sorted(values.clone())));
                    }
                }
                watermark = watermark.max(*time);
            }
            _ => {}
        }
    }
    (sorted(out), sorted(late))
}

fn hop(keyed: &KeyedStream<u8, Record>, shape: Shape) -> WindowedStream<u8, Record, Hop> {
    let hop = Hop::of(ms(shape.size), ms(shape.slide)).offset(ms(shape.offset));
    keyed.window(hop).allowed_lateness(ms(shape.lateness))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn subtraction_stacks_and_merging_anew_all_agree_with_the_model(
        elements in script(), shape in shape(), threads in threads()
    ) {
        let (expected, late) = model(&elements, shape);

        let anew = play(&threads, &elements, |keyed| hop(keyed, shape).apply("w", outcome));
        prop_assert_eq!(&anew, &expected, "merged anew");

        let stacks = play(&threads, &elements, |keyed| {
            let all = hop(keyed, shape).aggregate("w", |r| r.1, TopN(1000));
            all.map(|w| (w.key, w.start.0, w.end.0, sorted(w.value)))
        });
        prop_assert_eq!(&stacks, &expected, "two stacks");

        let subtracted = play(&threads, &elements, |keyed| {
            let sums = hop(keyed, shape).aggregate("w", |r| r.1, (Sum, Count));
            sums.map(|w| (w.key, w.start.0, w.end.0, w.value))
        });
        let sums = expected.iter().map(|(key, start, end, values)| {
            (*key, *start, *end, (values.iter().sum::<i64>(), values.len() as u64))
        });
        prop_assert_eq!(subtracted, sorted(sums.collect()), "subtracted");

        let dropped = play(&threads, &elements, |keyed| {
            hop(keyed, shape).aggregate_with_late("w", |r| r.1, Sum).1
        });
        prop_assert_eq!(dropped, late, "late records");
    }
}

fn steady() -> Vec<Element<u64>> {
    let mut elements = Vec::new();
    for n in 0..60u64 {
        elements.push(Element::Record(n, Timestamp(n as i64 * 7 - 100)));
        if n % 6 == 5 {
            elements.push(Element::Watermark(Timestamp(n as i64 * 7 - 110)));
        }
    }
    elements
}

#[test]
fn tumbling_windows_pass_the_suite() {
    let out = suite(&steady(), |numbers, _| {
        let windows = numbers.key_by(|n| n % 5).window(Tumbling::of(ms(50)).offset(ms(10)));
        windows.aggregate("sums", |n| *n, Sum)
    });
    let total: u64 = out.iter().map(|(sum, _)| sum.value).sum();
    assert_eq!(total, (0..60).sum::<u64>());
    for (sum, time) in &out {
        assert_eq!(sum.start.0.rem_euclid(50), 10, "aligned to the offset, below zero too");
        assert_eq!((sum.end.0 - sum.start.0, time.0), (50, sum.end.0 - 1));
    }
}

#[test]
fn hops_pass_the_suite() {
    let hop = Hop::of(ms(60), ms(20));
    let out = suite(&steady(), |numbers, _| {
        numbers.key_by(|n| n % 5).window(hop).aggregate("sums", |n| *n, Sum)
    });
    let total: u64 = out.iter().map(|(sum, _)| sum.value).sum();
    assert_eq!(total, 3 * (0..60).sum::<u64>(), "each record is in three windows");
    let out = suite(&steady(), |numbers, _| {
        let windows = numbers.key_by(|n| n % 5).window(hop).allowed_lateness(ms(30));
        let both = windows.aggregate("max", |n| *n, (Max, Mean));
        both.map(|w| (w.key, w.start, w.value.0))
    });
    assert!(!out.is_empty());
    suite(&steady(), |numbers, _| {
        let windows = numbers.key_by(|n| n % 5).window(hop);
        windows.apply("all", |key, window, records| Some((*key, window, sorted(records.to_vec()))))
    });
}

#[test]
fn a_late_record_puts_the_corrected_result_out_while_it_is_allowed() {
    let record = |n, time| Element::Record((1u8, n), Timestamp(time));
    let watermark = |time| Element::Watermark(Timestamp(time));
    let script =
        [record(1, 5), watermark(12), record(10, 6), watermark(14), record(100, 7), watermark(15)];
    let mut script = script.to_vec();
    script.push(record(1000, 8));
    let out = play(&[1], &script, |keyed| {
        let windows = keyed.window(Tumbling::of(ms(10))).allowed_lateness(ms(5));
        windows.aggregate("w", |r| r.1, Sum).map(|w| w.value)
    });
    assert_eq!(out, [1, 11, 111]);
}

#[test]
fn many_keys_and_windows_fire_in_slices_of_work() {
    // 5 windows of 20,000 keys fire at one watermark, with a snapshot before and one behind it.
    let mut elements = Vec::new();
    for key in 0..20_000u64 {
        elements.push(Element::Record(key, Timestamp((key % 50) as i64)));
        if key == 15_000 {
            elements.push(Element::Snapshot);
        }
    }
    elements.push(Element::Snapshot);
    elements.push(Element::Watermark(Timestamp(1000)));
    elements.push(Element::Snapshot);
    for threads in [1, 2] {
        let harness = Harness::new().threads(&[threads]);
        let out = harness.run(elements.clone(), |keys, _| {
            keys.key_by(|key| *key).window(Tumbling::of(ms(10))).aggregate("n", |_| (), Count)
        });
        assert_eq!(out.unwrap().len(), 20_000);
        let out = harness.without_restore().run(elements.clone(), |keys, _| {
            let windows = keys.key_by(|key| *key).window(Hop::of(ms(50), ms(10)));
            windows.aggregate("n", |_| (), (Count, Max)).map(|w| w.value.0)
        });
        assert_eq!(out.unwrap().len(), 100_000);
    }
}
