//! The binary: the programs of this crate behind Millstream's command line.

use std::process::ExitCode;

use millstream_worker::programs;

fn main() -> ExitCode {
    millstream_worker::main(programs![own_crate::metering])
}
