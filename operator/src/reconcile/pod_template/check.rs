//! What is wrong with a user's pod template, as far as we must know.
//!
//! Received from: [`crate::reconcile::validate`]. Pure. What else may be wrong with it the API
//! server says, of a trial run of the `StatefulSet` that was made of it.

use millstream_protocol::quantity;
use millstream_protocol::validate::Problem;
use serde_json::Value;

use super::worker;
use crate::names::{APP, JOB, LOCAL, MANAGED_BY, ROLE, TMPDIR, VARIABLE_PREFIX, WORKER};

/// Where a pod template stands in a job.
const HERE: &str = "spec.podTemplate";
/// What may stand in the metadata of a pod template.
const METADATA: [&str; 2] = ["annotations", "labels"];
/// Kinds of volumes that go with the pod.
const PASSING: [&str; 7] =
    ["configMap", "downwardAPI", "emptyDir", "ephemeral", "image", "projected", "secret"];

/// Everything that is wrong with a pod template.
pub fn problems(template: &Value) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    let Some(fields) = template.as_object() else {
        problems.add("", "is not a mapping: write {metadata: ..., spec: ...}");
        return problems.0;
    };
    for name in fields.keys().filter(|name| !["metadata", "spec"].contains(&name.as_str())) {
        problems.add(&format!(".{name}"), "is no field of a pod template: write metadata or spec");
    }
    problems.in_metadata(&template["metadata"]);
    for list in ["containers", "initContainers", "volumes"] {
        problems.in_list(&format!(".spec.{list}"), &template["spec"][list]);
    }
    if let Some((at, container)) = place(template) {
        problems.in_worker(&at, container);
    }
    problems.0
}

/// The worker's container, and where it stands.
fn place(template: &Value) -> Option<(String, &Value)> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    let index = containers.iter().position(|container| container["name"] == WORKER)?;
    Some((format!(".spec.containers[{index}]"), &containers[index]))
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, below: &str, message: impl Into<String>) {
        self.0.push(Problem { path: format!("{HERE}{below}"), message: message.into() });
    }

    fn in_metadata(&mut self, metadata: &Value) {
        let Some(fields) = metadata.as_object() else {
            if !metadata.is_null() {
                self.add(".metadata", "is not a mapping: write {labels: ..., annotations: ...}");
            }
            return;
        };
        for name in fields.keys().filter(|name| !METADATA.contains(&name.as_str())) {
            let message = "is not passed on: pods are named by their StatefulSet; write labels or \
                           annotations";
            self.add(&format!(".metadata.{name}"), message);
        }
        for name in [JOB, ROLE, MANAGED_BY, APP] {
            if metadata["labels"].get(name).is_some() {
                let message = "is set by the operator, which finds the pods by it: leave it out";
                self.add(&format!(".metadata.labels[{name}]"), message);
            }
        }
    }

    /// A list whose items have a name.
    fn in_list(&mut self, below: &str, list: &Value) {
        let Some(items) = list.as_array() else {
            if !list.is_null() {
                self.add(below, "is not a list: write one item per line, each with a name");
            }
            return;
        };
        for (index, item) in items.iter().enumerate() {
            let at = format!("{below}[{index}]");
            let Some(name) = item["name"].as_str() else {
                self.add(&format!("{at}.name"), "is missing: items are merged by their names");
                continue;
            };
            if items[..index].iter().any(|other| other["name"] == name) {
                self.add(&format!("{at}.name"), format!("{name} is there already: write it once"));
            }
        }
    }

    fn in_worker(&mut self, at: &str, container: &Value) {
        for (field, message) in [
            ("image", "has a field of its own: write spec.image"),
            ("args", "is what the operator starts a worker with: write spec.program.args"),
        ] {
            if container.get(field).is_some() {
                self.add(&format!("{at}.{field}"), message);
            }
        }
        self.in_list(&format!("{at}.env"), &container["env"]);
        for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
            let name = variable["name"].as_str().unwrap_or_default();
            if name.starts_with(VARIABLE_PREFIX) || name == TMPDIR {
                let message = format!("{name} is set by the operator: write another name");
                self.add(&format!("{at}.env[{index}].name"), message);
            }
        }
        for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate()
        {
            if mount["mountPath"] == LOCAL.1 {
                let message = format!(
                    "{} has the worker's own volume: write another path, or \
                     spec.state.localVolume",
                    LOCAL.1
                );
                self.add(&format!("{at}.volumeMounts[{index}].mountPath"), message);
            }
        }
        if let Some(limit) = container.pointer("/resources/limits/cpu")
            && cores(limit).is_none()
        {
            let message =
                format!("{limit} is not a quantity: write a number of cores, such as 2 or 500m");
            self.add(&format!("{at}.resources.limits.cpu"), message);
        }
    }
}

