//! Nexmark queries 5, 7 and 8, after Renoir's own example `nexmark.rs`, which sets queries, window
//! sizes and batch size. Changed: output is counted, event time starts at 0 and runs at the rate of
//! the synthetic stream with its watermarks, so that there are windows to compute.
//!
//! Windows start at a key's first record and ties go to whichever came first. The windows of query
//! 7 have no key and so start where they should: its prices must be those of other contenders.
//! Nothing else is compared.

use millstream_bench_stream::Agreement;
use millstream_bench_stream::workload::nexmark as nexmark_sizes;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Bid, Event};
use renoir::Stream;
use renoir::operator::Operator;
use renoir::prelude::*;

use crate::sink::Sink;
use crate::watermarks;

const BATCH_EVENTS: usize = 16 << 10;

/// Hot items: the auction with the most bids per window.
pub fn q5(ctx: &StreamContext, events: u64, sink: Sink) -> Agreement {
    let window = EventTimeWindow::sliding(nexmark_sizes::WINDOW_MS, nexmark_sizes::SLIDE_MS);
    timed(ctx, events)
        .filter_map(bid)
        .map(|b| b.auction)
        .group_by(|a| *a)
        .map(|_| ())
        .window(window.clone())
        .count()
        .unkey()
        .window_all(window)
        .max_by_key(|(_, bids)| *bids)
        .for_each(move |((), (auction, bids))| sink.add(auction as u64, 0, bids as i64));
    Agreement::None
}

/// The highest bid per window.
pub fn q7(ctx: &StreamContext, events: u64, sink: Sink) -> Agreement {
    let window = EventTimeWindow::tumbling(nexmark_sizes::WINDOW_MS);
    timed(ctx, events)
        .filter_map(bid)
        .map(|b| (b.auction, b.price, b.bidder))
        .key_by(|_| ())
        .window(window.clone())
        .max_by_key(|(_, price, _)| *price)
        .drop_key()
        .window_all(window)
        .max_by_key(|(_, price, _)| *price)
        .for_each(move |((), (auction, price, _))| sink.add(auction as u64, 0, price as i64));
    Agreement::Values
}

/// New users that opened auctions in the same window.
pub fn q8(ctx: &StreamContext, events: u64, sink: Sink) -> Agreement {
    let mut routes = timed(ctx, events)
        .route()
        .add_route(|e| matches!(e, Event::Person(_)))
        .add_route(|e| matches!(e, Event::Auction(_)))
        .build()
        .into_iter();
    let mut route = || routes.next().expect("two routes were added");
    let person = route().filter_map(|e| match e {
        Event::Person(p) => Some((p.id, p.name)),
        _ => None,
    });
    let auction = route().filter_map(|e| match e {
        Event::Auction(a) => Some((a.seller, a.reserve)),
        _ => None,
    });
    person
        .group_by(|(id, _)| *id)
        .window_join(
            EventTimeWindow::tumbling(nexmark_sizes::WINDOW_MS),
            auction.group_by(|(seller, _)| *seller),
        )
        .drop_key()
        .for_each(move |((id, _), (_, reserve))| sink.add(id as u64, 0, reserve as i64));
    Agreement::None
}

fn timed(ctx: &StreamContext, events: u64) -> Stream<impl Operator<Out = Event> + 'static> {
    ctx.stream_par_iter(move |part: u64, parts: u64| {
        let config = NexmarkConfig {
            first_rate: nexmark_sizes::EVENTS_PER_SECOND,
            next_rate: nexmark_sizes::EVENTS_PER_SECOND,
            base_time: 0,
            ..Default::default()
        };
        let mine = events / parts + u64::from(part < events % parts);
        nexmark::EventGenerator::new(config).with_offset(part).with_step(parts).take(mine as usize)
    })
    .batch_mode(BatchMode::fixed(BATCH_EVENTS))
    .add_timestamps(|e| e.timestamp() as i64, watermarks())
}

fn bid(event: Event) -> Option<Bid> {
    match event {
        Event::Bid(bid) => Some(bid),
        _ => None,
    }
}
