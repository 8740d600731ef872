//! [`Told`]: what librdkafka says beside the answers to calls: its log, and errors of connections.
//!
//! Handed to each client as its context; asked by [`super::fault`], since a call that fails says
//! only that nobody answered, and why stands here. Invariant: it holds the last words of each kind,
//! nothing more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};

use super::fault::{code_of, is_certificate};
use super::topic_id;
use crate::error::{Error, Result};

/// The part of librdkafka that warns of settings.
const SETTINGS_FACILITY: &str = "CONFWARN";
/// What it says of a setting that is another kind of client's.
const IGNORED: &str = "will be ignored by this";

/// What librdkafka has said of a client. Clones hear the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// The client may not log in: it goes on trying, and fails each time.
    refused: Option<Trouble>,
    /// The last trouble with a connection.
    connection: Option<Trouble>,
    /// Nothing more is to be had of this client.
    fatal: Option<Trouble>,
    /// Settings that this kind of client has no use for.
    ignored: Vec<String>,
    /// Topics that have another id than before, and which.
    ids: Vec<(String, u128)>,
}

/// An error, and librdkafka's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) code: RDKafkaErrorCode,
    pub(super) reason: String,
}

impl Told {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        // Each holder makes one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the client cannot reach its cluster, if anything was said of that: a refusal before an
    /// error of a connection.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let heard = self.heard();
        heard.refused.clone().or_else(|| heard.connection.clone())
    }

    /// What ends this client, if it was said: it may not log in, or has failed for good.
    pub(super) fn end(&self) -> Option<Trouble> {
        let heard = self.heard();
        heard.fatal.clone().or_else(|| heard.refused.clone())
    }

    /// Topics that have another id than before, and which, as far as nobody has asked yet. Told
    /// where the client's log is (`debug=metadata`), before the first record of such a topic comes.
    pub(super) fn take_ids(&self) -> Vec<(String, u128)> {
        std::mem::take(&mut self.heard().ids)
    }

    /// Refuses settings that this kind of client has no use for. Ask once the client is made and
    /// its events were served: librdkafka says so in its log.
    pub(super) fn check_settings(&self) -> Result<()> {
        let ignored = self.heard().ignored.join("; ");
        if ignored.is_empty() { Ok(()) } else { Err(Error::invalid(ignored)) }
    }
}

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == SETTINGS_FACILITY && message.contains(IGNORED) {
            // Behind the name of the client and its thread.
            let words = message.rsplit("]: ").next().unwrap_or(message);
            self.heard().ignored.push(words.to_owned());
            return;
        }
        if let Some((topic, id)) = topic_id::changed(message) {
            self.heard().ids.push((topic.to_owned(), id));
        }
        match level {
            // What ends a call is its caller's to report; these are about connections, which are
            // tried again.
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", "{facility}: {message}");
            }
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let statistics = String::from_utf8_lossy(statistics);
        tracing::info!(target: "librdkafka", "statistics: {statistics}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = code_of(&error) else { return };
        let trouble = Some(Trouble { code, reason: reason.to_owned() });
        let mut heard = self.heard();
        match code {
            RDKafkaErrorCode::Fatal => heard.fatal = trouble,
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism => heard.refused = trouble,
            RDKafkaErrorCode::SSL if is_certificate(reason) => heard.refused = trouble,
            _ => heard.connection = trouble,
        }
    }
}

impl ConsumerContext for Told {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!("cannot report offsets to the group: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(told: &Told, code: RDKafkaErrorCode, reason: &str) {
        told.clone().error(KafkaError::Global(code), reason);
    }

    #[test]
    fn a_refused_password_is_not_covered_up_by_the_broken_connection_after_it() {
        let told = Told::default();
        assert_eq!(told.trouble(), None);
        error(&told, RDKafkaErrorCode::SaslAuthenticationFailed, "wrong");
        error(&told, RDKafkaErrorCode::BrokerTransportFailure, "gone");
        assert_eq!(told.trouble().unwrap().reason, "wrong");
        assert_eq!(told.end().unwrap().reason, "wrong");
        let told = Told::default();
        error(&told, RDKafkaErrorCode::SSL, "certificate verify failed");
        error(&told, RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(told.trouble().unwrap().reason, "certificate verify failed");
    }

    #[test]
    fn a_topic_that_has_another_id_is_told_once() {
        let told = Told::default();
        let line = "[thrd:main]: Topic a changed id from AAAAAAAAAAAAAAAAAAAAAA to \
                    AAAAAAAAAAAAAAAAAAAAAQ";
        told.log(RDKafkaLogLevel::Debug, "METADATA", line);
        assert_eq!(told.take_ids(), [("a".to_owned(), 1)]);
        assert_eq!(told.take_ids(), []);
    }

    #[test]
    fn a_setting_of_another_kind_of_client_is_refused() {
        let told = Told::default();
        told.check_settings().unwrap();
        let words = "[thrd:app]: Configuration property acks is a producer property and will be \
                     ignored by this consumer instance";
        told.log(RDKafkaLogLevel::Warning, "CONFWARN", words);
        let error = told.check_settings().unwrap_err().to_string();
        assert!(error.starts_with("Configuration property acks"), "{error}");
    }
}
