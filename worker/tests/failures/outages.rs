//! The bucket or the broker is out of order for a while: the job lives through it, snapshots go on
//! by themselves, and nothing is lost or doubled.

use std::time::Duration;

use millstream_testkit::{Fault, Passage};

use crate::place::{Parts, Place, RESTARTS, number, parts};

/// How many seconds an outage lasts, where `MILLSTREAM_OUTAGE_SECONDS` does not say.
const SECONDS: u64 = 20;

/// What a bucket may do to every request for a while: the name of a job each, and what it meets.
const FAULTS: [(&str, Fault); 4] = [
    ("unavailable", Fault::Answer(503)),
    ("slow", Fault::Slow(Duration::from_secs(3))),
    ("silent", Fault::Hang),
    ("swallowed", Fault::Swallow),
];

/// A broker is out of order for a quarter of that, three times.
const OF_BROKER: u32 = 4;

fn outage() -> Duration {
    Duration::from_secs(number("MILLSTREAM_OUTAGE_SECONDS").unwrap_or(SECONDS))
}

pub(crate) fn a_bucket_out_of_order_holds_up_snapshots_and_nothing_else() {
    let parts = &*parts();
    std::thread::scope(|scope| {
        for (name, fault) in FAULTS {
            scope.spawn(move || live_through(parts, name, fault));
        }
    });
}

fn live_through(parts: &Parts, name: &str, fault: Fault) {
    let place = Place::new(parts, name);
    let feed = place.feed();
    let mut life = place.run(2, &[]);
    place.commits(&mut life, 2);
    place.proxy.rule(move |_| fault);
    assert!(life.go_on(outage()), "{name}: it ended:\n{}", life.said());
    place.proxy.pass();
    place.check_part(name);
    place.commits(&mut life, 3);
    feed.finish();
    let end = life.end();
    assert_eq!((end.code, end.said.contains(RESTARTS)), (Some(0), false), "{name}: {end:?}");
    place.check_all(parts, name);
}

pub(crate) fn a_broker_that_stops_or_is_cut_off_is_waited_for() {
    let mut parts = parts();
    let place = Place::new(&parts, "broker");
    let feed = place.feed();
    let mut life = place.run(2, &[]);
    place.commits(&mut life, 2);
    for told in ["killed", "killed again"] {
        parts.kafka.kill();
        assert!(life.go_on(outage() / OF_BROKER), "{told}: it ended:\n{}", life.said());
        parts.kafka.restart();
        place.commits(&mut life, 2);
        place.check_part(told);
    }
    // Connections stand, and nothing comes through; then they break.
    parts.kafka.gate().rule(|_| Passage::Hold);
    assert!(life.go_on(outage() / OF_BROKER), "it ended:\n{}", life.said());
    parts.kafka.gate().cut();
    place.commits(&mut life, 2);
    feed.finish();
    let end = life.end();
    assert_eq!((end.code, end.said.contains(RESTARTS)), (Some(0), false), "{end:?}");
    place.check_all(&parts, "in the end");
}
