//! State that changes its type between versions of a program, for each kind of state: restored by a
//! migration, written anew, and restored again without one.
//!
//! The old type is a text and the new one a number: bytes of one read as the other are never right
//! by chance.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::cell::Cell;
use std::fmt::Debug;
use std::time::Duration;

use millstream_dataflow::operator::aggregate::Aggregate;
use millstream_dataflow::operator::process::{ProcessContext, States, Timer};
use millstream_dataflow::state::Ttl;
use millstream_dataflow::testing::{Element, Harness};
use millstream_dataflow::window::{
    CountWindow, Fire, Global, Hop, Session, Trigger, TriggerContext, Tumbling,
};
use millstream_dataflow::{Data, Error, KeyedStream, Kind, Stream, Timestamp};

/// Records and watermarks with four snapshots among them: five lives.
fn script() -> Vec<Element<u64>> {
    let mut elements = Vec::new();
    for n in 0..100u64 {
        elements.push(Element::Record(n, Timestamp(n as i64)));
        if n % 7 == 0 {
            elements.push(Element::Watermark(Timestamp(n as i64)));
        }
        if n % 20 == 19 && n < 99 {
            elements.push(Element::Snapshot);
        }
    }
    elements
}

/// Lives with the program `of` their number, from 0.
fn lives<U: Data + Ord>(
    threads: &[u32],
    of: impl Fn(usize, &Stream<u64>) -> Stream<U>,
) -> Result<Vec<(U, Timestamp)>, Error> {
    let life = Cell::new(0);
    let out = Harness::new()
        .threads(threads)
        .run(script(), |numbers, _| of(life.replace(life.get() + 1), numbers));
    out.map(|mut out| {
        out.sort();
        out
    })
}

