//! Nexmark queries 5, 7 and 8: the events as a source, and the programs.
//!
//! The same events as the peers', see `workload::nexmark`. Windows lie where the query says (theirs
//! may start at a key's first record), and the winner among equals is the one with the larger id,
//! so that each query has one right answer.

use std::cell::Cell;
use std::sync::Arc;

use ::nexmark::EventGenerator;
use ::nexmark::config::NexmarkConfig;
use ::nexmark::event::{Bid, Event};
use millstream_bench_stream::workload::nexmark::{EVENTS_PER_SECOND, SLIDE_MS, WINDOW_MS};
use millstream_bench_stream::{THREADS, Tally};
use millstream_dataflow::operator::aggregate::{Count, Max};
use millstream_dataflow::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_dataflow::window::{Hop, Tumbling, Windowed};
use millstream_dataflow::{Job, Result, Stream, Timestamp, Watermarks};

use serde::{Deserialize, Serialize};

use super::ends::{Ends, TallySink, owner_by_number};
use super::programs::ms;

/// Events per poll. They are large: a full batch of them takes a tenth longer, for want of cache.
const READ_EVENTS: usize = 128;
/// The highest bid is first sought within so many groups of auctions, for there is no key.
const GROUPS: usize = 64;

/// The events: a part per thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Events {
    count: u64,
    /// Per second of event time.
    rate: usize,
}

/// One part, and how many events are left of it.
struct Share {
    id: Arc<str>,
    generator: EventGenerator,
    end: u64,
}

impl Events {
    /// The first `count` events, as all contenders take them.
    pub(super) fn of(count: u64) -> Self {
        Self { count, rate: EVENTS_PER_SECOND }
    }

    /// Part `part` of two.
    fn share(&self, part: u64) -> Share {
        let config = NexmarkConfig {
            first_rate: self.rate,
            next_rate: self.rate,
            base_time: 0,
            ..NexmarkConfig::default()
        };
        let generator = EventGenerator::new(config).with_offset(part);
        let generator = generator.with_step(THREADS as u64);
        Share { id: format!("part-{part}").into(), generator, end: self.count }
    }
}

impl Source for Events {
    type Item = Event;
    type Position = u64;
    type Reader = EventReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<EventReader> {
        let own =
            (0..THREADS as u64).map(|part| self.share(part)).filter(|s| ctx.owns(self, &s.id));
        let own = own.map(|mut share| {
            if let Some((_, position)) = ctx.restored.iter().find(|(id, _)| **id == *share.id) {
                share.generator = share.generator.with_offset(*position);
            }
            share
        });
        Ok(EventReader { shares: own.collect() })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        owner_by_number(split, parallelism)
    }
}

pub(super) struct EventReader {
    shares: Vec<Share>,
}

impl Reader for EventReader {
    type Item = Event;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<Event>) -> Result<Poll> {
        let mut finished = 0;
        for share in &mut self.shares {
            let split = emit.split(&share.id);
            let room = emit.room().min(READ_EVENTS);
            emit.fill(split, |records| {
                records.reserve(room);
                for _ in 0..room {
                    if share.generator.offset() >= share.end {
                        break;
                    }
                    records.extend(share.generator.next());
                }
            });
            if share.generator.offset() >= share.end {
                finished += 1;
                emit.is_finished(split);
            }
        }
        Ok(if finished == self.shares.len() { Poll::Finished } else { Poll::Ready })
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        self.shares.iter().map(|share| (share.id.clone(), share.generator.offset())).collect()
    }
}

fn timed(job: &mut Job, events: Events) -> Stream<Event> {
    let source = job.source("events", events);
    source.event_time(|e| Timestamp(e.timestamp() as i64), Watermarks::ascending())
}

fn bid(event: Event) -> Option<Bid> {
    match event {
        Event::Bid(bid) => Some(bid),
        _ => None,
    }
}

fn add<K>(tally: &mut Tally, window: &Windowed<K, (u64, u64)>) {
    let (value, id) = window.value;
    tally.add(id, window.start.millis(), value as i64);
}

/// Hot items: the auction with the most bids in each window.
pub(super) fn q5(job: &mut Job, events: Events, ends: &Ends) {
    let auctions = timed(job, events).flat_map(|e| bid(e).map(|b| b.auction as u64));
    let hop = Hop::of(ms(WINDOW_MS), ms(SLIDE_MS));
    let counts = auctions.key_by(|a| *a).window(hop).aggregate("bids", |_| (), Count);
    // The counts of a window all carry the time of its last millisecond: they meet in the one
    // tumbling window of the slide's size that holds it.
    let hottest = counts.key_by(|count| count.end).window(Tumbling::of(ms(SLIDE_MS))).aggregate(
        "hottest",
        |count| (count.value, count.key),
        Max,
    );
    let add = |tally: &mut Tally, window: &Windowed<Timestamp, (u64, u64)>| {
        let (bids, auction) = window.value;
        tally.add(auction, window.key.millis() - WINDOW_MS, bids as i64);
    };
    hottest.sink("out", TallySink::new(ends, add));
}

/// The highest bid of each window.
pub(super) fn q7(job: &mut Job, events: Events, ends: &Ends) {
    let bids = timed(job, events)
        .flat_map(|e| bid(e).map(|b| (b.date_time, (b.price as u64, b.auction as u64))))
        .filter(may_win())
        .map(|(_, bid)| bid)
        .key_by(|(_, auction)| *auction as usize % GROUPS);
    let window = Tumbling::of(ms(WINDOW_MS));
    let best_of_each = bids.window(window).aggregate("best of each group", |bid| *bid, Max);
    let best = best_of_each.key_by(|_| ()).window(window).aggregate("best", |w| w.value, Max);
    best.sink("out", TallySink::new(ends, add));
}

