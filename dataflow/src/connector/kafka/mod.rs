//! Kafka: what its source and its sink have in common.
//!
//! [`settings`] receives what a program says of its cluster and hands out the configuration of a
//! client; [`client`] hears what librdkafka says beside its answers; [`fault`] makes our errors of
//! its.

mod client;
mod fault;
mod settings;

pub use settings::Setting;
