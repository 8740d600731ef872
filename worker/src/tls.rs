//! What `--tls` says: how this process talks to others.
//!
//! Received from [`crate::cli`]; handed to [`crate::serve`], which is called, and to
//! [`crate::processes`] and [`crate::exchange`], which call.

use std::path::Path;

use millstream_dataflow::{Error, Result};
use millstream_transport::Transport;

/// By TLS with the files of a folder; in the clear where there is none.
pub(crate) fn transport(folder: Option<&Path>) -> Result<Transport> {
    let Some(folder) = folder else { return Ok(Transport::default()) };
    Transport::tls(folder).map_err(|error| Error::invalid(format!("--tls: {error}")))
}
