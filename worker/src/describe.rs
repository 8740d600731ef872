//! `describe`: the plan of a job, for people, programs and Graphviz.

use std::fmt::Write;

use millstream_dataflow::engine::plan_of;
use millstream_dataflow::{Error, Result};
use millstream_protocol::job::{API_VERSION, JobSpec, KIND, Metadata, StreamJob};
use millstream_protocol::plan::{Guarantee, Plan, PlanOperator, Role};

use crate::cli;
use crate::config;
use crate::program::Programs;

/// A schema that is no longer than this is shown whole: about two lines.
const SCHEMA_MAX: usize = 160;

/// The plan of a job as text.
pub(crate) fn describe(programs: &Programs, args: &cli::Describe) -> Result<String> {
    let job = match &args.job {
        Some(path) => config::read_job(path, &args.sets)?,
        None => nameless(),
    };
    // With the checks of a run; a run here is of one worker unless told otherwise, a plan of all.
    let workers = Some(job.spec.workers).filter(|workers| *workers > 0);
    let local = config::local(job, (workers, args.threads), false, 0)?;
    let spec = &local.job.spec;
    let threads = local.threads.saturating_mul(spec.workers);
    let plan = plan_of(&programs.build(spec)?, threads)?;
    if args.json {
        let text = serde_json::to_string_pretty(&plan);
        return Ok(text.map_err(|error| Error::bug(error.to_string()))? + "\n");
    }
    Ok(if args.dot { dot(&plan) } else { text(&plan) })
}

/// The job of a program that needs none.
fn nameless() -> StreamJob {
    let metadata = Metadata { name: "job".to_owned(), ..Metadata::default() };
    let (api_version, kind) = (API_VERSION.to_owned(), KIND.to_owned());
    StreamJob { api_version, kind, metadata, spec: JobSpec::default() }
}

fn role(operator: &PlanOperator) -> &'static str {
    match operator.role {
        Role::Source => "source",
        Role::Operator => "",
        Role::Sink(Guarantee::ExactlyOnce) => "sink, exactly once",
        Role::Sink(Guarantee::AtLeastOnce) => "sink, at least once",
    }
}

fn text(plan: &Plan) -> String {
    let mut out = String::new();
    for operator in &plan.operators {
        let role = role(operator);
        let role = if role.is_empty() { String::new() } else { format!(" ({role})") };
        let _ =
            writeln!(out, "{}  {}{role}  x{}", operator.id, operator.method, operator.parallelism);
        for edge in plan.edges.iter().filter(|edge| edge.to == operator.id) {
            let kind = format!("{:?}", edge.kind).to_lowercase();
            let _ = writeln!(out, "    from {} by {kind}", edge.from);
        }
        for state in &operator.states {
            let _ = writeln!(
                out,
                "    state {} ({}): {}",
                state.name,
                state.kind,
                brief(&state.schema)
            );
            for from in operator.migrated_from(&state.name) {
                let _ = writeln!(out, "        or migrated from {}", brief(from));
            }
        }
    }
    let _ = writeln!(out, "fingerprint {}", plan.fingerprint());
    out
}

/// A schema; of a long one, without the fields of the types that it names.
fn brief(schema: &str) -> String {
    match schema.split_once(" where ") {
        Some((root, _)) if schema.len() > SCHEMA_MAX => {
            format!("{root} where .. (--json has it whole)")
        }
        _ => schema.to_owned(),
    }
}

fn dot(plan: &Plan) -> String {
    let mut out = String::from("digraph job {\n  rankdir=LR;\n  node [shape=box];\n");
    for operator in &plan.operators {
        let _ = writeln!(
            out,
            "  {:?} [label=\"{}\\n{} x{}\"];",
            operator.id.as_str(),
            operator.id,
            operator.method,
            operator.parallelism
        );
    }
    for edge in &plan.edges {
        let kind = format!("{:?}", edge.kind).to_lowercase();
        let (from, to) = (edge.from.as_str(), edge.to.as_str());
        let _ = writeln!(out, "  {from:?} -> {to:?} [label=\"{kind}\"];");
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_schema_is_shown_without_the_fields_of_its_types() {
        let short = r#"{"TYPENAME":"R"} where {"R":{"STRUCT":[{"a":"U64"}]}}"#;
        assert_eq!(brief(short), short);
        let long = short.replace('a', &"a".repeat(SCHEMA_MAX));
        assert_eq!(brief(&long), r#"{"TYPENAME":"R"} where .. (--json has it whole)"#);
    }
}
