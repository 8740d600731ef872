//! Programs: what a binary registers, and those that the stock binary brings.

mod bird_strikes;
mod counter;
pub mod stock;
#[cfg(feature = "kafka")]
pub(crate) mod turnover;

use std::collections::BTreeMap;

use millstream_dataflow::{Args, Error, Job, JobSettings, Result};
use millstream_protocol::job::JobSpec;
use millstream_protocol::nearest::nearest;

use crate::config;

/// A function that builds a dataflow.
pub type Build = fn(&mut Job) -> Result<()>;

/// A program by its name.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What `spec.program.name` says.
    pub name: &'static str,
    /// Builds the dataflow.
    pub build: Build,
}

/// The programs of a binary.
#[derive(Clone, Debug, Default)]
pub struct Programs(BTreeMap<&'static str, Build>);

impl Programs {
    /// The programs of a binary. Of two with one name, the later one counts.
    pub fn new(programs: &[Program]) -> Self {
        Self(programs.iter().map(|program| (program.name, program.build)).collect())
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    /// Builds the dataflow of a job. Arguments that the program did not ask for are refused.
    pub fn build(&self, spec: &JobSpec) -> Result<Job> {
        let build = self.find(spec.program.name.as_deref())?;
        let key_groups = spec.key_groups().ok_or_else(|| {
            Error::invalid(format!("spec.keyGroups: {} is out of range", spec.key_groups))
        })?;
        let args = Args::new(spec.program.args.clone());
        let environment = config::environment();
        let backend = config::backend(&spec.state)?;
        let settings =
            JobSettings { args, key_groups, environment, backend, ..JobSettings::default() };
        let mut job = Job::new(settings);
        build(&mut job).map_err(|error| {
            // Whatever fails while a program is built fails again at the next start.
            error.with_kind(millstream_dataflow::Kind::Invalid)
        })?;
        job.args().refuse_unknown()?;
        Ok(job)
    }

    fn find(&self, name: Option<&str>) -> Result<Build> {
        let known = || self.0.keys().copied().collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => self.0.get(name).copied().ok_or_else(|| {
                let near = nearest(name, self.0.keys().copied());
                let near = near.map_or(String::new(), |near| format!(", did you mean {near}?"));
                let end = if near.is_empty() { ";" } else { "" };
                Error::invalid(format!(
                    "spec.program.name: this binary has no program {name:?}{near}{end} it has {}",
                    known()
                ))
            }),
            None if self.0.len() == 1 => Ok(*self.0.values().next().expect("there is one")),
            None => Err(Error::invalid(format!(
                "spec.program.name: say which program to run; this binary has {}",
                known()
            ))),
        }
    }
}

/// Lists functions as programs, each under its own name with `-` for `_`.
///
/// ```no_run
/// use millstream_worker::{Job, Result, programs};
///
/// fn word_count(job: &mut Job) -> Result<()> {
///     # let _ = job;
///     Ok(())
/// }
///
/// fn main() -> std::process::ExitCode {
///     millstream_worker::main(programs![word_count])
/// }
/// ```
#[macro_export]
macro_rules! programs {
    ($($build:path),+ $(,)?) => {
        &[$($crate::program_of(stringify!($build), $build)),+]
    };
}

/// A program under the name of its function, with `-` for `_` and no path.
pub fn program_of(path: &'static str, build: Build) -> Program {
    let function = path.rsplit("::").next().unwrap_or(path).trim();
    // Leaked once per program and process: names are compared for as long as the process lives.
    let name = Box::leak(function.replace('_', "-").into_boxed_str());
    Program { name, build }
}
