//! `sink`: the method that ends a stream.

use millstream_protocol::plan::Role;

use super::{Sink, SinkOperator, pending_schema};
use crate::data::Data;
use crate::stream::{Described, Stream};

impl<T: Data> Stream<T> {
    /// Writes every record to a sink. The id names the sink's pending output for the life of the
    /// job.
    #[track_caller]
    pub fn sink<S: Sink<Item = T>>(&self, id: &str, sink: S) {
        let described = Described {
            id: Some(id.to_owned()),
            method: "sink",
            role: Some(Role::Sink(sink.guarantee())),
            states: vec![pending_schema::<S::Pending>()].into(),
            parallelism_max: sink.parallelism_max(),
            ..Described::default()
        };
        self.add_node(vec![self.input(0)], described, move |wiring, info| {
            let ctx = wiring.sink_context(info);
            let (writer, committer) = sink.open(ctx)?;
            let register = wiring.commits.add(info.operator.clone(), committer);
            Ok(SinkOperator::new(writer, register))
        });
    }
}
