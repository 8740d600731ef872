//! Killed at every point between a barrier and the last mark that it leaves, one life after the
//! other, with more and with fewer tasks than in the life before.
//!
//! The requests themselves are held: the store's at a proxy, the broker's at a gate. So no point
//! depends on when the kill comes, and the product knows nothing of them.

use millstream_testkit::{Call, Fault, Passage, Request};

use crate::place::{PATIENCE, Parts, Place, RESUMED, RUNNING, hold_at, is_put, parts};

/// Which request is stopped, and how.
enum At {
    Store(fn(&Request) -> bool, Fault),
    Broker(Call, Passage),
}

/// What becomes of the calls that were held, once their sender is dead.
enum Then {
    Lost,
    Arrive,
}

/// A point: its name; which request; what becomes of it; and whether it is met before the tasks
/// run.
struct Point(&'static str, At, Then, bool);

fn part(request: &Request) -> bool {
    is_put(request, "/parts/")
}

fn append(request: &Request) -> bool {
    is_put(request, "/log/")
}

fn mark(request: &Request) -> bool {
    is_put(request, "/committed/")
}

fn delete(request: &Request) -> bool {
    request.method == "DELETE" && !request.target.contains("uploads")
}

/// How many tasks each life has, in turn.
const THREADS: [u32; 5] = [3, 1, 2, 4, 1];

/// So many of its kind pass in each life before one is stopped: a life commits once or twice.
const PASS: usize = 2;

const POINTS: [Point; 17] = {
    use At::{Broker, Store};
    use Passage::{Hold, Swallow};
    use Then::{Arrive, Lost};
    [
        Point("a part is uploaded", Store(part, Fault::Hang), Lost, false),
        Point("a part was uploaded", Store(part, Fault::Swallow), Lost, false),
        Point("the manifest is published", Store(append, Fault::Hang), Lost, false),
        Point("the manifest was published", Store(append, Fault::Swallow), Lost, false),
        Point("the outbox is sent", Broker(Call::Produce, Hold), Lost, false),
        Point("the outbox was sent", Broker(Call::Produce, Swallow), Lost, false),
        Point("the token is written", Broker(Call::WriteOffsets, Hold), Lost, false),
        Point("the token was written", Broker(Call::WriteOffsets, Swallow), Lost, false),
        Point("the transaction ends", Broker(Call::End, Hold), Lost, false),
        Point("an id is taken over", Broker(Call::TakeOver, Hold), Arrive, true),
        Point("the token is looked at", Broker(Call::ReadOffsets, Hold), Lost, true),
        Point("what is left is sent", Broker(Call::Produce, Hold), Arrive, true),
        Point("the transaction ends, later", Broker(Call::End, Hold), Arrive, false),
        Point("the transaction has ended", Broker(Call::End, Swallow), Lost, false),
        Point("the mark is written", Store(mark, Fault::Hang), Lost, false),
        Point("the mark was written", Store(mark, Fault::Swallow), Lost, false),
        Point("what is old is deleted", Store(delete, Fault::Hang), Lost, false),
    ]
};

pub(crate) fn killed_at_every_point_of_a_snapshot() {
    let parts = parts();
    let place = Place::new(&parts, "points");
    let feed = place.feed();
    // Something to go on from.
    let mut life = place.run(2, &[]);
    place.commits(&mut life, 3);
    life.kill();
    let mut seen = place.check_part("at first");
    for (point, threads) in POINTS.iter().zip(THREADS.into_iter().cycle()) {
        kill_at(&parts, &place, point, threads);
        let now = place.check_part(point.0);
        println!("killed while {}, {threads} threads: {} lines seen", point.0, now[0].len());
        // What was visible stays visible.
        for (before, now) in seen.iter().zip(&now) {
            let gone = before.iter().find(|line| now.binary_search(line).is_err());
            assert_eq!(gone, None, "{}: a line is gone again", point.0);
        }
        seen = now;
    }
    let mut life = place.run(2, &[]);
    assert!(life.said().contains(RESUMED), "{}", life.said());
    place.commits(&mut life, 1);
    feed.finish();
    let end = life.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    place.check_all(&parts, "in the end");
}

/// One life, which ends at this point.
fn kill_at(parts: &Parts, place: &Place, Point(name, at, then, early): &Point, threads: u32) {
    let mut life = place.start(threads, &[]);
    let nth = if *early { 1 } else { PASS };
    if !early {
        assert!(life.wait_for(RUNNING), "{name}: it ended:\n{}", life.said());
    }
    let reached = match *at {
        At::Store(is_it, fault) => place.stop_at(nth, fault, is_it),
        At::Broker(call, passage) => hold_at(&parts.kafka, nth, call, passage),
    };
    let reached = reached.recv_timeout(PATIENCE);
    let end = life.kill();
    assert_eq!((reached, end.code), (Ok(()), None), "{name}: it was not reached:\n{}", end.said);
    place.proxy.pass();
    match then {
        Then::Lost => parts.kafka.gate().cut(),
        Then::Arrive => parts.kafka.gate().let_go(),
    }
}
