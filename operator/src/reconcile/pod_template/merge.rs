//! [`merge`]: a user's pod template over ours.
//!
//! Received from: [`crate::reconcile::build`]. Pure.
//!
//! Guarantees: what the user says goes before; what the user does not name stays; null takes ours
//! away, but for what a pod cannot be without. Lists whose items have a key, as Kubernetes'
//! strategic merge knows them, are merged item by item: ours in their order, then what is new.
//! All other lists are replaced.

use serde_json::{Map, Value};

/// The fields that say which of several things an object is: naming one takes the others away.
const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];

/// What null does not take away: it is what is left of a mapping whose lines were all deleted.
const KEPT: [&str; 4] = ["containers", "labels", "metadata", "spec"];

/// How the items of a list are merged.
enum Items {
    /// Equal keys are one item: its fields are merged.
    Merged(&'static [&'static str]),
    /// Equal keys are one item: the user's takes the place of ours. So with items that are one of
    /// several kinds, as a volume or a variable.
    Replaced(&'static [&'static str]),
}

fn items_of(list: &str) -> Option<Items> {
    Some(match list {
        "containers" | "initContainers" => Items::Merged(&["name"]),
        "env" | "volumes" | "imagePullSecrets" => Items::Replaced(&["name"]),
        // A volume may be mounted twice; what is mounted at a path is one.
        "volumeMounts" => Items::Replaced(&["mountPath"]),
        "volumeDevices" => Items::Replaced(&["devicePath"]),
        "ports" => Items::Merged(&["containerPort"]),
        "hostAliases" => Items::Replaced(&["ip"]),
        "tolerations" => Items::Replaced(&["key", "effect"]),
        "topologySpreadConstraints" => Items::Replaced(&["topologyKey", "whenUnsatisfiable"]),
        _ => return None,
    })
}

/// The user's template over ours.
pub fn merge(ours: Value, users: &Value) -> Value {
    match (ours, users) {
        (Value::Object(ours), Value::Object(users)) => Value::Object(objects(ours, users)),
        (_, users) => users.clone(),
    }
}

fn objects(mut ours: Map<String, Value>, users: &Map<String, Value>) -> Map<String, Value> {
    if HANDLERS.iter().any(|handler| users.get(*handler).is_some_and(|it| !it.is_null())) {
        ours.retain(|name, _| !HANDLERS.contains(&name.as_str()) || users.contains_key(name));
    }
    for (name, value) in users {
        if value.is_null() {
            if !KEPT.contains(&name.as_str()) {
                ours.remove(name);
            }
            continue;
        }
        let merged = match (ours.remove(name), items_of(name)) {
            (Some(Value::Array(ours)), Some(items)) if value.is_array() => {
                Value::Array(lists(ours, value.as_array().expect("it was looked at"), &items))
            }
            (Some(ours), _) => merge(ours, value),
            (None, _) => value.clone(),
        };
        ours.insert(name.clone(), merged);
    }
    ours
}

fn lists(mut ours: Vec<Value>, users: &[Value], items: &Items) -> Vec<Value> {
    let (Items::Merged(key) | Items::Replaced(key)) = items;
    for value in users {
        let same = |other: &Value| key.iter().all(|field| other.get(*field) == value.get(*field));
        match (ours.iter_mut().find(|other| same(other)), items) {
            (Some(other), Items::Merged(_)) => *other = merge(other.take(), value),
            (Some(other), Items::Replaced(_)) => *other = value.clone(),
            (None, _) => ours.push(value.clone()),
        }
    }
    ours
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_users_fields_go_before_and_null_takes_ours_away() {
        let ours = json!({"a": {"b": 1, "c": 2}, "d": 3, "list": [1, 2]});
        let users = json!({"a": {"b": 9}, "d": null, "e": 5, "list": [3]});
        assert_eq!(merge(ours, &users), json!({"a": {"b": 9, "c": 2}, "e": 5, "list": [3]}));
    }

    #[test]
    fn containers_are_merged_by_name_and_new_ones_come_behind() {
        let ours = json!({"containers": [{"name": "worker", "args": ["serve"], "env": [
            {"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]});
        let users = json!({"containers": [
            {"name": "sidecar", "image": "x"},
            {"name": "worker", "resources": {"limits": {"cpu": 2}}, "env": [
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "C", "value": "3"}], "newField": {"later": true}}]});
        let merged = merge(ours, &users);
        assert_eq!(
            merged,
            json!({"containers": [
                {"name": "worker", "args": ["serve"], "resources": {"limits": {"cpu": 2}},
                 "newField": {"later": true}, "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    {"name": "C", "value": "3"}]},
                {"name": "sidecar", "image": "x"}]})
        );
    }

    #[test]
    fn a_volume_is_of_one_kind_and_a_path_has_one_mount() {
        let ours = json!({"volumes": [{"name": "tmp", "emptyDir": {}}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]});
        let users = json!({"volumes": [{"name": "tmp", "ephemeral": {}}, {"name": "tls"}],
            "volumeMounts": [
                {"name": "scratch", "mountPath": "/tmp"},
                {"name": "tls", "mountPath": "/a"}, {"name": "tls", "mountPath": "/b"}]});
        let merged = merge(ours, &users);
        assert_eq!(merged["volumes"], json!([{"name": "tmp", "ephemeral": {}}, {"name": "tls"}]));
        assert_eq!(merged["volumeMounts"], users["volumeMounts"]);
    }

    #[test]
    fn a_probe_of_another_kind_takes_the_place_of_ours_and_keeps_our_times() {
        let ours = json!({"livenessProbe": {"httpGet": {"path": "/livez"}, "periodSeconds": 10}});
        let users = json!({"livenessProbe": {"exec": {"command": ["true"]}}});
        assert_eq!(
            merge(ours.clone(), &users)["livenessProbe"],
            json!({"exec": {"command": ["true"]}, "periodSeconds": 10})
        );
        let users = json!({"livenessProbe": {"httpGet": {"path": "/x"}, "failureThreshold": 9}});
        assert_eq!(
            merge(ours, &users)["livenessProbe"],
            json!({"httpGet": {"path": "/x"}, "periodSeconds": 10, "failureThreshold": 9})
        );
    }

    #[test]
    fn a_toleration_is_replaced_by_key_and_effect() {
        let lost = |seconds| {
            json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute",
                   "operator": "Exists", "tolerationSeconds": seconds})
        };
        let gpu = json!({"key": "gpu", "operator": "Exists"});
        let ours = json!({"tolerations": [lost(30)]});
        let merged = merge(ours, &json!({"tolerations": [gpu, lost(300)]}));
        assert_eq!(merged["tolerations"], json!([lost(300), gpu]));
    }
}
