//! Whether a job can be accepted as it is written, and what its coordinator is then given.
//!
//! Received from: [`super::step`]. Handed to: [`super::decide`], and whoever keeps coordinators.
//! Pure. Invariant: what is accepted makes a coordinator.

use millstream_coordinator::config::Config;
use uuid::Uuid;

use super::accepted::Accepted;
use super::decide::Live;
use super::operator::Operator;
use super::restore;
use super::validate::{Error, Owner, Valid, as_in_a_file, validate};
use crate::crd::{StreamJob, StreamSnapshot};

/// A job that can be accepted; or what is wrong with it, in words.
pub(super) fn valid(
    job: &StreamJob,
    operator: &Operator,
    live: Option<&Live>,
    named: Option<&StreamSnapshot>,
) -> Result<Result<Valid, String>, Error> {
    let mut valid = match validate(job, operator) {
        Ok(valid) => valid,
        Err(error @ Error::Invalid { .. }) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error),
    };
    let in_force = live.map(|live| &live.accepted).filter(|it| it.hash == valid.hash);
    let checked = restore::resolve(&mut valid.spec.restore, in_force, named);
    Ok(checked.and_then(|()| served(&valid)).map(|()| valid))
}

/// What no coordinator would take.
fn served(valid: &Valid) -> Result<(), String> {
    let job = as_in_a_file(&valid.owner, &valid.spec);
    Config::new(&job, None, 0)
        .map(drop)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// What a coordinator is given. A spec that was accepted makes one.
pub(super) fn config(owner: &Owner, accepted: &Accepted) -> Option<Config> {
    let job = as_in_a_file(owner, &accepted.spec);
    // Makes nonces unique from start to start.
    let seed = Uuid::new_v4().as_u64_pair().0;
    match Config::new(&job, None, seed) {
        Ok(config) => Some(Config { generation: accepted.generation as u64, ..config }),
        Err(problems) => {
            let Owner { namespace, name, .. } = owner;
            tracing::error!(namespace, job = name, ?problems, "the accepted spec has mistakes");
            None
        }
    }
}
