//! [`Args`]: the arguments of a program, from `spec.program.args`.
//!
//! Read by programs while they build their graph. Invariant: whoever reads an argument, through
//! whichever clone, has asked for it; what nobody asked for is a mistake in the job.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::nearest::nearest;

use crate::error::{Error, Result};

/// The arguments of a program. Every error names the argument.
///
/// A program's arguments are those that it asks for while it is built. Others are refused, see
/// [`Args::refuse_unknown`].
#[derive(Clone, Debug, Default)]
pub struct Args {
    given: BTreeMap<String, String>,
    /// Shared by all clones.
    asked: Arc<Mutex<Asked>>,
}

/// What was asked for so far.
#[derive(Debug, Default)]
struct Asked {
    names: BTreeSet<String>,
    all: bool,
}

impl Args {
    /// Arguments by name.
    pub fn new(args: BTreeMap<String, String>) -> Self {
        Self { given: args, asked: Arc::default() }
    }

    /// An argument that must be there.
    ///
    /// ```
    /// # use millstream_dataflow::Args;
    /// let args = Args::new([("topic".to_string(), "readings".to_string())].into());
    /// assert_eq!(args.get("topic").unwrap(), "readings");
    /// assert!(args.get("group").unwrap_err().to_string().contains("spec.program.args.group"));
    /// ```
    pub fn get(&self, name: &str) -> Result<&str> {
        self.find(name).ok_or_else(|| {
            let known = self.asked(|asked| asked.names.clone());
            let strange = self.given.keys().filter(|given| !known.contains(*given));
            let hint = nearest(name, strange.map(String::as_str));
            let hint = hint.map_or_else(String::new, |given| format!(" (is it {given}?)"));
            Error::invalid(format!(
                "the program needs the argument {name}: set spec.program.args.{name}{hint}"
            ))
        })
    }

    /// An argument that may be left out.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.asked(|asked| asked.names.insert(name.to_owned()));
        self.given.get(name).map(String::as_str)
    }

    /// An argument as a number or another type that is read from text.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T> {
        let text = self.get(name)?;
        text.parse().map_err(|error: T::Err| wrong(name, text, &error))
    }

    /// The same, with a default for when it is left out.
    pub fn parse_or<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T> {
        if self.find(name).is_none() { Ok(default) } else { self.parse(name) }
    }

    /// All arguments, by name, for a program that takes whatever it is given. None is unknown then.
    ///
    /// ```
    /// # use millstream_dataflow::Args;
    /// let args = Args::new([("anything".to_string(), "1".to_string())].into());
    /// assert_eq!(args.all()["anything"], "1");
    /// assert!(args.refuse_unknown().is_ok());
    /// ```
    pub fn all(&self) -> &BTreeMap<String, String> {
        self.asked(|asked| asked.all = true);
        &self.given
    }

    /// Refuses arguments that nobody asked for so far: called when the program is built, before
    /// anything is touched. The message names the nearest one that was asked for.
    ///
    /// ```
    /// # use millstream_dataflow::Args;
    /// let args = Args::new([("ouput".to_string(), "out".to_string())].into());
    /// assert_eq!(args.parse_or("output", String::new()).unwrap(), "");
    /// let error = args.refuse_unknown().unwrap_err().to_string();
    /// assert!(error.contains("did you mean output"));
    /// ```
    pub fn refuse_unknown(&self) -> Result<()> {
        let (known, all) = self.asked(|asked| (asked.names.clone(), asked.all));
        let unknown = self.given.keys().filter(|name| !all && !known.contains(*name));
        let unknown: Vec<_> = unknown.map(|name| refusal(name, &known)).collect();
        if unknown.is_empty() { Ok(()) } else { Err(Error::invalid(unknown.join("\n"))) }
    }

    fn asked<R>(&self, with: impl FnOnce(&mut Asked) -> R) -> R {
        with(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn wrong(name: &str, text: &str, error: &dyn Display) -> Error {
    Error::invalid(format!("spec.program.args.{name}: cannot read {text:?}: {error}"))
}

fn refusal(name: &str, known: &BTreeSet<String>) -> String {
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let has = match &known[..] {
        [] => "takes none".to_owned(),
        known => format!("has {}", known.join(", ")),
    };
    let near = nearest(name, known.iter().copied());
    let near = near.map_or_else(|| ";".to_owned(), |near| format!(", did you mean {near}?"));
    format!("spec.program.args.{name}: the program has no such argument{near} it {has}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(given: &[&str]) -> Args {
        Args::new(given.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect())
    }

    fn refused(args: &Args) -> String {
        args.refuse_unknown().unwrap_err().to_string()
    }

    #[test]
    fn what_was_asked_for_in_any_way_is_known() {
        let args = args(&["a", "b", "c", "d"]);
        args.get("a").unwrap();
        args.clone().find("b");
        args.parse::<u8>("c").unwrap();
        assert_eq!(
            refused(&args),
            "spec.program.args.d: the program has no such argument; it has a, b, c"
        );
        args.parse_or("d", 0u8).unwrap();
        args.refuse_unknown().unwrap();
    }

    #[test]
    fn every_unknown_argument_is_named_with_the_nearest_known_one() {
        let args = args(&["recordPerSecond", "Output", "zzz"]);
        for name in ["input", "output", "recordsPerSecond"] {
            args.find(name);
        }
        let said = "the program has no such argument";
        let has = "it has input, output, recordsPerSecond";
        let expected = [
            format!("spec.program.args.Output: {said}, did you mean output? {has}"),
            format!(
                "spec.program.args.recordPerSecond: {said}, did you mean recordsPerSecond? {has}"
            ),
            format!("spec.program.args.zzz: {said}; {has}"),
        ];
        assert_eq!(refused(&args), expected.join("\n"));
    }

    #[test]
    fn a_program_without_arguments_takes_none_and_one_with_any_takes_all() {
        let args = args(&["a"]);
        let said = "spec.program.args.a: the program has no such argument; it takes none";
        assert_eq!(refused(&args), said);
        assert_eq!(args.all().len(), 1);
        args.refuse_unknown().unwrap();
    }

    #[test]
    fn a_missing_argument_is_compared_with_what_is_there_unasked() {
        let args = args(&["inptu", "inputs"]);
        args.find("inputs");
        let message = args.get("input").unwrap_err().to_string();
        assert!(message.ends_with("set spec.program.args.input (is it inptu?)"), "{message}");
    }
}
