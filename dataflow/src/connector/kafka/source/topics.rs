//! [`Look`]: what the cluster says of topics: their ids and how many partitions they have.
//!
//! Asked for by [`super::resolve`] when a source opens, and by [`super::thread`] while it reads.
//! All calls of C for descriptions are here.

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::question::Question;
use super::queue::Client;
use crate::error::Result;

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) topic: String,
    /// How it goes with it.
    pub(super) state: Result<Topic, Code>,
}

/// A topic that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    /// 0 where the broker gives none.
    pub(super) id: u128,
    pub(super) partitions: i32,
}

/// A question for descriptions of topics.
pub(super) struct Look(Question);

impl Look {
    /// Asks for topics.
    pub(super) fn at(client: &Arc<Client>, topics: &[Arc<str>]) -> Result<Self> {
        let names: Vec<CString> =
            topics.iter().map(|topic| CString::new(&**topic)).collect::<Result<_, _>>()?;
        let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let question = Question::ask(client, operation, |native, options, answers| {
            // SAFETY: all three are valid; names end in a zero and are copied; the collection is
            // given back here.
            unsafe {
                let asked =
                    sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
                sys::rd_kafka_DescribeTopics(native, asked, options, answers);
                sys::rd_kafka_TopicCollection_destroy(asked);
            }
        });
        Ok(Self(question?))
    }

    /// The answer, waited for at most so long. None: not yet.
    pub(super) fn answer(&self, wait: Duration) -> Option<Result<Vec<Described>, (Code, String)>> {
        // SAFETY: the event is that of this question, and valid.
        self.0.answer(wait, |event| unsafe { read(event) })
    }
}

/// # Safety
/// The event must be a valid one of a question for descriptions.
unsafe fn read(event: *mut sys::rd_kafka_event_t) -> Result<Vec<Described>, (Code, String)> {
    // SAFETY: all that is read belongs to the event; texts and lists are copied.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = CStr::from_ptr(sys::rd_kafka_event_error_string(event));
            return Err((code.into(), text.to_string_lossy().into_owned()));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() {
            return Ok(Vec::new());
        }
        let topics = std::slice::from_raw_parts(topics, count);
        Ok(topics.iter().map(|topic| describe(*topic)).collect())
    }
}

/// # Safety
/// The description must be valid.
unsafe fn describe(topic: *const sys::rd_kafka_TopicDescription_t) -> Described {
    // SAFETY: the caller's promise; texts are copied.
    unsafe {
        let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic));
        let name = name.to_string_lossy().into_owned();
        let error = sys::rd_kafka_TopicDescription_error(topic);
        let code = sys::rd_kafka_error_code(error);
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Described { topic: name, state: Err(code.into()) };
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let id = if id.is_null() {
            0
        } else {
            let most = sys::rd_kafka_Uuid_most_significant_bits(id) as u64;
            let least = sys::rd_kafka_Uuid_least_significant_bits(id) as u64;
            u128::from(most) << 64 | u128::from(least)
        };
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        Described { topic: name, state: Ok(Topic { id, partitions }) }
    }
}
