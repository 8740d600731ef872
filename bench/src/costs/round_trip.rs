//! How long a message takes to another process and back, over gRPC alone.
//!
//! Called by [`super::case`]; [`crate::hand::pair`] is the wire. One message at a time, on a stream
//! that is open: what [`super::latency`] is set beside.

use anyhow::Context as _;
use bytes::Bytes;
use millstream_bench_stream::clock::monotonic_ns;
use millstream_protocol::grpc::v1::Message;

use super::Figures;
use super::histogram::Histogram;
use crate::hand::pair::{Started, connect, runtime};

/// Bytes of a message: some ten small records.
const MESSAGE: usize = 256;

/// So many of them, of which the first tenth do not count.
pub(super) fn run(trips: u64) -> anyhow::Result<Figures> {
    let peer = Started::new(&["echo"])?;
    let mut took = Histogram::default();
    runtime()?.block_on(async {
        let (send, mut back) = connect(&peer.address).await?;
        let frames = Bytes::from(vec![7; MESSAGE]);
        for trip in 0..trips {
            let sent = monotonic_ns();
            send.send(Message { frames: frames.clone() }).await.context("the stream is closed")?;
            let answer = back.message().await?.context("the other process has ended")?;
            anyhow::ensure!(answer.limits == frames, "another message came back");
            if trip >= trips / 10 {
                took.add(monotonic_ns() - sent);
            }
        }
        Ok(())
    })?;
    Ok(Figures::from([("p50_ms".into(), took.ms(0.5)), ("p99_ms".into(), took.ms(0.99))]))
}
