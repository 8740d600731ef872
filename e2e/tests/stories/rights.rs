//! What the operator has asked the API server for in the stories before: it was allowed all of it,
//! and the chart allows nothing else; the page of its rights lists them all.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use millstream_e2e::cluster::repository;
use millstream_e2e::stage::{RELEASE, SYSTEM, Stage};
use millstream_e2e::story::Story;
use serde_json::Value;

/// The stories that must be told before: those that use the rights that not every job does.
pub(crate) const NEEDS: [&str; 5] = ["upgraded", "suspended", "faults", "deleted", "savepoint"];
/// Rights that no request shows.
const UNSEEN: [(&str, &str); 1] = [
    // The admission of an owner reference asks whether it is there.
    ("millstream.dev/streamjobs/finalizers", "update"),
];

/// On what, and the verb.
type Right = (String, String);

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let requests = stage.cluster.requests()?;
    let used = used(&requests)?;
    story.say(&format!("{} rights were used", used.len()));
    let granted = granted(stage)?;
    let unseen = UNSEEN.map(|(on, verb)| (on.to_owned(), verb.to_owned()));
    for right in &unseen {
        ensure!(granted.contains(right) && !used.contains(right), "{right:?} is not so");
    }
    let unused: Vec<_> =
        granted.iter().filter(|it| !used.contains(*it) && !unseen.contains(*it)).collect();
    ensure!(unused.is_empty(), "no story uses {unused:?}: take them out of the chart");
    story.say(&format!("all {} that the chart gives are needed", granted.len()));
    let listed = listed()?;
    ensure!(
        listed == granted,
        "docs/operate/security.md and the chart differ in {:?}",
        listed.symmetric_difference(&granted).collect::<Vec<_>>()
    );
    Ok(())
}

fn right(group: &str, resource: &str, verb: &str) -> Right {
    let group = if group.is_empty() { String::new() } else { format!("{group}/") };
    (format!("{group}{resource}"), verb.to_owned())
}

/// What the operator asked for; all of it was allowed.
fn used(requests: &[Value]) -> Result<BTreeSet<Right>> {
    let account = format!("system:serviceaccount:{SYSTEM}:{RELEASE}");
    let mut used = BTreeSet::new();
    let mut is_installed = true;
    for request in requests {
        is_installed = gives(request).unwrap_or(is_installed);
        if request["user"]["username"] != *account {
            continue;
        }
        let is_allowed = !is_forbidden(request) || !is_installed;
        ensure!(is_allowed, "the operator was not allowed {request}");
        let on = &request["objectRef"];
        // What is asked of the API server itself, as for its version, all may ask.
        let Some(resource) = on["resource"].as_str() else { continue };
        let resource = match on["subresource"].as_str() {
            Some(part) => format!("{resource}/{part}"),
            None => resource.to_owned(),
        };
        let group = on["apiGroup"].as_str().unwrap_or_default();
        let verb = request["verb"].as_str().context("a request without a verb")?;
        used.insert(right(group, &resource, verb));
        // An apply of what was not there.
        if verb == "patch" && request["responseStatus"]["code"] == 201 {
            used.insert(right(group, &resource, "create"));
        }
    }
    ensure!(!used.is_empty(), "nothing that {account} has asked for is in the audit log");
    Ok(used)
}

/// Whether this gives the operator its rights, or takes them: a release that is uninstalled has
/// them no more while its operator ends.
fn gives(request: &Value) -> Option<bool> {
    let on = &request["objectRef"];
    let is_binding = ["rolebindings", "clusterrolebindings"].iter().any(|it| on["resource"] == *it);
    let is_own = on["name"].as_str().is_some_and(|it| it.starts_with(RELEASE));
    match request["verb"].as_str().filter(|_| is_binding && is_own)? {
        "create" => Some(true),
        "delete" => Some(false),
        _ => None,
    }
}

/// For want of a right. Where a namespace goes, nothing new is taken from anybody.
fn is_forbidden(request: &Value) -> bool {
    let said = request["responseStatus"]["message"].as_str().unwrap_or_default();
    request["responseStatus"]["code"] == 403 && !said.contains("because it is being terminated")
}

/// What the operator's service account may do, by whatever role.
fn granted(stage: &Stage) -> Result<BTreeSet<Right>> {
    let items = |arguments: &[&str]| -> Result<Vec<Value>> {
        let mut all = stage.cluster.json(arguments)?;
        Ok(all["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    };
    let bindings = ["get", "clusterrolebindings,rolebindings", "--all-namespaces"];
    let roles = items(&["get", "clusterroles,roles", "--all-namespaces"])?;
    let is_account = |it: &Value| {
        it["kind"] == "ServiceAccount" && it["name"] == RELEASE && it["namespace"] == SYSTEM
    };
    let mut granted = BTreeSet::new();
    for binding in items(&bindings)? {
        if !list(&binding["subjects"]).iter().any(is_account) {
            continue;
        }
        let named = &binding["roleRef"];
        let is_named = |it: &&Value| {
            let is_near = it["kind"] == "ClusterRole"
                || it["metadata"]["namespace"] == binding["metadata"]["namespace"];
            it["kind"] == named["kind"] && it["metadata"]["name"] == named["name"] && is_near
        };
        let role = roles.iter().find(is_named).with_context(|| format!("no role {named}"))?;
        for rule in list(&role["rules"]) {
            granted.extend(rights(rule));
        }
    }
    ensure!(!granted.is_empty(), "{RELEASE} in {SYSTEM} may do nothing");
    Ok(granted)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn rights(rule: &Value) -> Vec<Right> {
    let words = |field: &str| list(&rule[field]).iter().filter_map(Value::as_str);
    let mut rights = Vec::new();
    for group in words("apiGroups") {
        for resource in words("resources") {
            rights.extend(words("verbs").map(|verb| right(group, resource, verb)));
        }
    }
    rights
}

/// The rights in the table of the page.
fn listed() -> Result<BTreeSet<Right>> {
    let page = std::fs::read_to_string(repository().join("docs/operate/security.md"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    let rights = rows.filter_map(|(on, rest)| Some((on, rest.split_once("` | ")?.0)));
    Ok(rights.map(|(on, verb)| (on.to_owned(), verb.to_owned())).collect())
}
