//! The reference pages of the resources, in Markdown.
//!
//! Received from: the texts below `page/`, and what stands in the place of their lines with `@`:
//! the definitions ([`super::definitions`]), the words of [`millstream_protocol::field`],
//! [`super::rules`] and [`super::condition`]. Handed to: `cargo xtask generate`, which writes them
//! into `docs/reference`. Invariant: every field, rule and condition is on a page, since the page
//! is made of them.

mod cell;

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use millstream_protocol::field::{Edit, FIELDS, Field};

use super::condition::{ALL, Condition};
use super::rules::{OF_JOB, OF_SNAPSHOT, Rule};
use super::schema::{get, schema_of};
use cell::{default, kind, said};

const MADE: &str =
    "<!-- Made by `cargo xtask generate`: change what it is made of, in operator/src/crd. -->\n";

/// A page: where it lies in the repository, and its text.
pub type Page = (&'static str, String);

/// All pages.
pub fn all() -> [Page; 3] {
    let [job, snapshot] = super::definitions();
    let (job, snapshot) = (schema_of(&job), schema_of(&snapshot));
    let page = |text, root, rules| format!("{MADE}{}", filled(text, root, rules));
    [
        ("docs/reference/streamjob.md", page(include_str!("page/streamjob.txt"), job, OF_JOB)),
        (
            "docs/reference/streamjob-status.md",
            page(include_str!("page/streamjob-status.txt"), job, OF_JOB),
        ),
        (
            "docs/reference/streamsnapshot.md",
            page(include_str!("page/streamsnapshot.txt"), snapshot, OF_SNAPSHOT),
        ),
    ]
}

/// A text, with tables where its lines with `@` ask for them.
fn filled(text: &str, root: &JSONSchemaProps, rules: &[Rule]) -> String {
    let mut page = String::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let table = match words.next() {
            Some("@fields") => fields(root, &words.collect::<Vec<_>>()),
            Some("@below") => below(root, &words.collect::<Vec<_>>()),
            Some("@conditions") => conditions(),
            Some("@rules") => refusals(rules),
            _ => format!("{line}\n"),
        };
        page += &table;
    }
    page
}

/// The fields of a job whose paths begin so.
fn fields(root: &JSONSchemaProps, starts: &[&str]) -> String {
    let mut table = "| Field | Type | Default | What it is | In a local run | A change |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    let is_here = |field: &&Field| starts.iter().any(|start| field.path.starts_with(start));
    for field in FIELDS.iter().filter(is_here) {
        table += &row(root, field);
    }
    table
}

fn row(root: &JSONSchemaProps, field: &Field) -> String {
    let Field { path, is, example, edit, local } = *field;
    // Of the object itself a schema says nothing.
    let schema = get(root, path.trim_end_matches(".*")).filter(|_| path.starts_with("spec."));
    let (kind, default, said) = match schema {
        Some(schema) => (kind(schema), default(schema, is_required(root, path)), said(schema)),
        None if path == "metadata.namespace" => {
            ("text".to_owned(), "`default`".to_owned(), is.to_owned())
        }
        None => {
            ("text".to_owned(), "must be there".to_owned(), format!("{is}, such as `{example}`"))
        }
    };
    let said = said.replace(edit.words(), "");
    let change = match edit {
        Edit::Fixed => "fixed",
        Edit::Live => "live",
        Edit::Tasks => "tasks",
        Edit::Pods => "pods",
        Edit::Wish => "wish",
    };
    format!("| `{path}` | {kind} | {default} | {} | {local} | {change} |\n", said.trim())
}

fn is_required(root: &JSONSchemaProps, path: &str) -> bool {
    let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
    let required = get(root, above).and_then(|schema| schema.required.as_ref());
    required.is_some_and(|required| required.iter().any(|there| there == name))
}

/// All fields below these.
fn below(root: &JSONSchemaProps, paths: &[&str]) -> String {
    let mut table = "| Field | Type | What it is |\n|---|---|---|\n".to_owned();
    for path in paths {
        table += &rows(path, get(root, path).expect("the text names what the resource has"));
    }
    table
}

fn rows(path: &str, schema: &JSONSchemaProps) -> String {
    let mut rows = String::new();
    for (name, below) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let _ = writeln!(rows, "| `{path}` | {} | {} |", kind(below), said(below));
        // What a condition is, is said by its type.
        let is_list = matches!(below.items, Some(JSONSchemaPropsOrArray::Schema(_)));
        if !is_list {
            rows += &self::rows(&path, below);
        }
    }
    rows
}

fn conditions() -> String {
    let mut table =
        "| Type | True is | `True` says that | Reasons |\n|---|---|---|---|\n".to_owned();
    for Condition { name, good_when_true, says, reasons } in ALL {
        let good = if good_when_true { "good" } else { "bad, or passing" };
        let reasons: Vec<_> = reasons.iter().map(|reason| format!("`{reason}`")).collect();
        let _ = writeln!(table, "| `{name}` | {good} | {says} | {} |", reasons.join(", "));
    }
    table
}

/// What the API server says of what it refuses.
fn refusals(rules: &[Rule]) -> String {
    let mut table = "| What it says | Where |\n|---|---|\n".to_owned();
    for Rule { at, rule: _, message } in rules {
        let at = if at.is_empty() { "the object" } else { &format!("`{at}`") };
        let _ = writeln!(table, "| {} | {at} |", message.replace('|', "\\|"));
    }
    table
}
