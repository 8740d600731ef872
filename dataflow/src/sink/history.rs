//! [`History`]: what a run's sinks are told of the runs before it.
//!
//! Made by whoever deploys the engine, who has read the job's log; read by the committers of sinks
//! whose output lies where an earlier run may still reach it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use millstream_protocol::id::{OperatorId, Run};
use millstream_protocol::log::Lineage;

use crate::error::Result;

/// What a run's sinks are told of the runs before it.
#[derive(Clone)]
pub struct History {
    /// The id of the history that the run continues: new on a fresh start, kept through restores.
    pub lineage: Lineage,
    /// The highest parallelism that each sink has had in any run of the job.
    pub sinks_ever: BTreeMap<OperatorId, u32>,
    /// Where the newest run is asked for.
    pub runs: Arc<dyn Runs>,
}

/// Knows the runs of the job, those of other processes too.
#[async_trait]
pub trait Runs: Send + Sync {
    /// The highest run that the job's log has a claim of, read at the time of the call.
    async fn highest(&self) -> Result<Run>;
}

/// A run that nothing came before, and that nobody will take over.
impl Default for History {
    fn default() -> Self {
        Self {
            lineage: Lineage::default(),
            sinks_ever: BTreeMap::new(),
            runs: Arc::new(NobodyElse),
        }
    }
}

struct NobodyElse;

#[async_trait]
impl Runs for NobodyElse {
    async fn highest(&self) -> Result<Run> {
        Ok(Run(0))
    }
}
