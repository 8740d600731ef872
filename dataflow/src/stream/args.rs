//! [`Args`]: the arguments of a program, from `spec.program.args`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The arguments of a program. Every error names the argument.
#[derive(Clone, Debug, Default)]
pub struct Args(BTreeMap<String, String>);

impl Args {
    /// Arguments by name.
    pub fn new(args: BTreeMap<String, String>) -> Self {
        Self(args)
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
            Error::invalid(format!(
                "the program needs the argument {name}: set spec.program.args.{name}"
            ))
        })
    }

    /// An argument that may be left out.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
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
}

fn wrong(name: &str, text: &str, error: &dyn Display) -> Error {
    Error::invalid(format!("spec.program.args.{name}: cannot read {text:?}: {error}"))
}