/// Whether a bid is the best of its window that came this way, and so may be the best of all.
///
/// What it remembers is in no snapshot: a task that has forgotten lets more bids pass, which lose
/// later on.
fn may_win() -> impl Fn(&(u64, (u64, u64))) -> bool + Clone + Send + 'static {
    let best = Cell::new(None);
    move |(at, bid)| {
        let bid = (at / WINDOW_MS as u64, *bid);
        let may = best.get().is_none_or(|best: (u64, _)| best.0 != bid.0 || best.1 < bid.1);
        if may {
            best.set(Some(bid));
        }
        may
    }
}

/// What query 8 reads of an event.
#[derive(Clone, Serialize, Deserialize)]
enum News {
    Person { id: u64, name: String },
    Auction { seller: u64, reserve: u64 },
}

impl News {
    fn of(event: Event) -> Option<Self> {
        match event {
            Event::Person(p) => Some(Self::Person { id: p.id as u64, name: p.name }),
            Event::Auction(a) => {
                Some(Self::Auction { seller: a.seller as u64, reserve: a.reserve as u64 })
            }
            Event::Bid(_) => None,
        }
    }
}

/// New users that opened auctions in the same window.
pub(super) fn q8(job: &mut Job, events: Events, ends: &Ends) {
    let news = timed(job, events).flat_map(News::of);
    let persons = news.flat_map(|news| match news {
        News::Person { id, name } => Some((id, name)),
        News::Auction { .. } => None,
    });
    let auctions = news.flat_map(|news| match news {
        News::Auction { seller, reserve } => Some((seller, reserve)),
        News::Person { .. } => None,
    });
    let sellers = persons
        .key_by(|(id, _)| *id)
        .join(&auctions.key_by(|(seller, _)| *seller))
        .window(Tumbling::of(ms(WINDOW_MS)))
        .inner("new sellers", |id, (_, name), (_, reserve)| (*id, name.clone(), *reserve));
    let add = |tally: &mut Tally, (id, _, reserve): &(u64, String, u64)| {
        tally.add(*id, 0, *reserve as i64);
    };
    sellers.sink("out", TallySink::new(ends, add));
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use millstream_bench_stream::Stopwatch;

    use super::*;
    use crate::ours::run::engine_alone;

    /// Three windows and a bit.
    const EVENTS: Events = Events { count: 330_001, rate: 10_000 };

    fn events() -> impl Iterator<Item = (i64, Event)> {
        let parts: Vec<Share> = (0..THREADS as u64).map(|part| EVENTS.share(part)).collect();
        let all = parts.into_iter().flat_map(|part| {
            let count = (part.end - part.generator.offset()).div_ceil(THREADS as u64);
            part.generator.take(count as usize)
        });
        all.map(|e| (e.timestamp() as i64, e))
    }

    fn bids() -> impl Iterator<Item = (i64, Bid)> {
        events().filter_map(|(at, e)| Some((at, bid(e)?)))
    }

    fn ours(query: fn(&mut Job, Events, &Ends)) -> Tally {
        let ends = Ends::new(Stopwatch::start());
        engine_alone(|job| query(job, EVENTS, &ends)).unwrap();
        ends.counted().tally
    }

    /// The best of each window: (value, id).
    fn tally(best: impl Iterator<Item = (i64, (u64, u64))>) -> Tally {
        let mut tally = Tally::default();
        best.for_each(|(start, (value, id))| tally.add(id, start, value as i64));
        tally
    }

    #[test]
    fn q5_is_the_auction_with_the_most_bids_of_each_window() {
        let mut counts: HashMap<(i64, u64), u64> = HashMap::new();
        for (at, bid) in bids() {
            let last = at / SLIDE_MS * SLIDE_MS;
            for start in (last - WINDOW_MS + SLIDE_MS..=last).step_by(SLIDE_MS as usize) {
                *counts.entry((start, bid.auction as u64)).or_default() += 1;
            }
        }
        let mut best: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for (&(start, auction), &bids) in &counts {
            let best = best.entry(start).or_default();
            *best = (*best).max((bids, auction));
        }
        assert!(best.len() > 15);
        assert_eq!(ours(q5), tally(best.into_iter()));
    }

    #[test]
    fn q7_is_the_highest_bid_of_each_window() {
        let mut best: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for (at, bid) in bids() {
            let best = best.entry(at / WINDOW_MS * WINDOW_MS).or_default();
            *best = (*best).max((bid.price as u64, bid.auction as u64));
        }
        assert_eq!(best.len(), 4);
        assert_eq!(ours(q7), tally(best.into_iter()));
    }

    #[test]
    fn q8_is_each_auction_with_its_seller_where_both_are_new_in_the_window() {
        let (mut persons, mut auctions) = (BTreeMap::new(), Vec::new());
        for (at, event) in events() {
            let window = at / WINDOW_MS;
            match event {
                Event::Person(p) => *persons.entry((window, p.id)).or_insert(0) += 1,
                Event::Auction(a) => auctions.push((window, a.seller, a.reserve)),
                Event::Bid(_) => {}
            }
        }
        let mut plain = Tally::default();
        for (window, seller, reserve) in auctions {
            for _ in 0..persons.get(&(window, seller)).copied().unwrap_or(0) {
                plain.add(seller as u64, 0, reserve as i64);
            }
        }
        assert!(plain.records > 1000);
        assert_eq!(ours(q8), plain);
    }
}
