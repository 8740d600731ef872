//! Tests of process functions: the suite for each form, and timers and expiry by a clock that the
//! test moves.

use std::time::Duration;

use super::*;
use crate::error::Kind;
use crate::testing::{Element, Harness, suite};
use crate::time::Timestamp;

fn numbers(range: std::ops::Range<u64>) -> Vec<Element<u64>> {
    range.map(|n| Element::Record(n, Timestamp(n as i64))).collect()
}

/// Uses a state of each kind, and the side output.
#[derive(Clone)]
struct Everything;

#[derive(Clone)]
struct Handles {
    count: Value<u64>,
    recent: List<u64>,
    by_tens: Map<u64, u64>,
}

impl Process<u64, u64> for Everything {
    type Out = (u64, u64, Vec<u64>, Vec<(u64, u64)>);
    type Side = String;
    type State = Handles;

    fn declare(&self, states: &mut States<u64>) -> Handles {
        Handles {
            count: states.value("count"),
            recent: states.list("recent"),
            by_tens: states.map("by-tens"),
        }
    }

    fn on_record(
        &self,
        state: &Handles,
        n: u64,
        cx: &mut ProcessContext<'_, u64, Self::Out, String>,
    ) -> Result<()> {
        *cx.get_or_insert_with(&state.count, || 0) += 1;
        let count = cx.get(&state.count).copied().unwrap_or_default();
        if cx.list(&state.recent).len() >= 3 {
            cx.list(&state.recent).clear();
            cx.emit_side(format!("key {} begins anew at {n}", cx.key()))?;
        }
        cx.list(&state.recent).push(n);
        let mut tens = cx.map(&state.by_tens);
        let before = tens.get(&(n / 10)).copied().unwrap_or(0);
        tens.insert(n / 10, before + 1);
        tens.remove_range(..(n / 10).saturating_sub(2));
        let (recent, tens) = (cx.list(&state.recent).to_vec(), cx.map(&state.by_tens).to_vec());
        cx.emit((n, count, recent, tens))
    }
}

#[test]
fn a_process_with_every_kind_of_state_passes_the_suite() {
    let out = suite(&numbers(0..60), |numbers, _| {
        numbers.key_by(|n| n % 4).process("everything", Everything)
    });
    let ((n, count, recent, tens), time) = &out[58];
    assert_eq!((*n, *count, time.0), (58, 15, 58));
    assert_eq!(recent, &[50, 54, 58]);
    assert_eq!(tens, &[(3, 3), (4, 2), (5, 3)]);
    let side = suite(&numbers(0..60), |numbers, _| {
        numbers.key_by(|n| n % 4).process_with_side("everything", Everything).1
    });
    assert_eq!(side.len(), 16);
    assert!(side.contains(&("key 1 begins anew at 13".into(), Timestamp(13))));
}

/// Puts out how many records a key has had in each ten milliseconds, when event time has passed
/// them; aside, that time has come for the key.
fn counts_by_tens(numbers: &Stream<u64>) -> (Stream<(u64, i64, usize)>, Stream<u64>) {
    numbers.key_by(|n| n % 3).process_fn_with_timers_and_side("tens", |st| {
        let times = st.map::<Timestamp, ()>("times");
        let on_record = st.on_record(move |_, cx| {
            let time = cx.time();
            cx.map(&times).insert(time, ());
            cx.set_timer(Timestamp(time.0 / 10 * 10 + 9));
            cx.set_timer(Timestamp(1_000_000));
            cx.delete_timer(Timestamp(1_000_000));
            Ok(())
        });
        let on_timer = st.on_timer(move |timer, cx| {
            let count = cx.map(&times).range(..=timer.time).count();
            cx.map(&times).remove_range(..=timer.time);
            assert_eq!((cx.time(), timer.kind), (timer.time, TimerKind::EventTime));
            cx.emit_side(*cx.key())?;
            cx.emit((*cx.key(), timer.time.0, count))
        });
        (on_record, on_timer)
    })
}

