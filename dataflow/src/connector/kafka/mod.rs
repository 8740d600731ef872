//! Kafka: [`KafkaSource`] reads topics, [`KafkaSink`] writes them.
//!
//! What source and sink have in common: [`settings`] receives what a program says of its cluster
//! and hands out the configuration of a client; [`client`] hears what librdkafka says beside its
//! answers; [`fault`] makes our errors of its.

mod client;
mod decode;
mod fault;
mod message;
mod settings;
mod sink;
mod source;
mod topic_id;

pub use decode::{BytesValue, Decode, JsonValue, KafkaRecord, TextValue, Whole};
pub use message::KafkaMessage;
pub use settings::Setting;
pub use sink::{
    KafkaCommitter, KafkaPending, KafkaSink, KafkaWriter, OutboundMessage, Serializer,
    partition_of_key,
};
pub use source::{KafkaPosition, KafkaReader, KafkaSource};