/// The CPU limit of the worker's container, in cores, rounded up; none where it has none.
pub fn cpu_limit(template: &Value) -> Option<u32> {
    cores(worker(template)?.pointer("/resources/limits/cpu")?)
}

fn cores(limit: &Value) -> Option<u32> {
    let text = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
    // Parts of a core count as one, and so do those of a byte.
    quantity::parse(&text).ok().and_then(|cores| u32::try_from(cores).ok())
}

/// Whether a path of the worker lies on a volume that outlives its pod.
pub fn has_shared_mount(template: &Value, path: &str) -> bool {
    let mounts = worker(template).and_then(|container| container["volumeMounts"].as_array());
    let holds = |mount: &&Value| {
        let at = mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/');
        path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // The innermost mount is what is seen at a path.
    let depth = |mount: &&Value| mount["mountPath"].as_str().map_or(0, str::len);
    let mount = mounts.into_iter().flatten().filter(holds).max_by_key(depth);
    let volumes = template.pointer("/spec/volumes").and_then(Value::as_array);
    let volume = mount.and_then(|mount| {
        volumes.into_iter().flatten().find(|volume| volume["name"] == mount["name"])
    });
    volume.is_some_and(|volume| PASSING.iter().all(|kind| volume.get(*kind).is_none()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(template: Value) -> Vec<String> {
        problems(&template).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn every_mistake_has_its_path() {
        let container = |fields: Value| {
            let mut container = json!({"name": "worker"});
            container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            json!({"spec": {"containers": [{"name": "other"}, container]}})
        };
        let at = "spec.podTemplate.spec.containers[1]";
        for (template, below) in [
            (json!([]), "spec.podTemplate".to_owned()),
            (json!({"containers": []}), "spec.podTemplate.containers".to_owned()),
            (json!({"metadata": {"name": "x"}}), "spec.podTemplate.metadata.name".to_owned()),
            (
                json!({"metadata": {"labels": {"millstream.dev/job": "x"}}}),
                "spec.podTemplate.metadata.labels[millstream.dev/job]".to_owned(),
            ),
            (
                json!({"spec": {"containers": [{"image": "x"}]}}),
                "spec.podTemplate.spec.containers[0].name".to_owned(),
            ),
            (
                json!({"spec": {"volumes": [{"name": "x"}, {"name": "x"}]}}),
                "spec.podTemplate.spec.volumes[1].name".to_owned(),
            ),
            (json!({"spec": {"volumes": {}}}), "spec.podTemplate.spec.volumes".to_owned()),
            (container(json!({"image": "x"})), format!("{at}.image")),
            (container(json!({"args": []})), format!("{at}.args")),
            (
                container(json!({"env": [{"name": "A"}, {"name": "MILLSTREAM_POD_IP"}]})),
                format!("{at}.env[1].name"),
            ),
            (container(json!({"env": [{"name": "TMPDIR"}]})), format!("{at}.env[0].name")),
            (
                container(json!({"volumeMounts": [{"mountPath": "/var/lib/millstream"}]})),
                format!("{at}.volumeMounts[0].mountPath"),
            ),
            (
                container(json!({"resources": {"limits": {"cpu": "lots"}}})),
                format!("{at}.resources.limits.cpu"),
            ),
        ] {
            assert_eq!(paths(template), [below]);
        }
        let good = container(json!({
            "command": ["/app"], "env": [{"name": "A"}], "resources": {"limits": {"cpu": 2}}}));
        assert_eq!(paths(good), [""; 0]);
    }

    #[test]
    fn parts_of_a_core_count_as_one() {
        let limit = |cpu: Value| {
            cpu_limit(&json!({"spec": {"containers": [
                {"name": "worker", "resources": {"limits": {"cpu": cpu}}}]}}))
        };
        assert_eq!(limit(json!("500m")), Some(1));
        assert_eq!(limit(json!("2500m")), Some(3));
        assert_eq!(limit(json!(4)), Some(4));
        assert_eq!(limit(json!(1.5)), Some(2));
        assert_eq!(cpu_limit(&json!({})), None);
    }

    #[test]
    fn only_what_outlives_the_pod_holds_snapshots() {
        let with = |volume: Value, mount: &str| {
            json!({"spec": {"volumes": [volume], "containers": [{"name": "worker",
                "volumeMounts": [{"name": "v", "mountPath": mount}]}]}})
        };
        let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "shared"}});
        assert!(has_shared_mount(&with(claim.clone(), "/data"), "/data/snapshots"));
        assert!(has_shared_mount(&with(claim.clone(), "/data/"), "/data"));
        assert!(!has_shared_mount(&with(claim.clone(), "/data"), "/database"));
        assert!(!has_shared_mount(&with(claim, "/other"), "/data"));
        let passing = json!({"name": "v", "emptyDir": {}});
        assert!(!has_shared_mount(&with(passing, "/data"), "/data"));
        assert!(!has_shared_mount(&json!({}), "/data"));
    }
}
