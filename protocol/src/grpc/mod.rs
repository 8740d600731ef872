//! The services between processes, and what their messages say.
//!
//! Received from: [`crate::session`], whose commands and reports travel as JSON. Handed to: the
//! coordinator, which calls, and the worker, which serves. The stubs are made from
//! `proto/millstream/v1` by `cargo xtask generate`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::session;

mod codec;
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications, reason = "generated")]
#[path = "millstream.v1.control.rs"]
#[rustfmt::skip]
mod control;
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications, reason = "generated")]
#[path = "millstream.v1.data.rs"]
#[rustfmt::skip]
mod data;

/// What stands in `proto/millstream/v1`.
pub mod v1 {
    pub use super::control::{Command, Report, control_client, control_server};
    pub use super::data::{Grants, Message, data_client, data_server};
}

/// Metadata of a session and of an exchange: for which job, as `namespace/name`.
pub const JOB: &str = "millstream-job";
/// Metadata of a session: the UID of the pod that is called, where it is known.
pub const POD: &str = "millstream-pod";
/// Metadata of an exchange: for which run.
pub const RUN: &str = "millstream-run";
/// Metadata of an exchange: of which history of the job. It tells runs with the same number apart
/// where the log was deleted between them.
pub const LINEAGE: &str = "millstream-lineage";
/// Metadata of an exchange: from which worker.
pub const WORKER: &str = "millstream-worker";

/// A message that does not say what it should.
#[derive(Debug, thiserror::Error)]
#[error("a {what} cannot be read: {error}")]
pub struct Unreadable {
    what: &'static str,
    error: serde_json::Error,
}

/// An error with its causes, each of which says something new.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = match cause.downcast_ref::<tonic::Status>() {
            // By itself it says its causes in the language's own notation.
            Some(status) => status.message().to_owned(),
            None => cause.to_string(),
        };
        if !text.is_empty() && !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
    }
    said.join(": ")
}

/// What a status says, with its causes: by itself it often says no more than "transport error".
pub fn said(status: &tonic::Status) -> String {
    let source = std::error::Error::source(status);
    source.map_or_else(|| status.message().to_owned(), chain)
}

fn write(what: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(what).expect("commands and reports are plain data")
}

fn read<T: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(json).map_err(|error| Unreadable { what, error })
}

impl From<&session::Command> for v1::Command {
    fn from(command: &session::Command) -> Self {
        Self { json: write(command).into() }
    }
}

impl TryFrom<v1::Command> for session::Command {
    type Error = Unreadable;

    fn try_from(command: v1::Command) -> Result<Self, Unreadable> {
        read("command", &command.json)
    }
}

impl From<&session::Report> for v1::Report {
    fn from(report: &session::Report) -> Self {
        Self { json: write(report).into() }
    }
}

impl TryFrom<v1::Report> for session::Report {
    type Error = Unreadable;

    fn try_from(report: v1::Report) -> Result<Self, Unreadable> {
        read("report", &report.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Caused {
        text: &'static str,
        #[source]
        by: Option<Box<dyn std::error::Error + Send + Sync>>,
    }

    fn caused(text: &'static str, by: impl std::error::Error + Send + Sync + 'static) -> Caused {
        Caused { text, by: Some(Box::new(by)) }
    }

    #[test]
    fn a_cause_is_said_once_and_in_words() {
        let last = Caused { text: "stream closed", by: None };
        let status = tonic::Status::from_error(Box::new(caused("body: stream closed", last)));
        let error = caused("transport error", status);
        assert_eq!(chain(&error), "transport error: body: stream closed");
        let twice = caused("refused", Caused { text: "refused", by: None });
        assert_eq!(chain(&twice), "refused");
    }
}
