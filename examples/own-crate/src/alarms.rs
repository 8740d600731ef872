//! [`Alarms`]: a process function of one's own, with a state and an event-time timer per key.

use std::time::Duration;

use millstream_worker::operator::process::{Process, ProcessContext, States, Timer, Value};
use millstream_worker::{Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::meters::Reading;

/// A meter's load has stayed high.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// Which meter.
    pub meter: u32,
    /// Since when.
    pub since: Timestamp,
}

/// Raises an alarm where every reading of a meter was above the limit for so long.
#[derive(Clone, Debug)]
pub struct Alarms {
    /// In watts.
    pub limit: i64,
    /// How long.
    pub patience: Duration,
}

/// A stretch of high readings.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct High {
    since: Timestamp,
    raised: bool,
}

impl Process<u32, Reading> for Alarms {
    type Out = Alarm;
    type Side = ();
    type State = Value<High>;

    fn declare(&self, states: &mut States<u32>) -> Value<High> {
        states.value("high")
    }

    fn on_record(
        &self,
        state: &Value<High>,
        reading: Reading,
        cx: &mut ProcessContext<'_, u32, Alarm>,
    ) -> Result<()> {
        match (cx.get(state).copied(), reading.watts > self.limit) {
            (None, true) => {
                cx.set(state, High { since: reading.at, raised: false });
                cx.set_timer(reading.at + self.patience);
            }
            (Some(high), false) => {
                cx.clear(state);
                let due = high.since + self.patience;
                cx.delete_timer(due);
                // A timer fires when the watermark passes; records that are later may come before.
                if !high.raised && reading.at >= due {
                    return cx.emit(Alarm { meter: reading.meter, since: high.since });
                }
            }
            (None, false) | (Some(_), true) => {}
        }
        Ok(())
    }

    fn on_timer(
        &self,
        state: &Value<High>,
        _: Timer,
        cx: &mut ProcessContext<'_, u32, Alarm>,
    ) -> Result<()> {
        let Some(High { since, .. }) = cx.get(state).copied() else { return Ok(()) };
        cx.set(state, High { since, raised: true });
        let meter = *cx.key();
        cx.emit(Alarm { meter, since })
    }
}
