//! [`Question`]: something asked of the cluster by librdkafka's admin interface, and its answer.
//!
//! Used by [`super::topics`] and [`super::ends`], each of which knows what it asks and how to read
//! the answer. An answer comes later, so that nobody waits for a broker who has records to read.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer as _;

use super::queue::Client;
use crate::error::{Error, Result};

/// For one question, with all that librdkafka tries.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A question that is on its way.
pub(super) struct Question {
    answers: NonNull<sys::rd_kafka_queue_t>,
    /// Outlives the queue.
    _client: Arc<Client>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Question {}

impl Question {
    /// Asks by a function that is given the client, options for the operation, and the queue for
    /// the answer, all of them valid while it runs.
    pub(super) fn ask(
        client: &Arc<Client>,
        operation: sys::rd_kafka_admin_op_t,
        ask: impl FnOnce(
            *mut sys::rd_kafka_t,
            *mut sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
    ) -> Result<Self> {
        let timeout = i32::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let mut error = [0; 256];
        // SAFETY: the client lives; options are given back here, the queue when this is dropped.
        unsafe {
            let native = client.client().native_ptr();
            let answers = NonNull::new(sys::rd_kafka_queue_new(native));
            let answers = answers.ok_or_else(|| Error::bug("librdkafka gives no queue"))?;
            let options = sys::rd_kafka_AdminOptions_new(native, operation);
            let (text, size) = (error.as_mut_ptr(), error.len());
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, text, size);
            ask(native, options, answers.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
            Ok(Self { answers, _client: client.clone() })
        }
    }

    /// The answer, waited for at most so long, as this function reads it: the event is valid while
    /// it runs. None: not yet.
    pub(super) fn answer<T>(
        &self,
        wait: Duration,
        read: impl FnOnce(*mut sys::rd_kafka_event_t) -> T,
    ) -> Option<T> {
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

impl Drop for Question {
    fn drop(&mut self) {
        // SAFETY: the one owner gives it back, before its client; an answer that comes later is
        // freed by librdkafka.
        unsafe { sys::rd_kafka_queue_destroy(self.answers.as_ptr()) };
    }
}
