//! [`Ends`]: asks the brokers, again and again, where partitions end.
//!
//! Of those that were read to their end, whether they have had nothing since: librdkafka says once
//! that a partition is at its end, and nothing more while nothing comes, also not when its broker
//! is gone. Of the others, how much waits in them: what librdkafka knows is from its last fetch,
//! and it does not fetch while the job is slow. Asked by [`super::thread`] between reads; nobody
//! waits for an answer. Invariant: a partition was empty only if its broker said so, and of all
//! records, those of transactions that are under way among them.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::position::Partition;
use super::question::Question;
use super::queue::Client;
use crate::clock::{Clock, SystemClock};
use crate::error::Result;

/// Between two questions whether partitions are empty: what the time-out of idle splits is rounded
/// up to.
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// Between two questions how much waits in partitions. A look at how far a job is behind is not
/// worth more than a small request to each broker every few seconds.
const LAG_EVERY: Duration = Duration::from_secs(3);

/// Who has not answered by then is out of reach.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Partitions by their places, with the offset behind the last record of each. None: nobody says.
pub(super) type Known = Vec<(usize, Option<i64>)>;

/// Asks for the ends of partitions.
pub(super) struct Ends {
    client: Arc<Client>,
    clock: SystemClock,
    every: Duration,
    /// When to ask next, in the clock's nanoseconds.
    due: u64,
    under_way: Option<UnderWay>,
    /// What it means that nobody answers.
    unanswered: &'static str,
    /// The last question was not answered, and that was told.
    told: bool,
}

struct UnderWay {
    question: Question,
    /// The partitions that were asked for, by their places.
    asked: Vec<(Partition, usize)>,
    /// When an answer is late. None: it is, and that was said.
    late: Option<u64>,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Ends {
    /// Whether partitions that were empty are still.
    pub(super) fn of_empty(client: &Arc<Client>) -> Self {
        let unanswered =
            "still empty; until they do, these are not idle and hold the watermark back";
        Self::new(client, IDLE_EVERY, unanswered)
    }

    /// How far partitions reach.
    pub(super) fn of_all(client: &Arc<Client>) -> Self {
        Self::new(client, LAG_EVERY, "read to their end; until they do, the lag is not known")
    }

    fn new(client: &Arc<Client>, every: Duration, unanswered: &'static str) -> Self {
        let clock = SystemClock::new();
        let client = client.clone();
        Self { client, clock, every, due: 0, under_way: None, unanswered, told: false }
    }

    /// Whether it is time to ask once more.
    pub(super) fn is_due(&self) -> bool {
        self.under_way.is_none() && self.clock.monotonic_ns() >= self.due
    }

    /// Asks for the ends of these, each with its place.
    pub(super) fn ask(&mut self, partitions: Vec<(Partition, usize)>) -> Result<()> {
        let now = self.clock.monotonic_ns();
        self.due = now.saturating_add(nanos(self.every));
        if partitions.is_empty() {
            return Ok(());
        }
        let question = ask(&self.client, partitions.iter().map(|(it, _)| it))?;
        let late = Some(now.saturating_add(nanos(ANSWER_WITHIN)));
        self.under_way = Some(UnderWay { question, asked: partitions, late });
        Ok(())
    }

    /// What has become known since, if anything has.
    pub(super) fn poll(&mut self) -> Known {
        let Some(under_way) = &mut self.under_way else { return Known::new() };
        let asked = under_way.asked.iter();
        // SAFETY: the event is that of this question, and valid.
        let answer = under_way.question.answer(Duration::ZERO, |event| unsafe { read(event) });
        let Some(answer) = answer else {
            let now = self.clock.monotonic_ns();
            return match under_way.late.take_if(|late| now >= *late) {
                Some(_) => asked.map(|(_, place)| (*place, None)).collect(),
                None => Known::new(),
            };
        };
        let (ends, code) = match answer {
            Ok(ends) => (ends, None),
            Err(code) => (HashMap::new(), Some(code)),
        };
        let known = asked.map(|(partition, place)| (*place, ends.get(partition).copied()));
        let known: Known = known.collect();
        self.under_way = None;
        let unknown = known.iter().filter(|(_, end)| end.is_none()).count();
        if unknown > 0 && !self.told {
            let why = code.map_or_else(String::new, |code| format!(": {code}"));
            let unanswered = self.unanswered;
            tracing::warn!(
                "the brokers do not say whether {unknown} partitions are {unanswered}{why}"
            );
        }
        self.told = unknown > 0;
        known
    }
}

/// Asks for the ends of partitions, those of transactions under way counted, as is the default.
fn ask<'p>(
    client: &Arc<Client>,
    partitions: impl Iterator<Item = &'p Partition>,
) -> Result<Question> {
    let names: Vec<(CString, i32)> =
        partitions.map(|it| Ok((CString::new(&*it.topic)?, it.number))).collect::<Result<_>>()?;
    let latest = sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64;
    let capacity = i32::try_from(names.len()).unwrap_or(i32::MAX);
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    Question::ask(client, operation, |native, options, answers| {
        // SAFETY: all three are valid; names end in a zero and are copied; the list is given back
        // here.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(capacity);
            for (name, number) in &names {
                let added = sys::rd_kafka_topic_partition_list_add(list, name.as_ptr(), *number);
                (*added).offset = latest;
            }
            sys::rd_kafka_ListOffsets(native, list, options, answers);
            sys::rd_kafka_topic_partition_list_destroy(list);
        }
    })
}

/// # Safety
/// The event must be a valid one of a question for offsets.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Result<HashMap<Partition, i64>, Code> {
    // SAFETY: all that is read belongs to the event; texts are copied.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        let result = sys::rd_kafka_event_ListOffsets_result(event);
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        if infos.is_null() {
            return Ok(HashMap::new());
        }
        let infos = std::slice::from_raw_parts(infos, count);
        let ends = infos.iter().filter_map(|info| {
            let found = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
            let is_answered = found.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            let topic = CStr::from_ptr(found.topic).to_string_lossy();
            let partition = Partition::new(&topic.into(), found.partition);
            is_answered.then_some((partition, found.offset))
        });
        Ok(ends.collect())
    }
}