#[test]
fn closures_put_records_out_aside_with_and_without_a_key() {
    let odd = suite(&numbers(0..40), |numbers, _| {
        let sorted = numbers.key_by(|n| n % 4).process_fn_with_side("sort", |st| {
            let count = st.value::<u64>("count");
            move |n, cx| {
                *cx.get_or_insert_with(&count, || 0) += 1;
                let nth = cx.get(&count).copied().unwrap_or_default();
                if n % 2 == 0 { cx.emit(n) } else { cx.emit_side((n, nth)) }
            }
        });
        sorted.1
    });
    let expected = (0..40u64).filter(|n| n % 2 == 1);
    let expected: Vec<_> = expected.map(|n| ((n, n / 4 + 1), Timestamp(n as i64))).collect();
    assert_eq!(odd, expected);
    let sides = suite(&numbers(0..40), |numbers, _| {
        let rest = |_: &mut Vec<u64>, cx: &mut TaskContext<'_, u64, String>| {
            cx.emit_side("over".to_owned())
        };
        let sort = |_: &mut Vec<u64>, n: u64, cx: &mut TaskContext<'_, u64, String>| {
            if n.is_multiple_of(2) { cx.emit(n) } else { cx.emit_side(n.to_string()) }
        };
        numbers.global().process_fn_with_side("sort", sort, rest).1
    });
    assert_eq!(sides.iter().filter(|(text, _)| text != "over").count(), 20);
}

#[test]
fn event_time_timers_fire_once_when_the_watermark_is_later() {
    let mut elements = Vec::new();
    for n in 0..60u64 {
        elements.push(Element::Record(n, Timestamp(n as i64)));
        if n % 4 == 0 {
            elements.push(Element::Watermark(Timestamp(n as i64)));
        }
    }
    let out = suite(&elements, |numbers, _| counts_by_tens(numbers).0);
    assert_eq!(out.len(), 18);
    assert!(out.contains(&((2, 19, 3), Timestamp(19))));
    assert!(out.contains(&((0, 59, 3), Timestamp(59))));
    assert_eq!(out.iter().map(|((_, _, count), _)| count).sum::<usize>(), 60);
    let side = suite(&elements, |numbers, _| counts_by_tens(numbers).1);
    assert_eq!(side.len(), 18);
}

#[test]
fn a_timer_waits_for_a_watermark_that_is_later_not_equal() {
    let record = |n| Element::Record(n, Timestamp(n as i64));
    let elements = vec![
        record(3),
        Element::Watermark(Timestamp(9)),
        record(6),
        Element::Watermark(Timestamp(10)),
        record(9),
    ];
    let out = Harness::new().run(elements, |numbers, _| counts_by_tens(numbers).0).unwrap();
    // Record 9 is late for its timer, which fires with the next watermark.
    let fired: Vec<_> = out.into_iter().map(|(fired, _)| fired).collect();
    assert_eq!(fired, [(0, 9, 2), (0, 9, 1)]);
}

#[test]
fn a_myriad_of_timers_fires_in_slices_and_all_before_the_watermark_passes() {
    let records = numbers(0..10_000);
    let out = Harness::new().threads(&[2]).run(records, |numbers, _| {
        let sparse = numbers.key_by(|n| *n).process_fn_with_timers("sparse", |_| {
            let on_record = |_, cx: &mut ProcessContext<'_, u64, _>| {
                cx.set_timer(Timestamp(5));
                Ok(())
            };
            (on_record, |_, cx: &mut ProcessContext<'_, u64, _>| cx.emit(*cx.key()))
        });
        // Behind it, a timer at the same time sees all of them.
        sparse.key_by(|_| 0u8).process_fn_with_timers("all", |st| {
            let count = st.value::<u64>("count");
            let on_record = move |_, cx: &mut ProcessContext<'_, u8, _>| {
                cx.set_timer(Timestamp(5));
                *cx.get_or_insert_with(&count, || 0u64) += 1;
                Ok(())
            };
            (on_record, move |_, cx: &mut ProcessContext<'_, u8, _>| {
                let count = cx.get(&count).copied().unwrap_or_default();
                cx.emit(count)
            })
        })
    });
    assert_eq!(out.unwrap(), [(10_000, Timestamp(5))]);
}

/// Plays a record at each of these processing times, in a life of its own.
fn at_times<U: Data>(
    times: &[i64],
    threads: &[u32],
    build: impl Fn(&Stream<i64>) -> Stream<U>,
) -> Vec<U> {
    let record = |&time| [Element::Record(time, Timestamp(0)), Element::Snapshot];
    let harness = Harness::new().threads(threads);
    let life = std::cell::Cell::new(0);
    let out = harness.run(times.iter().flat_map(record).collect(), |records, _| {
        let now = times.get(life.replace(life.get() + 1)).or(times.last());
        harness.clock().set(Timestamp(*now.unwrap()));
        build(records)
    });
    out.unwrap().into_iter().map(|(out, _)| out).collect()
}

