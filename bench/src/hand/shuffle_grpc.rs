//! The shuffle between two processes: each makes half of the records, counts those whose keys are
//! its own, and sends the others over.
//!
//! One thread per process for the records and one for the sockets. A message is a batch of records,
//! 24 bytes each as they lie in memory: nothing is encoded. An empty message is the end.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use millstream_bench_stream::clock::monotonic_ns;
use millstream_bench_stream::record::Mark;
use millstream_bench_stream::{BATCH_RECORDS, Outcome, Part, Rec, THREADS, Tally, Workload};
use millstream_protocol::grpc::v1::Message;
use millstream_protocol::id::TaskIndex;
use millstream_protocol::key_group::KeyGroups;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{Receiver, Sender};
use tonic::Status;

use super::exchange::hash_of;
use super::pair::{self, Started};
use crate::halves::{Half, whole};

/// Bytes of a record on the wire.
const RECORD: usize = size_of::<Rec>();

/// Runs both processes, this one as the first.
pub(super) fn run(records: u64) -> anyhow::Result<Outcome> {
    let runtime = pair::runtime()?;
    let listening = runtime.block_on(pair::listen(false))?;
    let mut second = Started::new(&["shuffle", &listening.address, &records.to_string()])?;
    let (send, answers) = runtime.block_on(pair::connect(&second.address))?;
    let first = half(0, records, send, listening.taken)?;
    runtime.block_on(pair::all_taken(answers))?;
    let second: Half = serde_json::from_str(&second.line()?).context("what the second measured")?;
    whole(Workload::ShuffleGrpc, records, &[first, second])
}

/// The second process.
pub(super) fn second(first: &str, records: u64) -> anyhow::Result<()> {
    let runtime = pair::runtime()?;
    let listening = runtime.block_on(pair::listen(false))?;
    pair::announce(&listening.address)?;
    let (send, answers) = runtime.block_on(pair::connect(first))?;
    let half = half(1, records, send, listening.taken)?;
    runtime.block_on(pair::all_taken(answers))?;
    println!("{}", serde_json::to_string(&half)?);
    // The first one may not have been told yet that all is taken: it ends this process when it has.
    pair::until_ended()
}

fn half(
    index: u32,
    records: u64,
    send: Sender<Message>,
    taken: Receiver<Result<Bytes, Status>>,
) -> anyhow::Result<Half> {
    let part = Part::new(index as usize, THREADS, records, Workload::ShuffleGrpc.keys());
    let began_ns = monotonic_ns();
    let tally = Worker { send, taken, tally: Tally::default(), ended: false }.run(index, part)?;
    Ok(Half::of(tally, began_ns, monotonic_ns()))
}

struct Worker {
    send: Sender<Message>,
    taken: Receiver<Result<Bytes, Status>>,
    tally: Tally,
    /// The other process has sent all.
    ended: bool,
}

impl Worker {
    fn run(mut self, index: u32, mut part: Part) -> anyhow::Result<Tally> {
        let groups = KeyGroups::default();
        let (mut mine, mut kept) = (vec![Rec::default(); BATCH_RECORDS + 1], 0);
        let (mut other, mut filled) = (room(), 0);
        loop {
            // No more than there is room for, whoever owns them.
            let most = BATCH_RECORDS - kept.max(filled);
            let mark = part.each(most, |record| {
                let hash = hash_of(record.key);
                let owner = groups.task_of(groups.of_hash(hash), THREADS as u32);
                let is_mine = usize::from(owner == TaskIndex(index));
                // Written to both, kept in one: the owner is a coin toss.
                mine[kept] = record;
                put(&mut other[filled * RECORD..], record);
                kept += is_mine;
                filled += 1 - is_mine;
            });
            if kept == BATCH_RECORDS || mark == Mark::End {
                count(&mut self.tally, &mine[..kept]);
                kept = 0;
            }
            if filled == BATCH_RECORDS || mark == Mark::End {
                let mut full = std::mem::replace(&mut other, room());
                full.truncate(filled * RECORD);
                filled = 0;
                if !full.is_empty() {
                    self.push(full)?;
                }
            }
            self.receive()?;
            if mark == Mark::End {
                break;
            }
        }
        self.push(Vec::new())?;
        while !self.ended {
            self.wait()?;
        }
        Ok(self.tally)
    }

    fn push(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        let mut message = Message { frames: bytes.into() };
        loop {
            message = match self.send.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(refused)) => refused,
                Err(TrySendError::Closed(_)) => bail!("the other process takes no more"),
            };
            self.wait()?;
        }
    }

    /// Processes what has come, or lets others go on.
    fn wait(&mut self) -> anyhow::Result<()> {
        if !self.receive()? {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Processes what has come; whether anything had.
    fn receive(&mut self) -> anyhow::Result<bool> {
        let mut any = false;
        loop {
            let batch = match self.taken.try_recv() {
                Ok(batch) => batch?,
                Err(TryRecvError::Empty) => return Ok(any),
                Err(TryRecvError::Disconnected) if self.ended => return Ok(any),
                Err(TryRecvError::Disconnected) => bail!("the other process is gone"),
            };
            any = true;
            self.ended |= batch.is_empty();
            let (records, rest) = batch.as_chunks::<RECORD>();
            ensure!(rest.is_empty(), "a batch is cut");
            for bytes in records {
                let record = get(bytes);
                self.tally.add(record.key, record.at, record.value);
            }
        }
    }
}

/// Room for a batch, and for the record that is written behind it and not kept.
fn room() -> Vec<u8> {
    vec![0; (BATCH_RECORDS + 1) * RECORD]
}

#[inline]
fn put(to: &mut [u8], record: Rec) {
    to[..8].copy_from_slice(&record.key.to_le_bytes());
    to[8..16].copy_from_slice(&record.at.to_le_bytes());
    to[16..24].copy_from_slice(&record.value.to_le_bytes());
}

#[inline]
fn get(bytes: &[u8; RECORD]) -> Rec {
    let word = |at: usize| [0, 1, 2, 3, 4, 5, 6, 7].map(|byte| bytes[at + byte]);
    let (key, at, value) = (word(0), word(8), word(16));
    Rec {
        key: u64::from_le_bytes(key),
        at: i64::from_le_bytes(at),
        value: i64::from_le_bytes(value),
    }
}

fn count(tally: &mut Tally, records: &[Rec]) {
    for r in records {
        tally.add(r.key, r.at, r.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let record = Rec { key: u64::MAX - 1, at: -5, value: i64::MIN };
        let mut bytes = [0; RECORD];
        put(&mut bytes, record);
        assert_eq!(get(&bytes), record);
    }
}
