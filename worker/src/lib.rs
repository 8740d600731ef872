//! The process around Millstream's engine: command line, stores, local runs.
//!
//! A user's binary depends on this crate alone and calls [`main`] with its programs; everything
//! that a program needs is re-exported from here.
#![warn(missing_docs)]

mod ask;
mod check;
mod cli;
mod config;
mod control;
mod copy;
mod describe;
mod desk;
#[cfg(doctest)]
mod docs;
mod drift;
mod end;
mod exchange;
mod health;
mod host;
mod local;
mod log_io;
mod memory;
mod metrics;
mod mistyped;
mod parts;
mod processes;
mod program;
mod progress;
mod rates;
mod runs;
mod serve;
mod session;
mod signals;
mod snapshots;
mod store;
mod terminal;
mod tls;
mod yaml;

use std::process::ExitCode;

pub use millstream_dataflow::*;
pub use millstream_protocol::id::{Epoch, Run, TaskIndex};
pub use millstream_protocol::plan::{Guarantee, StateSchema};

pub use crate::program::{Build, Program, Programs, program_of};
pub use crate::store::{FileStore, MemoryStore};

/// The whole program of a user's binary: reads the command line and does what it says.
///
/// Returns the exit code: 0 finished, or stopped after a snapshot; 1 failed; 2 the job, its
/// arguments or the command line are wrong; 3 another run owns the job; 4 stopped without a
/// snapshot; 5 no answer within `--timeout`.
pub fn main(programs: &[Program]) -> ExitCode {
    memory::keep();
    let programs = Programs::new(programs);
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err((text, is_error)) => {
            if cli::asks_for_json(std::env::args_os()) {
                terminal::say_json();
            }
            return terminal::usage(&text, is_error);
        }
    };
    match cli.command {
        cli::Command::Run(args) => local::run(programs, args),
        cli::Command::Scale(args) => ask::scale(args),
        cli::Command::Savepoint(args) => ask::savepoint(args),
        cli::Command::Stop(args) => ask::stop(args),
        cli::Command::Serve(args) => serve::run(programs, args),
        cli::Command::Describe(args) => terminal::finish(describe::describe(&programs, &args)),
        cli::Command::Check(args) => check::run(&programs, &args),
        cli::Command::Snapshots(command) => terminal::finish(snapshots::run(command)),
        cli::Command::Programs => {
            let names: Vec<_> = programs.names().map(|name| format!("{name}\n")).collect();
            terminal::finish(Ok(names.concat()))
        }
    }
}

/// What benchmarks and tests drive without a command line.
pub mod embed {
    pub use crate::local::{Embedded, run_embedded};
    pub use crate::memory::keep as keep_memory;
    pub use crate::serve::{Beside, serve_beside};
}

/// The programs of the stock binary.
pub mod stock {
    pub use crate::program::stock::PROGRAMS;
    #[cfg(feature = "kafka")]
    pub use crate::program::turnover::{LATE, Order, PARTITIONS, Turnover, WINDOW};
}