/// Passes records on and, behind the record 1000, times at which processing-time timers fired,
/// negated.
fn timers_by_clock(
    times: &Stream<i64>,
    look: impl Fn(i64) + Clone + Send + 'static,
) -> Stream<i64> {
    times.key_by(|_| 7u8).process_fn_with_timers("timers", |_| {
        let on_record = move |time, cx: &mut ProcessContext<'_, u8, _>| {
            if time == 1000 {
                for at in [1065, 1005, 1055, 9999, 1005] {
                    cx.set_processing_timer(Timestamp(at));
                }
                cx.delete_processing_timer(Timestamp(1065));
            }
            look(time);
            cx.emit(time)
        };
        let on_timer = |timer: Timer, cx: &mut ProcessContext<'_, u8, _>| {
            assert_eq!(timer.kind, TimerKind::ProcessingTime);
            assert!(cx.now() >= timer.time);
            cx.emit(-timer.time.0)
        };
        (on_record, on_timer)
    })
}

const TIMES: [i64; 6] = [1000, 1004, 1005, 1050, 1060, 1070];

#[test]
fn overdue_processing_time_timers_fire_after_a_restore_before_any_record() {
    for threads in [&[1][..], &[2, 1, 3]] {
        let out = at_times(&TIMES, threads, |times| timers_by_clock(times, |_| ()));
        assert_eq!(out, [1000, 1004, -1005, 1005, 1050, -1055, 1060, 1070]);
    }
}

#[test]
fn processing_time_timers_fire_when_the_clock_reaches_them() {
    // Each record moves the clock; two snapshots behind it give every task a step at that time.
    let record = |time| [Element::Record(time, Timestamp(0)), Element::Snapshot, Element::Snapshot];
    for threads in [1, 3] {
        let harness = Harness::new().threads(&[threads]).without_restore();
        let clock = harness.clock();
        clock.set(Timestamp(TIMES[0]));
        let out = harness.run(TIMES.into_iter().flat_map(record).collect(), |times, _| {
            let clock = clock.clone();
            timers_by_clock(times, move |now| clock.set(Timestamp(now)))
        });
        let out: Vec<_> = out.unwrap().into_iter().map(|(out, _)| out).collect();
        assert_eq!(out, [1000, 1004, 1005, -1005, 1050, 1060, -1055, 1070]);
    }
}

#[test]
fn state_with_a_time_to_live_is_gone_after_it() {
    let out = at_times(&[1000, 3000, 4500, 9000, 9001], &[1, 3], |times| {
        times.key_by(|_| "k".to_owned()).process_fn("visits", |st| {
            let life = Duration::from_secs(4);
            let visits = st.ttl(Ttl::after_use(life)).value::<u64>("visits");
            let recent = st.ttl(Ttl::after_write(life)).list::<i64>("recent");
            let all = st.map::<i64, ()>("all");
            move |time, cx| {
                *cx.get_or_insert_with(&visits, || 0) += 1;
                let seen = cx.get(&visits).copied().unwrap_or_default();
                cx.list(&recent).push(time);
                cx.map(&all).insert(time, ());
                let (recent, all) = (cx.list(&recent).to_vec(), cx.map(&all).len());
                cx.emit((seen, recent, all))
            }
        })
    });
    let expected = [
        (1, vec![1000], 1),
        (2, vec![1000, 3000], 2),
        (3, vec![1000, 3000, 4500], 3),
        (1, vec![9000], 4),
        (2, vec![9000, 9001], 5),
    ];
    assert_eq!(out, expected);
}

#[test]
fn an_error_names_operator_and_key() {
    let run = Harness::new().run(numbers(0..9), |numbers, _| {
        numbers.key_by(|n| format!("k{n}")).process_fn("parse", |_| {
            |n: u64, cx| {
                if n < 5 { cx.emit(n) } else { Err("five".parse::<u64>().unwrap_err().into()) }
            }
        })
    });
    let error = run.expect_err("5 fails");
    assert_eq!(error.to_string(), "key \"k5\": invalid digit found in string");
    assert_eq!((error.operator(), error.kind()), (Some("parse"), Kind::User));
}

#[test]
fn a_state_name_is_used_once() {
    let run = Harness::new().run(numbers(0..1), |numbers, _| {
        numbers.key_by(|n| *n).process_fn("twice", |st| {
            let (_, _) = (st.value::<u64>("a"), st.list::<u64>("a"));
            let _ = st.value::<u64>("timers");
            |n, cx| cx.emit(n)
        })
    });
    let error = run.expect_err("a name is used twice");
    assert_eq!(error.kind(), Kind::Invalid);
    let message = error.to_string();
    assert!(message.contains("\"a\"") && message.contains("\"timers\""), "{message}");
}

