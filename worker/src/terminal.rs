//! What is said to the person at the terminal: results to standard output, everything else to
//! standard error.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Stderr, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_dataflow::{Error, Kind, Result};
use serde_json::{Value, json};

/// Exit codes, as the command line's help says them.
pub(crate) const FAILED: u8 = 1;
pub(crate) const INVALID: u8 = 2;
pub(crate) const FENCED: u8 = 3;
pub(crate) const STOPPED_WITHOUT_SNAPSHOT: u8 = 4;
pub(crate) use millstream_protocol::error_kind::UNANSWERED;

/// Whether standard error takes JSON lines only.
static JSON: AtomicBool = AtomicBool::new(false);
/// Whether the last thing on standard error is a live line, which has no end.
static LIVE: AtomicBool = AtomicBool::new(false);
/// So many panics are told apart; those behind them are all told of. A program has a few places.
const PANICS_MAX: usize = 256;
/// Clears a terminal's line.
const CLEAR: &str = "\r\x1b[K";

/// Draws a line that the next one takes the place of.
pub(crate) fn live(line: &str) {
    LIVE.store(true, Ordering::Relaxed);
    let mut out = io::stderr();
    let _ = write!(out, "{CLEAR}{line}").and_then(|()| out.flush());
}

/// Standard error, without a live line.
pub(crate) fn cleared() -> Stderr {
    let out = io::stderr();
    if LIVE.swap(false, Ordering::Relaxed) {
        let _ = write!(&out, "{CLEAR}");
    }
    out
}

/// From here on, every line on standard error is a JSON object, what a panic says too.
pub(crate) fn say_json() {
    JSON.store(true, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| say_at("ERROR", &panic.to_string(), None)));
}

/// From here on, a panic that was told of is not told of again: a job that restarts meets the same
/// one at every attempt, and says so by itself. A backtrace, where the user asked for them, comes
/// once.
pub(crate) fn panics_once() {
    let told = Mutex::new(BTreeSet::new());
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= PANICS_MAX || told.insert(panic.to_string()) {
            drop(told);
            // A live line on the terminal goes first.
            let _ = cleared();
            tell(panic);
        }
    }));
}

/// Whether standard error takes JSON lines only.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Prints usage or help.
pub(crate) fn usage(text: &str, is_error: bool) -> ExitCode {
    if is_error {
        say_at("ERROR", text.trim_end(), Some(INVALID));
        return ExitCode::from(INVALID);
    }
    print(text)
}

/// Prints a command's result, or the reason why there is none in one line.
pub(crate) fn finish(result: Result<String>) -> ExitCode {
    match result {
        Ok(text) => print(&text),
        Err(error) => ExitCode::from(fail(&line_of(&error), code_of(error.kind()))),
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
    say_at("INFO", line, None);
}

/// Says how the process ends; returns its exit code.
pub(crate) fn end(line: &str, code: u8) -> u8 {
    say_at(if code == 0 { "INFO" } else { "WARN" }, line, Some(code));
    code
}

/// Says why the process fails; returns its exit code.
pub(crate) fn fail(reason: &str, code: u8) -> u8 {
    if is_json() {
        say_at("ERROR", reason, Some(code));
    } else {
        say(&format!("error: {reason}"));
    }
    code
}

fn say_at(level: &str, line: &str, exit_code: Option<u8>) {
    let _ = if is_json() {
        writeln!(cleared(), "{}", json_line(level, line, exit_code))
    } else {
        writeln!(cleared(), "{line}")
    };
}

/// The fields are those of the log's own lines; the last line has the exit code too.
fn json_line(level: &str, message: &str, exit_code: Option<u8>) -> Value {
    let timestamp = SystemClock::new().now().to_string();
    let mut line = json!({ "timestamp": timestamp, "level": level, "message": message });
    if let Some(code) = exit_code {
        line["exit_code"] = code.into();
    }
    line
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // A reader such as `head` that has seen enough is not an error.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            ExitCode::from(fail(&format!("cannot write to standard output: {error}"), FAILED))
        }
        _ => ExitCode::SUCCESS,
    }
}
