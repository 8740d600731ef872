//! The name of a `StreamSnapshot` in `spec.restore` becomes its address, once for each spec.
//!
//! Received from: [`super::fetch`]. Handed to: [`super::accepted`], which keeps the address. Pure.
//! Invariant: a spec that is in force goes on with the address that it had, whatever becomes of the
//! object.

use millstream_protocol::job::RestoreSpec;

use super::accepted::Accepted;
use crate::crd::StreamSnapshot;

/// Puts the address in the place of the name; or says why there is none.
pub(super) fn resolve(
    restore: &mut RestoreSpec,
    in_force: Option<&Accepted>,
    named: Option<&StreamSnapshot>,
) -> Result<(), String> {
    let Some(name) = restore.snapshot_name.take() else { return Ok(()) };
    if let Some(accepted) = in_force {
        restore.uri.clone_from(&accepted.spec.restore.uri);
        return Ok(());
    }
    let status = named.map(|snapshot| snapshot.status.clone().unwrap_or_default());
    let (uri, why) = match status {
        Some(status) => (status.uri, status.phase.map_or("new".to_owned(), |it| format!("{it:?}"))),
        None => {
            return Err(format!(
                "spec.restore.snapshotName: there is no StreamSnapshot {name} in this namespace: \
                 create it, or write another name"
            ));
        }
    };
    restore.uri = uri;
    if restore.uri.is_some() {
        return Ok(());
    }
    Err(format!(
        "spec.restore.snapshotName: the StreamSnapshot {name} is {why}: wait until it is \
         Completed, or write another name"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::validate::validate;
    use crate::testing::{self, yaml};

    fn named(status: &str) -> StreamSnapshot {
        yaml(&format!(
            "apiVersion: millstream.dev/v1alpha1\nkind: StreamSnapshot\nmetadata: {{name: \
             before}}\nspec: {{jobRef: {{name: averages}}}}\nstatus: {{{status}}}"
        ))
    }

    fn spec() -> RestoreSpec {
        yaml("{from: Snapshot, snapshotName: before, request: 1}")
    }

    #[test]
    fn a_name_becomes_an_address_when_the_snapshot_is_there() {
        let done = named("phase: Completed, uri: 's3://b/p/plants/averages/log/9'");
        let mut restore = spec();
        assert_eq!(resolve(&mut restore, None, Some(&done)), Ok(()));
        assert_eq!(restore.uri.as_deref(), Some("s3://b/p/plants/averages/log/9"));
        assert_eq!(restore.snapshot_name, None);
        let said = resolve(&mut spec(), None, None).unwrap_err();
        assert!(said.contains("there is no StreamSnapshot before"), "{said}");
        let said = resolve(&mut spec(), None, Some(&named("phase: Failed"))).unwrap_err();
        assert!(said.contains("is Failed"), "{said}");
        let mut other = RestoreSpec::default();
        assert_eq!(resolve(&mut other, None, None), Ok(()));
        assert_eq!(other, RestoreSpec::default());
    }

    #[test]
    fn a_spec_in_force_goes_on_when_the_object_is_deleted() {
        let text =
            "snapshots: {store: 's3://b/p'}\nrestore: {from: Snapshot, snapshotName: before}";
        let job = testing::job("averages", text);
        let mut valid = validate(&job, &testing::operator()).unwrap();
        let done = named("phase: Completed, uri: 's3://b/p/plants/averages/log/9'");
        resolve(&mut valid.spec.restore, None, Some(&done)).unwrap();
        let accepted = Accepted::of(&valid);
        let mut again = job.spec.job.restore.clone();
        assert_eq!(resolve(&mut again, Some(&accepted), None), Ok(()));
        assert_eq!(again, accepted.spec.restore);
    }
}
