//! [`Look`]: what the cluster says of topics: their ids and how many partitions they have.
//!
//! Asked for by [`super::resolve`] when a source opens, and by [`super::thread`] while it reads. An
//! answer comes later, so that nobody waits for a broker who has records to read. All calls of C
//! for descriptions are here.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::queue::Client;
use crate::error::{Error, Result};

/// For one question, with all that librdkafka tries.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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

/// A question that is on its way.
pub(super) struct Look {
    answers: NonNull<sys::rd_kafka_queue_t>,
    /// Outlives the queue.
    _client: Arc<Client>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Look {}

impl Look {
    /// Asks for topics.
    pub(super) fn at(client: &Arc<Client>, topics: &[Arc<str>]) -> Result<Self> {
        let names: Vec<CString> =
            topics.iter().map(|topic| CString::new(&**topic)).collect::<Result<_, _>>()?;
        let mut names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let timeout = i32::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let mut error = [0; 256];
        // SAFETY: the client lives; names end in a zero and are copied; options and collection are
        // given back here, the queue when this is dropped.
        unsafe {
            let native = client.client().native_ptr();
            let answers = NonNull::new(sys::rd_kafka_queue_new(native));
            let answers = answers.ok_or_else(|| Error::bug("librdkafka gives no queue"))?;
            let options = sys::rd_kafka_AdminOptions_new(
                native,
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            );
            let (text, size) = (error.as_mut_ptr(), error.len());
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, text, size);
            let asked =
                sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            sys::rd_kafka_DescribeTopics(native, asked, options, answers.as_ptr());
            sys::rd_kafka_TopicCollection_destroy(asked);
            sys::rd_kafka_AdminOptions_destroy(options);
            Ok(Self { answers, _client: client.clone() })
        }
    }

    /// The answer, waited for at most so long. None: not yet.
    pub(super) fn answer(&self, wait: Duration) -> Option<Result<Vec<Described>, (Code, String)>> {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue lives; the event is given back behind its last use.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.answers.as_ptr(), wait);
            if event.is_null() {
                return None;
            }
            let answer = read(event);
            sys::rd_kafka_event_destroy(event);
            Some(answer)
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // SAFETY: the one owner gives it back, before its client; an answer that comes later is
        // freed by librdkafka.
        unsafe { sys::rd_kafka_queue_destroy(self.answers.as_ptr()) };
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