/// Two lives of the old program, so that its snapshot is a chain; two of the new one with a
/// migration, so that its own is; one of the new one without. What comes out is what comes of the
/// new one alone.
fn check<U: Data + Ord + Debug>(
    old: impl Fn(&Stream<u64>) -> Stream<U>,
    migrating: impl Fn(&Stream<u64>) -> Stream<U>,
    new: impl Fn(&Stream<u64>) -> Stream<U>,
) {
    let expected = lives(&[1], |_, numbers| new(numbers)).unwrap();
    assert!(expected.len() > 10, "{expected:?}");
    for threads in [&[1][..], &[3], &[2, 3, 1]] {
        let out = lives(threads, |life, numbers| match life {
            0 | 1 => old(numbers),
            2 | 3 => migrating(numbers),
            _ => new(numbers),
        });
        assert_eq!(out.unwrap(), expected, "at {threads:?} threads");
    }
    let refused = lives(&[2], |life, numbers| if life < 2 { old(numbers) } else { new(numbers) });
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let message = error.to_string();
    for part in ["STR", "U64", "no .migrate"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// What the old program stored.
fn read(text: String) -> u64 {
    number(&text)
}

/// Some keys have records all the time. Others are not written to for a life or two: what a
/// snapshot of changes would leave as it was.
fn key(n: u64) -> u64 {
    if n.is_multiple_of(5) { 100 + n % 40 } else { n % 7 }
}

fn keyed(numbers: &Stream<u64>) -> KeyedStream<u64, u64> {
    numbers.key_by(|n| key(*n))
}

#[test]
fn a_fold_migrates() {
    let add = |sum: &mut u64, n: u64| *sum += n;
    check(
        |numbers| {
            let old = |sum: &mut String, n: u64| *sum = (number(sum) + n).to_string();
            keyed(numbers).fold("sum", String::new(), old).map(|(key, sum)| (key, read(sum)))
        },
        |numbers| keyed(numbers).migrate(read).fold("sum", 0, add),
        |numbers| keyed(numbers).fold("sum", 0, add),
    );
}

#[test]
fn a_scan_migrates_from_the_one_of_several_old_types_that_the_snapshot_holds() {
    let add = |sum: &mut u64, n: u64| {
        *sum += n;
        *sum
    };
    check(
        |numbers| {
            keyed(numbers).scan("sum", String::new(), |sum: &mut String, n| {
                *sum = (number(sum) + n).to_string();
                number(sum)
            })
        },
        |numbers| {
            let strange = keyed(numbers).migrate(|_: Vec<u8>| 1_000_000);
            strange.migrate(read).migrate(|_: Option<u64>| 2_000_000).scan("sum", 0, add)
        },
        |numbers| keyed(numbers).scan("sum", 0, add),
    );
}

#[test]
fn a_reduce_migrates() {
    let first = |pair: &(u64, u64)| pair.0;
    let pairs = |numbers: &Stream<u64>| numbers.map(|n| (key(n), n)).key_by(first);
    let add = |sum: &mut (u64, u64), n: (u64, u64)| sum.1 += n.1;
    check(
        |numbers| {
            let texts = numbers.map(|n| (key(n), n.to_string())).key_by(|pair| pair.0);
            let add = |sum: &mut (u64, String), n: (u64, String)| {
                sum.1 = (number(&sum.1) + number(&n.1)).to_string();
            };
            texts.reduce("sum", add).map(|(key, sum)| (key, read(sum)))
        },
        |numbers| {
            let migrating = pairs(numbers).migrate(|(key, sum): (u64, String)| (key, read(sum)));
            migrating.reduce("sum", add)
        },
        |numbers| pairs(numbers).reduce("sum", add),
    );
}

/// What a process function here puts out: three numbers of its three states.
type Three = (u64, u64, u64);

/// A process function with a state of each kind, and a time to live, and timers beside them. Items
/// are taken out as well as put in.
fn everything<V: Data>(
    numbers: &Stream<u64>,
    declare: fn(&mut States<u64>) -> Handles<V>,
    of: fn(u64) -> V,
    to: fn(&V) -> u64,
) -> Stream<Three> {
    keyed(numbers).process_fn_with_timers("everything", move |states| {
        let Handles { value, list, map } = declare(states);
        let on_record = move |n: u64, cx: &mut ProcessContext<'_, u64, Three>| {
            let sum = cx.get(&value).map_or(0, to) + n;
            cx.set(&value, of(sum));
            if cx.list(&list).len() == 3 {
                cx.list(&list).clear();
            }
            cx.list(&list).push(of(n));
            cx.map(&map).insert(n / 10, of(n));
            cx.map(&map).remove_range(..(n / 10).saturating_sub(1));
            let listed = cx.list(&list).iter().map(to).sum();
            let mapped = cx.map(&map).iter().map(|(tens, n)| tens * to(n)).sum();
            cx.set_timer(Timestamp(n as i64 / 10 * 10 + 9));
            cx.emit((sum, listed, mapped))
        };
        let on_timer = move |_: Timer, cx: &mut ProcessContext<'_, u64, Three>| {
            let sum = cx.get(&value).map_or(0, to);
            cx.emit((sum, 0, 0))
        };
        (on_record, on_timer)
    })
}

struct Handles<V> {
    value: millstream_dataflow::operator::process::Value<V>,
    list: millstream_dataflow::operator::process::List<V>,
    map: millstream_dataflow::operator::process::Map<u64, V>,
}

fn declare<V: Data>(states: &mut States<u64>) -> Handles<V> {
    let ttl = Ttl::after_write(Duration::from_hours(1));
    Handles {
        value: states.value("value"),
        list: states.ttl(ttl).list("list"),
        map: states.map("map"),
    }
}

fn declare_migrating(states: &mut States<u64>) -> Handles<u64> {
    let Handles { value, list, map } = declare::<u64>(states);
    Handles {
        value: value.migrate(states, |_: bool| 0).migrate(states, read),
        list: list.migrate(states, read),
        map: map.migrate(states, read),
    }
}

