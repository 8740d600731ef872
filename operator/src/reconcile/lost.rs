//! Pods that are lost with their node: their objects stay until somebody says that they are gone,
//! and no other pod takes their place before.
//!
//! Received from: [`super::fetch`]. Handed to: [`super::apply`], which deletes them at once.
//! Pure. Invariant: only a pod that was asked to end is given up. It may run on, behind a cut: what
//! it writes then does not count, since the log fences its run.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use millstream_protocol::time::Timestamp;

/// A pod may be late by so much: its node says that it is gone, and clocks differ.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pod that is asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Its object's name.
    pub(super) pod: String,
    /// Which object of that name it is.
    pub(super) uid: String,
    /// When it is given up.
    pub(super) until: Timestamp,
}

/// When a pod is given up, if it is asked to end.
pub(super) fn leaving(pod: &Pod) -> Option<Leaving> {
    let end = pod.metadata.deletion_timestamp.as_ref()?.0.as_millisecond();
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0);
    // The node is not heard of, so that nobody asks the pod, which need not be waited for.
    let begun = if is_evicted(pod) { end.saturating_sub(grace.saturating_mul(1000)) } else { end };
    let until = Timestamp(begun.saturating_add(PATIENCE.as_millis() as i64));
    Some(Leaving { pod: pod.name_any(), uid: pod.uid().unwrap_or_default(), until })
}

/// Whether it is deleted because its node is not reachable, or not ready.
fn is_evicted(pod: &Pod) -> bool {
    let mut all = pod.status.iter().flat_map(|it| it.conditions.iter().flatten());
    all.any(|it| {
        it.type_ == "DisruptionTarget"
            && it.status == "True"
            && it.reason.as_deref() == Some("DeletionByTaintManager")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    const LEAVES: &str = "{metadata: {name: averages-1, uid: u, deletionTimestamp: \
                          '2026-11-26T12:01:00Z', deletionGracePeriodSeconds: 60}, status: \
                          {conditions: [{type: DisruptionTarget, status: 'True', reason: WHY}]}}";
    /// 2026-11-26T12:00:00Z.
    const ASKED: i64 = 1_795_694_400_000;

    fn until(pod: &str) -> Option<i64> {
        leaving(&yaml(pod)).map(|it| it.until.0 - ASKED)
    }

    #[test]
    fn a_pod_is_given_up_behind_its_grace() {
        assert_eq!(until(&LEAVES.replace("WHY", "EvictionByEvictionAPI")), Some(70_000));
        assert_eq!(until("{metadata: {name: averages-1}}"), None, "nobody asked it to end");
    }

    #[test]
    fn one_whose_node_is_lost_has_no_grace() {
        let lost = LEAVES.replace("WHY", "DeletionByTaintManager");
        assert_eq!(until(&lost), Some(10_000));
        assert_eq!(leaving(&yaml(&lost)).unwrap().uid, "u");
        assert_eq!(until(&lost.replace("'True'", "'False'")), Some(70_000));
    }
}
