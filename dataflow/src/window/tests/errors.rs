//! What a program may not build, and what a restore refuses.

use super::*;
use crate::connector::collection::Collection;
use crate::operator::aggregate::{Count, Sum};
use crate::plan::resolve;
use crate::{Job, JobSettings, Watermarks};

fn refused(job: &Job) -> String {
    let groups = job.settings.key_groups;
    let resolved = resolve(&job.graph.borrow(), 1, groups);
    resolved.map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn an_event_time_window_without_event_times_is_refused_where_it_was_written() {
    let job = Job::new(JobSettings::default());
    let numbers = job.source("numbers", Collection::of(vec![1u64, 2]));
    let keyed = numbers.map(|n| n + 1).key_by(|n| *n);
    keyed.window(Tumbling::of(ms(10))).aggregate("sums", |n| *n, Sum);
    keyed.window(CountWindow::of(2)).aggregate("pairs", |n| *n, Sum);
    let message = refused(&job);
    assert!(message.contains("operator sums: an event-time window needs event times"), "{message}");
    assert!(message.contains("tests/errors.rs"), "{message}");
    assert!(!message.contains("pairs"), "{message}");
}

#[test]
fn shapes_that_make_no_sense_are_refused() {
    let job = Job::new(JobSettings::default());
    let numbers = job.source("numbers", Collection::of(vec![1u64, 2]));
    let timed = numbers.event_time(|n| Timestamp(*n as i64), Watermarks::ascending());
    let keyed = timed.key_by(|n| *n);
    keyed.window(Hop::of(ms(10), ms(20))).aggregate("a", |_| (), Count);
    keyed.window(Tumbling::of(ms(0))).aggregate("b", |_| (), Count);
    keyed.window(Session::gap(ms(0))).aggregate("c", |_| (), Count);
    keyed.window(CountWindow::of(2).every(3)).aggregate("d", |_| (), Count);
    keyed.window(Tumbling::of(ms(1))).aggregate("fine", |_| (), Count);
    let message = refused(&job);
    for part in
        ["a: the window's slide", "b: the window's size", "c: the window's gap", "d: a count"]
    {
        assert!(message.contains(&format!("operator {part}")), "{part} in {message}");
    }
    assert!(!message.contains("fine"), "{message}");
}

#[test]
fn a_window_of_another_shape_is_not_restored() {
    let lives = std::cell::Cell::new(10);
    let elements = vec![Element::Record((1u8, 1i64), Timestamp(5)), Element::Snapshot];
    let error = Harness::new().run(elements, |records, _| {
        lives.set(lives.get() + 10);
        let windows = records.key_by(|r| r.0).window(Tumbling::of(ms(lives.get())));
        windows.aggregate("sums", |r| r.1, Sum)
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("size 20 ms") && message.contains("size 30 ms"), "{message}");
}
