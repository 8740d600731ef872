//! The definitions of our resources: for `kubectl apply`, for the chart, for who reads about them.
//!
//! Received from: [`millstream_operator::crd`]. Handed to: [`super::run`].

use anyhow::{Context, Result};
use millstream_operator::crd;
use serde_json::{Value, json};

use super::Made;
use crate::yaml;

const FROM: &str = "operator/src/crd";
/// Where the definitions of the last release lie.
const RELEASED: &str = "operator/tests/released";

/// What the chart sets beside the definition: whether it is there, and stays when the chart goes.
const CHART_OPENS: &str = "{{- if .Values.crds.install }}\n";
const CHART_KEEPS: &str =
    "    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n";
const CHART_LABELS: &str = "  labels:\n    {{- include \"millstream.labels\" . | nindent 4 }}\n";
const CHART_ENDS: &str = "{{- end }}\n";
/// The mark of the place in the definition where the chart puts its own.
const MARK: &str = "millstream.dev/chart";

/// Definitions and pages.
pub(super) fn made() -> Result<Vec<Made>> {
    let mut all = Vec::new();
    for (plural, definition) in definitions()? {
        let text = yaml::write(&definition)?;
        all.push(Made { path: format!("crds/{plural}.yaml"), text, from: FROM });
        let text = template(definition).with_context(|| plural.clone())?;
        let path = format!("charts/millstream/templates/crds/{plural}.yaml");
        all.push(Made { path, text, from: FROM });
    }
    let pages =
        crd::page::all().map(|(path, text)| Made { path: path.to_owned(), text, from: FROM });
    all.extend(pages);
    Ok(all)
}

/// The definitions as a release notes them.
pub(super) fn released() -> Result<Vec<Made>> {
    let mut all = Vec::new();
    for (plural, definition) in definitions()? {
        let text = serde_json::to_string_pretty(&definition)? + "\n";
        all.push(Made { path: format!("{RELEASED}/{plural}.json"), text, from: FROM });
    }
    Ok(all)
}

fn definitions() -> Result<Vec<(String, Value)>> {
    let named = |definition| {
        let value = serde_json::to_value(&definition)?;
        let plural = value["spec"]["names"]["plural"].as_str().context("no plural")?.to_owned();
        Ok((plural, value))
    };
    crd::definitions().into_iter().map(named).collect()
}

/// A definition as a template of the chart.
fn template(mut definition: Value) -> Result<String> {
    definition["metadata"]["annotations"] = json!({ MARK: "" });
    let text = yaml::write(&definition)?;
    anyhow::ensure!(!text.contains("{{"), "helm would read the braces of a description");
    let mark = format!("  annotations:\n    {MARK}: ''\n");
    anyhow::ensure!(text.contains(&mark), "no place for the chart's annotations");
    let own = format!(
        "{CHART_LABELS}  annotations:\n{CHART_KEEPS}    {MARK}: {{{{ .Chart.Version | quote }}}}\n"
    );
    Ok(format!("{CHART_OPENS}{}{CHART_ENDS}", text.replace(&mark, &own)))
}
