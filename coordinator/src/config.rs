//! What a coordinator is given: the job, the wish of this start, and a seed.
//!
//! Received from: the command line or the operator. Handed to: [`crate::machine::Machine`].
//! Invariant: the spec in it has passed [`validate::job`].

use millstream_protocol::job::{JobSpec, SnapshotsSpec, StreamJob};
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::path::JobPrefix;
use millstream_protocol::validate::{self, Problem};
use millstream_protocol::wish::Wish;

/// What a coordinator is given.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the job's objects lie.
    pub prefix: JobPrefix,
    /// What the job is.
    pub spec: JobSpec,
    /// How many key groups it has.
    pub key_groups: KeyGroups,
    /// What to start from. A wish without a request acts for the first claim of this coordinator.
    pub wish: Wish,
    /// The number of the spec, which an edit's must exceed.
    pub generation: u64,
    /// Makes nonces unique and spreads restarts. Random in production, fixed in tests.
    pub seed: u64,
}

impl Config {
    /// The configuration for a job as its user wrote it. `wish` overrides the spec's `restore`.
    pub fn new(job: &StreamJob, wish: Option<Wish>, seed: u64) -> Result<Self, Vec<Problem>> {
        let problems = validate::job(job);
        if !problems.is_empty() {
            return Err(problems);
        }
        let problem = |path: &str, message: String| vec![Problem { path: path.into(), message }];
        let spec = &job.spec;
        let store = spec
            .snapshots
            .store
            .parse()
            .map_err(|error| problem("spec.snapshots.store", format!("{error}")))?;
        let prefix = JobPrefix::new(store, &job.metadata.namespace, &job.metadata.name)
            .map_err(|error| problem("metadata.namespace", format!("{error}")))?;
        let wish = match wish {
            Some(wish) => wish,
            None => Wish::of(&spec.restore, &prefix).map_err(|problem| vec![problem])?,
        };
        let key_groups = spec.key_groups().expect("validation has checked the bounds");
        // Of what its pods are made is no concern of the tasks in them.
        let spec = JobSpec { pod_template: None, ..spec.clone() };
        Ok(Self { prefix, spec, key_groups, wish, generation: 1, seed })
    }

    /// The command that removes all that the job has in its store, for messages.
    pub fn deletion(&self) -> String {
        let SnapshotsSpec { endpoint, region, path_style, .. } = &self.spec.snapshots;
        let path_style = path_style.map(|it| it.to_string());
        let options = [("endpoint", endpoint), ("region", region), ("path-style", &path_style)];
        let given = options.into_iter().filter_map(|(option, value)| {
            value.as_ref().map(|value| format!(" --{option} {value}"))
        });
        let given: String = given.collect();
        format!("snapshots delete {} --yes{given}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::job::{API_VERSION, KIND, Metadata};

    use super::*;

    #[test]
    fn a_spec_with_a_mistake_makes_no_coordinator() {
        let mut job = StreamJob {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            metadata: Metadata { name: "averages".into(), ..Metadata::default() },
            spec: JobSpec::default(),
        };
        assert_eq!(Config::new(&job, None, 1).unwrap_err()[0].path, "spec.snapshots.store");
        job.spec.snapshots.store = "file:///var/s".into();
        let config = Config::new(&job, Some(Wish::Empty { request: None }), 1).unwrap();
        assert_eq!(config.prefix.to_string(), "file:///var/s/default/averages/");
        assert_eq!(config.deletion(), "snapshots delete file:///var/s/default/averages/ --yes");
        job.spec.snapshots.store = "s3://b".into();
        job.spec.snapshots.endpoint = Some("http://h:1".into());
        job.spec.snapshots.path_style = Some(true);
        let config = Config::new(&job, None, 1).unwrap();
        assert!(config.deletion().ends_with(" --yes --endpoint http://h:1 --path-style true"));
        job.metadata.namespace = "Team/One".into();
        assert_eq!(Config::new(&job, None, 1).unwrap_err()[0].path, "metadata.namespace");
    }
}
