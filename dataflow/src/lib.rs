//! Millstream's engine, a library: streams, operators, windows, state, exchange, snapshots.
//!
//! A program builds a graph on a [`Job`]; an [`engine::Engine`] runs it. Nothing here knows of
//! Kubernetes, gRPC or the processes around it.
#![warn(missing_docs)]

mod batch;
pub mod clock;
pub mod connector;
mod data;
pub mod engine;
mod error;
mod exchange;
pub mod join;
pub mod operator;
mod plan;
pub mod sink;
pub mod snapshot;
pub mod source;
mod spill;
pub mod state;
mod stream;
mod task;
pub mod testing;
mod time;
pub mod window;

pub use batch::{BATCH_RECORDS, Batch};
pub use data::{Data, Key};
pub use error::{Context, Error, Kind, Result};
pub use exchange::remote::{Incoming, LinkCounts, Links, Outgoing};
pub use stream::{
    Args, Environment, Job, JobSettings, KeyedStream, MigratingStream, Secret, SourceStream, Stream,
};
pub use task::{Barrier, Counters, Doorbell, SplitSeen, TaskInfo, probe};
pub use time::{Timestamp, Watermarks};
