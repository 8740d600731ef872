//! [`Meters`]: a source of one's own.
//!
//! A meter is a split. A reading depends on the meter and its number alone, so that a replay gives
//! the same; the position of a split is the number of its next reading.

use std::sync::Arc;

use millstream_worker::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_worker::{Result, Timestamp};
use serde::{Deserialize, Serialize};

/// Time between two readings of a meter, in milliseconds.
const EVERY_MS: i64 = 10_000;

/// What a meter says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Which meter.
    pub meter: u32,
    /// When.
    pub at: Timestamp,
    /// The load.
    pub watts: i64,
}

/// The n-th reading of a meter: five minutes of every twenty-five its load is high.
#[must_use]
pub fn reading(meter: u32, n: u64) -> Reading {
    let (number, n) = (i64::from(meter), n.cast_signed());
    let high = if (n / 30 + number) % 5 == 0 { 800 } else { 0 };
    let watts = 200 + 50 * number + high + (n * n * 7 + number * 13) % 90;
    Reading { meter, at: Timestamp::from_millis(n * EVERY_MS), watts }
}

/// Simulated meters.
#[derive(Clone, Debug)]
pub struct Meters {
    /// How many.
    pub meters: u32,
    /// Readings of each.
    pub readings: u64,
}

struct Meter {
    number: u32,
    id: Arc<str>,
    next: u64,
}

/// Reads the meters of one task.
pub struct MetersReader {
    meters: Vec<Meter>,
    readings: u64,
}

impl Source for Meters {
    type Item = Reading;
    type Position = u64;
    type Reader = MetersReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<MetersReader> {
        let ids = (0..self.meters).map(|number| (number, format!("meter-{number}")));
        let own = ids.filter(|(_, id)| ctx.owns(self, id));
        let meters = own.map(|(number, id)| {
            let restored = ctx.restored.iter().find(|(known, _)| *known == id);
            Meter { number, next: restored.map_or(0, |(_, next)| *next), id: id.into() }
        });
        Ok(MetersReader { meters: meters.collect(), readings: self.readings })
    }
}

impl Reader for MetersReader {
    type Item = Reading;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<Reading>) -> Result<Poll> {
        let share = (emit.room() / self.meters.len().max(1)).max(1) as u64;
        let mut poll = Poll::Finished;
        for meter in &mut self.meters {
            let split = emit.split(&meter.id);
            let end = self.readings.min(meter.next + share);
            emit.records(split, (meter.next..end).map(|n| reading(meter.number, n)));
            meter.next = end;
            if end < self.readings {
                poll = Poll::Ready;
            } else {
                emit.is_finished(split);
            }
        }
        Ok(poll)
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        self.meters.iter().map(|meter| (meter.id.clone(), meter.next)).collect()
    }
}
