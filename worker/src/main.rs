//! The stock binary: the programs of [`millstream_worker`]'s quickstart, and the whole command
//! line.

use std::process::ExitCode;

fn main() -> ExitCode {
    millstream_worker::main(millstream_worker::stock::PROGRAMS)
}
