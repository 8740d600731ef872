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

impl Process<u32, Reading> for Alarms {
    type Out = Alarm;
    type Side = ();
    type State = Value<Timestamp>;

    fn declare(&self, states: &mut States<u32>) -> Value<Timestamp> {
        states.value("since")
    }

    fn on_record(
        &self,
        high_since: &Value<Timestamp>,
        reading: Reading,
        cx: &mut ProcessContext<'_, u32, Alarm>,
    ) -> Result<()> {
        match (cx.get(high_since).copied(), reading.watts > self.limit) {
            (None, true) => {
                cx.set(high_since, reading.at);
                cx.set_timer(reading.at + self.patience);
            }
            (Some(since), false) => {
                cx.clear(high_since);
                cx.delete_timer(since + self.patience);
            }
            (None, false) | (Some(_), true) => {}
        }
        Ok(())
    }

    fn on_timer(
        &self,
        high_since: &Value<Timestamp>,
        _: Timer,
        cx: &mut ProcessContext<'_, u32, Alarm>,
    ) -> Result<()> {
        let Some(since) = cx.get(high_since).copied() else { return Ok(()) };
        let meter = *cx.key();
        cx.emit(Alarm { meter, since })
    }
}
