//! The operator's process: looks after the jobs of a cluster.

use std::process::ExitCode;

use clap::Parser;
use millstream_operator::options::Options;
use millstream_operator::serve;

fn main() -> ExitCode {
    let options = Options::parse();
    options.log_format.init();
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
