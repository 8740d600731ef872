//! The Rust code on the pages of the documentation: compiled, and run unless it says `no_run`, as
//! documentation tests.
//!
//! Receives nothing and hands on nothing: it is there for `cargo test` alone. Invariant: every page
//! with Rust code is named here (`tests/readme.rs` looks).

#[doc = include_str!("../../docs/concepts/own-crate.md")]
struct OwnCrate;

#[doc = include_str!("../../docs/concepts/programs.md")]
struct Programs;

#[doc = include_str!("../../docs/concepts/time.md")]
struct Time;

#[doc = include_str!("../../docs/reference/connectors/files.md")]
struct Files;

#[cfg(feature = "kafka")]
#[doc = include_str!("../../docs/reference/connectors/kafka.md")]
struct Kafka;

#[cfg(feature = "kafka")]
#[doc = include_str!("../../docs/reference/connectors/kafka-sink.md")]
struct KafkaSink;

#[cfg(feature = "s3")]
#[doc = include_str!("../../docs/reference/connectors/objects.md")]
struct Objects;

#[doc = include_str!("../../docs/reference/joins.md")]
struct Joins;

#[doc = include_str!("../../docs/reference/operators.md")]
struct Operators;

#[doc = include_str!("../../docs/reference/sources.md")]
struct Sources;

#[doc = include_str!("../../docs/reference/windows.md")]
struct Windows;
