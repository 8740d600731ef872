//! Errors of librdkafka and of brokers as our own: of the kind that says what to do, in words that
//! do too.
//!
//! Called by the source and the sink with what they attempted. Invariant: what nobody has thought
//! of is tried again, never given up.

use std::fmt::Display;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::client::Told;
use crate::error::{Error, Kind};

/// An error of a call, with what was attempted in front. Where nobody answered, what the client was
/// `told` beside says why.
#[cold]
pub(super) fn fail(attempt: impl Display, error: &KafkaError, told: &Told) -> Error {
    let Some(code) = code_of(error) else {
        let kind = match error {
            KafkaError::ClientConfig(..)
            | KafkaError::ClientCreation(_)
            | KafkaError::Subscription(_)
            | KafkaError::Nul(_) => Kind::Invalid,
            _ => Kind::Unavailable,
        };
        // The value of a setting may be a secret: librdkafka's words alone.
        let words = match error {
            KafkaError::ClientConfig(_, _, name, _) => format!("{name}: its value is not valid"),
            KafkaError::ClientCreation(words) => words.clone(),
            other => other.to_string(),
        };
        return Error::new(kind, format!("{attempt}: {words}"));
    };
    match told.trouble().filter(|_| is_silence(code)) {
        Some(trouble) => explain(attempt, trouble.code, &trouble.reason),
        None => explain(attempt, code, ""),
    }
}

/// An error that is known by its code, and librdkafka's words about it, if it has any.
#[cold]
pub(super) fn explain(attempt: impl Display, code: Code, reason: &str) -> Error {
    let words = if reason.is_empty() { code.to_string() } else { reason.to_owned() };
    let what = match advice(code, &words) {
        "" => words,
        advice => format!("{advice} ({words})"),
    };
    Error::new(kind_of(code, reason), format!("{attempt}: {what}"))
}

/// The code of an error, where it has one.
pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        KafkaError::Transaction(error) => Some(error.code()),
        KafkaError::PartitionEOF(_) => Some(Code::PartitionEOF),
        other => other.rdkafka_error_code(),
    }
}

/// Whether an error says no more than that no answer came.
fn is_silence(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::Fail
    )
}

/// Whether a broker's certificate, or ours, was refused: that does not pass by itself.
pub(super) fn is_certificate(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["certificate", "verify failed", "unknown ca"].iter().any(|word| reason.contains(word))
}

/// What an error asks of its reader.
pub(super) fn kind_of(code: Code, reason: &str) -> Kind {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SecurityDisabled
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic
        | Code::InvalidGroupId
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::InvalidRequiredAcks
        | Code::InvalidTransactionTimeout
        | Code::InvalidTimestamp
        | Code::InvalidRecord
        | Code::PolicyViolation
        | Code::OffsetOutOfRange
        | Code::AutoOffsetReset
        | Code::LogTruncation
        | Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::OffsetMetadataTooLarge
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat
        | Code::NotImplemented => Kind::Invalid,
        Code::SSL if is_certificate(reason) => Kind::Invalid,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Kind::Fenced,
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => Kind::Corrupt,
        Code::InvalidArgument | Code::State | Code::Conflict | Code::InvalidTransactionalState => {
            Kind::Bug
        }
        _ => Kind::Unavailable,
    }
}

/// What to do, where we know more than the words of the error say.
fn advice(code: Code, words: &str) -> &'static str {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the broker refuses the login: check sasl.username, sasl.password and sasl.mechanism"
        }
        Code::UnsupportedSASLMechanism => {
            "the broker does not take this way to log in: check sasl.mechanism"
        }
        Code::TopicAuthorizationFailed => "access to the topic is denied: allow it in the ACLs",
        Code::GroupAuthorizationFailed => "access to the group is denied: allow it in the ACLs",
        Code::ClusterAuthorizationFailed => "access to the cluster is denied: allow it in the ACLs",
        Code::TransactionalIdAuthorizationFailed => {
            "access to the transactional id is denied: allow it in the ACLs"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => {
            "there is no such topic: create it, or correct its name"
        }
        Code::UnknownPartition => "the topic has no such partition",
        Code::InvalidTopic => "this cannot be the name of a topic: correct it",
        Code::OffsetOutOfRange | Code::AutoOffsetReset => {
            "the partition does not hold this offset: it was truncated, or created again"
        }
        Code::LogTruncation => "the partition has lost records that were read from it",
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "a record is too large: raise message.max.bytes, and the topic's max.message.bytes"
        }
        Code::SSL if is_certificate(words) => {
            "a certificate is refused: check ssl.ca.location and ssl.certificate.location"
        }
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::TimedOutQueue => {
            "the brokers do not answer: check that they run, the network, and `brokers`"
        }
        Code::Resolve => {
            "a broker's name is not known: check `brokers`, and the brokers' own names"
        }
        Code::BadMessage | Code::InvalidMessage => "the broker holds a record that is damaged",
        Code::BadCompression => "the broker holds records that do not decompress",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientContext as _;

    use super::*;

    #[test]
    fn an_error_says_what_was_attempted_what_to_do_and_what_the_broker_said() {
        let told = Told::default();
        let error = KafkaError::MetadataFetch(Code::UnknownTopicOrPartition);
        let error = fail("cannot look at topic orders", &error, &told);
        assert_eq!(error.kind(), Kind::Invalid);
        let expected = "cannot look at topic orders: there is no such topic: create it, or \
                        correct its name (";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn a_silence_is_explained_by_what_was_heard_before() {
        let told = Told::default();
        let error = KafkaError::MetadataFetch(Code::BrokerTransportFailure);
        assert_eq!(fail("a", &error, &told).kind(), Kind::Unavailable);
        told.error(KafkaError::Global(Code::Authentication), "SASL authentication error: no");
        let explained = fail("a", &error, &told);
        assert_eq!(explained.kind(), Kind::Invalid);
        assert!(explained.to_string().contains("sasl.password"), "{explained}");
        let other = KafkaError::MetadataFetch(Code::LeaderNotAvailable);
        assert_eq!(fail("a", &other, &told).kind(), Kind::Unavailable);
    }

    #[test]
    fn the_value_of_a_setting_is_never_in_a_message() {
        use rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        let [reason, name] = ["swordfish is wrong", "sasl.password"].map(str::to_owned);
        let error =
            KafkaError::ClientConfig(RD_KAFKA_CONF_INVALID, reason, name, "swordfish".to_owned());
        let error = fail("cannot connect", &error, &Told::default());
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(error.to_string(), "cannot connect: sasl.password: its value is not valid");
    }

    #[test]
    fn a_broken_handshake_may_pass_but_a_refused_certificate_does_not() {
        assert_eq!(kind_of(Code::SSL, "Disconnected"), Kind::Unavailable);
        assert_eq!(kind_of(Code::SSL, "certificate verify failed"), Kind::Invalid);
    }
}
