//! The stock programs behind Millstream's command line, `turnover` among them.
//!
//! A crate of its own, so that the demo in `tests/` has a binary to kill.

use std::process::ExitCode;

fn main() -> ExitCode {
    millstream_worker::main(millstream_worker::stock::PROGRAMS)
}
