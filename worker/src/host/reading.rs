//! Reading the shares of a snapshot that the tasks of one worker begin with.
//!
//! Called by [`super::Host`], before its engine is built.

use std::time::Duration;

use millstream_dataflow::Result;
use millstream_dataflow::snapshot::{Needs, Restore, RestoredPart};
use millstream_protocol::id::{Epoch, OperatorId, WorkerIndex};
use millstream_protocol::log::PartRef;

use crate::parts::{self, Places};
use crate::progress::{brief, short};
use crate::session::Worker;

/// What a restore read.
#[derive(Default)]
pub(super) struct ReadBytes {
    pub(super) from_store: u64,
    pub(super) from_disk: u64,
}

/// Reads every part that a manifest names, and checks each against it.
pub(super) async fn read_parts(
    places: Places<'_>,
    restore: Option<&millstream_protocol::session::Restore>,
    needs: &Needs,
) -> Result<(Restore, ReadBytes)> {
    let mut bytes = ReadBytes::default();
    let Some(from) = restore else { return Ok((Restore::default(), bytes)) };
    let mut restore = Restore::new(from.manifest.epoch, from.manifest.plan.clone());
    restore.committed = from.committed;
    let parts = || {
        from.manifest.operators.iter().flat_map(|operator| {
            let is_needed =
                |part: &&PartRef| needs.share(operator.id.as_str(), part.task, part.groups);
            operator.parts.iter().filter(is_needed)
        })
    };
    for (part, read) in parts().zip(parts::read_all(places, parts(), from.seq).await?) {
        *(if read.from_store { &mut bytes.from_store } else { &mut bytes.from_disk }) +=
            part.length;
        let read = RestoredPart::new(read.body, part.groups);
        restore.add(read.map_err(|error| {
            error.context(format!("{}/{}", places.store.describe(), part.object))
        })?);
    }
    Ok((restore, bytes))
}

/// Says how much of a snapshot was read, and from where.
pub(super) fn tell_read(
    worker: &Worker,
    index: WorkerIndex,
    epoch: Epoch,
    took: Duration,
    read: &ReadBytes,
) {
    tracing::info!(
        "{}: worker {index} read snapshot {epoch} in {}: {}B from the disk, {}B from the store",
        worker.job,
        brief(took),
        short(read.from_disk as f64),
        short(read.from_store as f64)
    );
}

/// Says which state is left behind by the job's leave.
pub(super) fn tell_dropped(job: &str, epoch: Epoch, dropped: &[(&OperatorId, Vec<&str>)]) {
    if dropped.is_empty() {
        return;
    }
    let each = dropped.iter().map(|(id, states)| format!("{id} ({})", states.join(", ")));
    let each = each.collect::<Vec<_>>().join(", ");
    let name = job.rsplit('/').next().unwrap_or(job);
    tracing::warn!("{name} drops state of snapshot {epoch}, as allowDroppedState lets it: {each}");
}
