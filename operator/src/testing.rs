//! Jobs and operators for tests.

use serde::de::DeserializeOwned;

use crate::crd::StreamJob;
use crate::reconcile::operator::Operator;

/// A value from YAML: the one place that reads it, in the tests of this crate.
pub(crate) fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// A job as an API server keeps it.
pub(crate) fn job(name: &str, spec: &str) -> StreamJob {
    let spec = spec.replace('\n', "\n  ");
    yaml(&format!(
        "apiVersion: millstream.dev/v1alpha1\nkind: StreamJob\nmetadata: {{name: {name}, \
         namespace: plants, uid: 6a6f6273-0000-4000-8000-000000000001, generation: 3}}\n\
         spec:\n  {spec}\n"
    ))
}

/// An operator as the chart installs it.
pub(crate) fn operator() -> Operator {
    Operator {
        namespace: "millstream-system".into(),
        pod_labels: [("app.kubernetes.io/name".into(), "millstream-operator".into())].into(),
        worker_image: Some("registry.example/millstream/worker:1".into()),
        fs_group: None,
    }
}
