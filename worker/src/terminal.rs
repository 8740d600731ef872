//! What is said to the person at the terminal: results to standard output, everything else to
//! standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use millstream_dataflow::{Error, Kind, Result};

/// Exit codes, as the command line's help says them.
pub(crate) const FAILED: u8 = 1;
pub(crate) const INVALID: u8 = 2;
pub(crate) const FENCED: u8 = 3;
pub(crate) const STOPPED_WITHOUT_SNAPSHOT: u8 = 4;

/// Prints usage or help.
pub(crate) fn usage(text: &str, is_error: bool) -> ExitCode {
    if is_error {
        say(text.trim_end());
        return ExitCode::from(INVALID);
    }
    print(text)
}

/// Prints a command's result, or the reason why there is none in one line.
pub(crate) fn finish(result: Result<String>) -> ExitCode {
    match result {
        Ok(text) => print(&text),
        Err(error) => {
            say(&format!("error: {}", line_of(&error)));
            ExitCode::from(code_of(error.kind()))
        }
    }
}

/// The message of an error, with the operator where one is at fault.
pub(crate) fn line_of(error: &Error) -> String {
    match error.operator() {
        Some(operator) => format!("operator {operator}: {error}"),
        None => error.to_string(),
    }
}

/// The exit code for a failure of this kind.
pub(crate) fn code_of(kind: Kind) -> u8 {
    match kind {
        Kind::Invalid => INVALID,
        Kind::Fenced => FENCED,
        Kind::User | Kind::Unavailable | Kind::Corrupt | Kind::Bug => FAILED,
    }
}

/// Says a line on standard error. A closed one is not worth failing for.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn print(text: &str) -> ExitCode {
    // A reader such as `head` that has seen enough is not an error.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    ExitCode::SUCCESS
}
