//! [`Environment`] and [`Secret`]: what a program takes from the process it runs in.
//!
//! The worker says where variables are read ([`JobSettings`](super::JobSettings)); connectors
//! receive [`Secret`]s. Invariant: what came from the environment is never printed.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Where a variable of the environment is read: the worker's process, or what a test says.
#[derive(Clone, Default)]
pub struct Environment(Option<Arc<dyn Fn(&str) -> Option<String> + Send + Sync>>);

impl Environment {
    /// Reads variables so. Without this there are none.
    pub fn new(read: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(read)))
    }

    /// A variable, whether it is set or not: a plan is made where the secrets are not.
    pub(super) fn secret(&self, name: &str) -> Secret {
        let value = self.0.as_ref().and_then(|read| read(name));
        Secret(Arc::new(Inner { variable: Some(name.into()), value }))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// A value that is never printed: a password, a key.
///
/// ```
/// use millstream_dataflow::Secret;
/// assert_eq!(format!("{:?}", Secret::new("swordfish")), "(redacted)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    /// The variable that it comes from.
    variable: Option<Box<str>>,
    value: Option<String>,
}

impl Secret {
    /// A secret that the program knows by itself.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Arc::new(Inner { variable: None, value: Some(value.into()) }))
    }

    /// The value, for whoever needs it to log in.
    ///
    /// # Errors
    /// Where it comes from the environment and is not there.
    pub fn reveal(&self) -> Result<&str> {
        self.0.value.as_deref().ok_or_else(|| {
            let name = self.0.variable.as_deref().unwrap_or_default();
            Error::invalid(format!("the environment variable {name} is not set"))
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.variable {
            Some(name) => write!(f, "(from {name})"),
            None => f.write_str("(redacted)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_read_where_the_worker_says_and_shown_by_its_name_alone() {
        let env = Environment::new(|name| (name == "PASSWORD").then(|| "swordfish".to_owned()));
        let secret = env.secret("PASSWORD");
        assert_eq!(secret.reveal().unwrap(), "swordfish");
        assert_eq!(format!("{secret:?} {env:?}"), "(from PASSWORD) Environment");
    }

    #[test]
    fn a_variable_that_is_not_set_fails_where_it_is_used() {
        for env in [Environment::default(), Environment::new(|_| None)] {
            let error = env.secret("PASSWORD").reveal().unwrap_err();
            assert_eq!(error.to_string(), "the environment variable PASSWORD is not set");
        }
    }
}
