//! What the operator has asked the API server for, counted.

use std::collections::BTreeMap;
use std::fmt;

use millstream_e2e::stage::{RELEASE, SYSTEM};
use serde_json::Value;

/// Requests that have ended, by verb and resource.
pub(crate) struct Counts(BTreeMap<String, u64>);

/// Counts those of the operator.
pub(crate) fn count(requests: &[Value]) -> Counts {
    let account = format!("system:serviceaccount:{SYSTEM}:{RELEASE}");
    let mut counts = BTreeMap::new();
    for request in requests {
        if request["user"]["username"] != *account || request["stage"] != "ResponseComplete" {
            continue;
        }
        let on = &request["objectRef"];
        let word = |of: &Value| of.as_str().unwrap_or_default().to_owned();
        let part = on["subresource"].as_str().map(|it| format!("/{it}")).unwrap_or_default();
        let what = format!("{} {}{part}", word(&request["verb"]), word(&on["resource"]));
        *counts.entry(what).or_insert(0) += 1;
    }
    Counts(counts)
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>10}  {what}")?;
        }
        write!(f, "{:>10}  in all", self.total())
    }
}
