//! The binary: the program of this crate behind Millstream's command line.

use std::process::ExitCode;

use millstream_worker::programs;

fn main() -> ExitCode {
    millstream_worker::main(programs![millstream_example_kafka::turnover])
}