#[test]
fn items_of_an_unkeyed_process_survive_any_rescale() {
    let out = suite(&numbers(0..40), |numbers, _| {
        numbers.rebalance().process_fn(
            "hold",
            |held: &mut Vec<u64>, n, cx| {
                held.push(n);
                if n % 10 == 0 { cx.emit(n + 1000) } else { Ok(()) }
            },
            |held, cx| held.drain(..).try_for_each(|n| cx.emit_at(n, Timestamp(n as i64))),
        )
    });
    let expected = (0..40).chain([1000, 1010, 1020, 1030]).map(|n| (n, Timestamp(n as i64 % 1000)));
    assert_eq!(out, expected.collect::<Vec<_>>());
}

/// Adds the sum of all rules to each record, and counts the key's records.
#[derive(Clone)]
struct AddRules;

impl BroadcastProcess<u64, u64, u64> for AddRules {
    type Out = (u64, u64, u64);
    type Side = ();
    type State = Value<u64>;
    type Broadcast = u64;

    fn declare(&self, states: &mut States<u64>) -> Value<u64> {
        states.value("count")
    }

    fn on_broadcast(&self, rules: &mut u64, rule: u64) -> Result<()> {
        *rules += rule;
        Ok(())
    }

    fn on_record(
        &self,
        count: &Value<u64>,
        rules: &u64,
        n: u64,
        cx: &mut ProcessContext<'_, u64, (u64, u64, u64)>,
    ) -> Result<()> {
        *cx.get_or_insert_with(count, || 0) += 1;
        let count = cx.get(count).copied().unwrap_or_default();
        cx.emit((n, n + rules, count))
    }
}

/// Rules 100 and 20 before the first barrier, 3 before the second; a third of the records behind
/// each.
fn with_rules() -> (Vec<Element<u64>>, Vec<Element<u64>>) {
    let mut left = vec![Element::Snapshot];
    left.extend(numbers(0..20));
    left.extend([Element::Snapshot, Element::Snapshot]);
    left.extend(numbers(20..40));
    let rule = |n| Element::Record(n, Timestamp(0));
    let snapshot = Element::Snapshot;
    let right = vec![rule(100), rule(20), snapshot.clone(), snapshot.clone(), rule(3), snapshot];
    (left, right)
}

#[test]
fn every_task_knows_what_was_broadcast_and_knows_it_again_after_a_restore() {
    let rules = |n: u64| if n < 20 { 120 } else { 123 };
    let threads = [&[1][..], &[3], &[1, 3, 2], &[3, 1, 2]];
    let threads = threads.map(|threads| Harness::new().threads(threads));
    let workers = [&[&[1, 1][..]][..], &[&[2, 1], &[1, 2]], &[&[2, 1], &[3], &[1, 1, 1]]];
    let workers = workers.map(|workers| Harness::new().workers(workers));
    for (index, all) in threads.into_iter().chain(workers).enumerate() {
        for harness in [all.clone(), all.clone().without_restore()] {
            let (left, right) = with_rules();
            let keyed = harness.run_two(left.clone(), right.clone(), |numbers, rules| {
                numbers.key_by(|n| n % 5).connect("add", rules, AddRules)
            });
            let mut keyed: Vec<_> = keyed.unwrap().into_iter().map(|(out, _)| out).collect();
            keyed.sort_unstable();
            let expected = (0..40).map(|n| (n, n + rules(n), n / 5 + 1));
            assert_eq!(keyed, expected.collect::<Vec<_>>(), "harness {index}");

            let unkeyed = all.clone().run_two(left, right, |numbers, rules| {
                numbers.rebalance().connect(
                    "add",
                    rules,
                    |sum: &mut u64, rule| {
                        *sum += rule;
                        Ok(())
                    },
                    |sum, n, cx| cx.emit((n, n + sum)),
                )
            });
            let mut unkeyed: Vec<_> = unkeyed.unwrap().into_iter().map(|(out, _)| out).collect();
            unkeyed.sort_unstable();
            let expected = (0..40).map(|n| (n, n + rules(n)));
            assert_eq!(unkeyed, expected.collect::<Vec<_>>(), "harness {index}");
        }
    }
}
