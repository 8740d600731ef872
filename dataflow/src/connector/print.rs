//! [`Print`]: a sink that prints records to standard output, a JSON value per line.
//!
//! Receives batches from the engine; whoever runs the process reads them. At least once: what was
//! printed cannot be taken back, so a restore prints it again.

use std::io::{ErrorKind, Stdout, Write};
use std::sync::Arc;

use millstream_protocol::id::Epoch;
use millstream_protocol::plan::Guarantee;
use serde::Serialize;

use super::discard::NoCommit;
use super::format::{Encode, Json};
use crate::batch::Batch;
use crate::error::{Error, Kind, Result};
use crate::sink::{Prepared, Sink, SinkContext, Writer};

/// A sink that prints records. Lines of several tasks may come in any order, and are never mixed
/// up.
///
/// ```
/// use millstream_dataflow::{Job, connector::{collection::Collection, print::Print}};
/// let job = Job::new(Default::default());
/// job.source("numbers", Collection::of([1, 2, 3])).sink("shown", Print::json().prefix("number "));
/// ```
#[derive(Clone, Debug)]
pub struct Print<F> {
    format: F,
    prefix: Arc<str>,
}

impl Print<()> {
    /// Prints a JSON value per line.
    pub fn json<T: Serialize + Send + 'static>() -> Print<Json<T>> {
        Print::of(Json::new())
    }
}

impl<F: Encode> Print<F> {
    /// Prints in a format of your own, one record per line.
    pub fn of(format: F) -> Self {
        Self { format, prefix: "".into() }
    }

    /// Puts a text in front of every line.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.into(), ..self }
    }
}

/// Prints the records of one task.
pub struct PrintWriter<F, W = Stdout> {
    format: F,
    prefix: Arc<str>,
    output: W,
    buffer: Vec<u8>,
    first: bool,
}

/// Bytes that are gathered before they are printed, while there is more to come.
const BUFFER_BYTES: usize = 64 * 1024;

impl<F, W: Write> PrintWriter<F, W> {
    /// Prints whole lines in one go: standard output is locked for each call.
    fn print(&mut self) -> Result<()> {
        let printed = self.output.write_all(&self.buffer).and_then(|()| self.output.flush());
        self.buffer.clear();
        printed.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Error::invalid("standard output is closed: nobody reads on"),
            _ => Error::new(Kind::Unavailable, format!("cannot print: {error}")),
        })
    }
}

impl<F: Encode> Sink for Print<F> {
    type Item = F::Record;
    type Pending = ();
    type Writer = PrintWriter<F>;
    type Committer = NoCommit;

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, _: SinkContext) -> Result<(PrintWriter<F>, NoCommit)> {
        let (format, prefix) = (self.format.clone(), self.prefix.clone());
        let output = std::io::stdout();
        Ok((PrintWriter { format, prefix, output, buffer: Vec::new(), first: true }, NoCommit))
    }
}

impl<F: Encode, W: Write + Send + 'static> Writer for PrintWriter<F, W> {
    type Item = F::Record;
    type Pending = ();

    fn write(&mut self, batch: Batch<F::Record>) -> Result<()> {
        if self.prefix.is_empty() {
            self.format.encode(&batch.records, self.first, &mut self.buffer)?;
            self.first = false;
        } else {
            for record in batch.records.chunks(1) {
                self.buffer.extend_from_slice(self.prefix.as_bytes());
                self.format.encode(record, self.first, &mut self.buffer)?;
                self.first = false;
            }
        }
        if self.buffer.len() >= BUFFER_BYTES { self.print() } else { Ok(()) }
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        self.flush()?;
        Ok(Prepared::nothing())
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.print() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn records_are_printed_when_the_input_runs_dry_and_before_a_snapshot() {
        let paper = Paper::default();
        let mut writer = PrintWriter {
            format: Json::new(),
            prefix: "> ".into(),
            output: paper.clone(),
            buffer: Vec::new(),
            first: true,
        };
        let text = || String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        writer.write(Batch::untimed(vec![(1, "a"), (2, "b")])).unwrap();
        assert_eq!(text(), "");
        writer.flush().unwrap();
        assert_eq!(text(), "> [1,\"a\"]\n> [2,\"b\"]\n");
        writer.write(Batch::untimed(vec![(3, "c")])).unwrap();
        writer.prepare(Epoch(1)).unwrap();
        assert!(text().ends_with("> [3,\"c\"]\n"));
    }

    #[test]
    fn a_closed_output_is_no_reason_to_try_again() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (format, prefix) = (Json::new(), "".into());
        let mut writer =
            PrintWriter { format, prefix, output: Closed, buffer: Vec::new(), first: true };
        writer.write(Batch::untimed(vec![1])).unwrap();
        assert_eq!(writer.flush().unwrap_err().kind(), Kind::Invalid);
    }
}
