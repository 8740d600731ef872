//! How far a source is behind: what it says of records that wait, held up and let go.

use std::sync::{Arc, Condvar, Mutex};

use millstream_dataflow::connector::collect::Collect;
use millstream_dataflow::snapshot::Restore;
use millstream_dataflow::{Job, Timestamp, Watermarks};

use crate::support::{Life, Topic};

/// What stands in the way of records until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let (is_open, opened) = &*self.0;
        let is_open = is_open.lock().unwrap();
        drop(opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Records that wait in each split, by their names; none where one does not know.
fn waiting(life: &Life) -> Option<Vec<(String, u64)>> {
    let mut splits = Some(Vec::new());
    for counters in life.counters("in") {
        counters.each_split(|split| {
            splits = splits.take().zip(split.waiting).map(|(mut splits, waiting)| {
                splits.push((split.id.to_string(), waiting));
                splits
            });
        });
    }
    let mut splits = splits.filter(|splits| !splits.is_empty())?;
    splits.sort();
    Some(splits)
}

fn sum(life: &Life) -> Option<u64> {
    Some(waiting(life)?.iter().map(|(_, waiting)| waiting).sum())
}

#[tokio::test]
async fn what_waits_is_known_while_a_source_is_held_up_and_falls_to_nothing() {
    let topic = Topic::new(3).await;
    topic.send(0, 0..20_000);
    topic.send(1, 0..300);
    let (gate, out) = (Gate::default(), Collect::default());
    let job = Job::new(Default::default());
    let held = gate.clone();
    job.source("in", topic.numbers())
        .event_time(|number| Timestamp(i64::from(*number)), Watermarks::ascending())
        .inspect(move |_| held.pass())
        .sink("out", out);
    let mut life = Life::start(&job, 1, Restore::default()).await;
    // A batch has gone out, no more: the thread beside is far ahead of that, and does not count.
    life.until_true(|life| sum(life).is_some_and(|sum| sum > 0)).await;
    let at_first = sum(&life).unwrap();
    assert!((20_300 - 1024..=20_300).contains(&at_first), "{at_first}");
    topic.send(2, 0..500);
    life.until_true(|life| sum(life) == Some(at_first + 500)).await;

    gate.open();
    life.until(20_800).await;
    life.until_true(|life| sum(life) == Some(0)).await;
    let splits = (0..3).map(|number| (format!("{}-{number}", topic.name), 0));
    assert_eq!(waiting(&life), Some(splits.collect()));
    life.counters("in").for_each(|counters| {
        counters.each_split(|split| {
            let newest = if split.id.ends_with("-0") { 19_999 } else { split.newest.0 };
            assert_eq!(split.newest, Timestamp(newest));
            assert!(split.watermark <= split.newest);
        });
    });
    topic.send(1, 300..310);
    life.until(20_810).await;
    life.until_true(|life| sum(life) == Some(0)).await;
}

#[tokio::test]
async fn what_is_behind_the_end_of_a_bounded_source_does_not_wait() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..3000);
    let gate = Gate::default();
    let job = Job::new(Default::default());
    let held = gate.clone();
    job.source("in", topic.numbers().until_offsets([(&*topic.name, 0, 2000)]))
        .inspect(move |_| held.pass())
        .sink("out", Collect::default());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    life.until_true(|life| sum(life).is_some_and(|sum| sum > 0)).await;
    let at_first = sum(&life).unwrap();
    assert!((2000 - 1024..=2000).contains(&at_first), "{at_first}");
    gate.open();
    life.end().await;
    assert_eq!(sum(&life), Some(0));
}