#[test]
fn values_lists_and_maps_of_a_process_function_migrate() {
    check(
        |numbers| {
            let (of, to) = (|n: u64| n.to_string(), |text: &String| number(text));
            everything::<String>(numbers, declare, of, to)
        },
        |numbers| everything(numbers, declare_migrating, |n| n, |n| *n),
        |numbers| everything(numbers, declare, |n| n, |n| *n),
    );
}

/// A sum, kept as a text.
#[derive(Clone)]
struct TextSum;

impl Aggregate<u64> for TextSum {
    type Acc = String;
    type Out = u64;

    fn zero(&self) -> String {
        String::new()
    }

    fn add(&self, acc: &mut String, n: u64) {
        *acc = (number(acc) + n).to_string();
    }

    fn merge(&self, acc: &mut String, other: &String) {
        self.add(acc, number(other));
    }

    fn result(&self, acc: &String) -> u64 {
        number(acc)
    }
}

/// A sum, kept as a number.
#[derive(Clone)]
struct NumberSum;

impl Aggregate<u64> for NumberSum {
    type Acc = u64;
    type Out = u64;

    fn zero(&self) -> u64 {
        0
    }

    fn add(&self, acc: &mut u64, n: u64) {
        *acc += n;
    }

    fn merge(&self, acc: &mut u64, other: &u64) {
        *acc += other;
    }

    fn result(&self, acc: &u64) -> u64 {
        *acc
    }
}

/// Fires at every third record of a key.
#[derive(Clone)]
struct EveryThird;

impl Trigger<u64> for EveryThird {
    type State = u8;

    fn on_record(&self, _: &u64, cx: &mut TriggerContext<'_, u8>) -> Fire {
        *cx.state += 1;
        if cx.state.is_multiple_of(3) { Fire::Fire } else { Fire::Continue }
    }
}

/// Records with pauses between them; the snapshot that is migrated lies within a burst.
fn bursts(numbers: &Stream<u64>) -> KeyedStream<u64, u64> {
    keyed(&numbers.filter(|n| n % 30 < 20))
}

macro_rules! windows {
    ($($test:ident: $kind:expr;)+) => {$(
        #[test]
        fn $test() {
            check(
                |numbers| bursts(numbers).window($kind).aggregate("sum", |n| *n, TextSum),
                |numbers| {
                    let windows = bursts(numbers).window($kind).migrate(read);
                    windows.aggregate("sum", |n| *n, NumberSum)
                },
                |numbers| bursts(numbers).window($kind).aggregate("sum", |n| *n, NumberSum),
            );
        }
    )+};
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

windows! {
    tumbling_windows_migrate: Tumbling::of(ms(30));
    hops_migrate: Hop::of(ms(40), ms(10));
    sessions_migrate: Session::gap(ms(28));
    count_windows_migrate: CountWindow::of(4).every(2);
    global_windows_migrate: Global::with(EveryThird);
}

#[test]
fn a_migration_that_could_never_be_called_is_a_mistake_in_the_program() {
    let refused = |build: fn(&Stream<u64>) -> Stream<u64>| {
        lives(&[1], |_, numbers| build(numbers)).unwrap_err().to_string()
    };
    let own = refused(|numbers| {
        let migrating = keyed(numbers).migrate(|seconds: u64| seconds * 1000);
        migrating.scan("millis", 0u64, |_, n| n)
    });
    for part in ["operator millis", "how it is stored now", "migrate.rs"] {
        assert!(own.contains(part), "{part} in {own}");
    }
    let twice = refused(|numbers| {
        keyed(numbers).process_fn("last", |states| {
            let last = states.value::<u64>("last");
            let last = last.migrate(states, read).migrate(states, |_: String| 7);
            move |n, cx| {
                cx.set(&last, n);
                cx.emit(n)
            }
        })
    });
    assert!(twice.contains("state last has two .migrate from"), "{twice}");
}
