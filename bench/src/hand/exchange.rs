//! Two threads that generate, route by key hash and process what falls to them.
//!
//! Receives records from [`Part`]s and hands each thread's share to its [`Task`], in batches. The
//! thread's own share never leaves it; the other's goes through a bounded ring, and empty buffers
//! come back through a second one. Invariant: whoever cannot send processes what has arrived, so
//! that two full rings never wait for each other.

use std::thread;

use millstream_bench_stream::record::Mark;
use millstream_bench_stream::{BATCH_RECORDS, Part, Rec, THREADS, Tally};
use millstream_protocol::id::TaskIndex;
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::key_hash::key_hash;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

/// Messages that may lie between the threads, one way: four batches, and room for marks.
const RING_MESSAGES: usize = 6;

/// What a batch carries per record.
pub trait Item: Copy + Default + Send + 'static {
    /// Takes what it needs.
    fn of(record: Rec, hash: u64) -> Self;
}

impl Item for Rec {
    #[inline]
    fn of(record: Rec, _: u64) -> Self {
        record
    }
}

/// A record and the hash of its key, so that the task need not hash again.
#[derive(Clone, Copy, Default)]
pub struct Hashed {
    /// The hash of the key.
    pub hash: u64,
    /// The record.
    pub record: Rec,
}

impl Item for Hashed {
    #[inline]
    fn of(record: Rec, hash: u64) -> Self {
        Self { hash, record }
    }
}

/// What a thread does with the records of its keys.
pub trait Task {
    /// What it needs of each record.
    type Item: Item;

    /// Takes a batch.
    fn batch(&mut self, items: &[Self::Item]);

    /// No record with a smaller time will come from any part.
    fn watermark(&mut self, _at: i64) {}

    /// The stream has ended: puts out what is left.
    fn end(self) -> Tally;
}

/// The hash of a key, as the engine computes it.
#[inline]
pub fn hash_of(key: u64) -> u64 {
    key_hash(&key).expect("an integer is a key")
}

/// Runs one task per thread over the whole stream.
pub fn run<T: Task>(records: u64, keys: u64, task: impl Fn() -> T + Sync) -> Tally {
    let (to_one, from_zero) = ring();
    let (to_zero, from_one) = ring();
    let (back_to_zero, spare_of_zero) = ring();
    let (back_to_one, spare_of_one) = ring();
    let zero = Link { to: to_one, spare: spare_of_zero, from: from_one, back: back_to_one };
    let one = Link { to: to_zero, spare: spare_of_one, from: from_zero, back: back_to_zero };
    let task = &task;
    thread::scope(|scope| {
        let threads = [zero, one].into_iter().enumerate().map(|(index, link)| {
            let part = Part::new(index, THREADS, records, keys);
            scope.spawn(move || Worker::new(link, task()).run(index as u32, part))
        });
        let mut all = Tally::default();
        for thread in threads.collect::<Vec<_>>() {
            all.merge(thread.join().expect("the loop does not panic"));
        }
        all
    })
}

fn ring<M>() -> (Producer<M>, Consumer<M>) {
    RingBuffer::new(RING_MESSAGES)
}

enum Message<I> {
    Batch(Buffer<I>),
    Watermark(i64),
    End,
}

/// A batch being filled; its storage is always [`BATCH_RECORDS`] long.
struct Buffer<I> {
    items: Box<[I; BATCH_RECORDS]>,
    len: usize,
}

impl<I: Item> Buffer<I> {
    fn new() -> Self {
        let items = vec![I::default(); BATCH_RECORDS].into_boxed_slice();
        let items = items.try_into().ok().expect("it was made this long");
        Self { items, len: 0 }
    }
}

struct Link<I> {
    to: Producer<Message<I>>,
    spare: Consumer<Buffer<I>>,
    from: Consumer<Message<I>>,
    back: Producer<Buffer<I>>,
}

struct Worker<T: Task> {
    link: Link<T::Item>,
    task: T,
    /// What each part has promised: this thread's own, the other's.
    watermarks: [i64; 2],
    passed: i64,
    other_ended: bool,
}

impl<T: Task> Worker<T> {
    fn new(link: Link<T::Item>, task: T) -> Self {
        Self { link, task, watermarks: [i64::MIN; 2], passed: i64::MIN, other_ended: false }
    }

    fn run(mut self, index: u32, mut part: Part) -> Tally {
        let groups = KeyGroups::default();
        let (mut mine, mut other) = (Buffer::new(), Buffer::new());
        loop {
            let mark = part.each(BATCH_RECORDS, |record| {
                let hash = hash_of(record.key);
                let owner = groups.task_of(groups.of_hash(hash), THREADS as u32);
                // Written to both, kept in one: the owner is a coin toss, and a wrong guess of it
                // would cost more than the second store.
                let item = T::Item::of(record, hash);
                let is_mine = usize::from(owner == TaskIndex(index));
                mine.items[mine.len] = item;
                other.items[other.len] = item;
                mine.len += is_mine;
                other.len += 1 - is_mine;
                if mine.len == BATCH_RECORDS {
                    self.keep(&mut mine);
                }
                if other.len == BATCH_RECORDS {
                    self.send(&mut other);
                }
            });
            let at = match mark {
                Mark::None => {
                    self.receive();
                    continue;
                }
                Mark::Watermark(at) => at,
                Mark::End => i64::MAX,
            };
            self.keep(&mut mine);
            self.send(&mut other);
            self.push(Message::Watermark(at));
            self.advance(0, at);
            self.receive();
            if mark == Mark::End {
                break;
            }
        }
        self.push(Message::End);
        while !self.other_ended {
            if !self.receive() {
                thread::yield_now();
            }
        }
        self.task.end()
    }

    #[inline(never)]
    fn keep(&mut self, buffer: &mut Buffer<T::Item>) {
        self.task.batch(&buffer.items[..buffer.len]);
        buffer.len = 0;
    }

    #[inline(never)]
    fn send(&mut self, buffer: &mut Buffer<T::Item>) {
        if buffer.len == 0 {
            return;
        }
        let next = self.link.spare.pop().unwrap_or_else(|_| Buffer::new());
        let full = std::mem::replace(buffer, next);
        self.push(Message::Batch(full));
    }

    fn push(&mut self, mut message: Message<T::Item>) {
        while let Err(PushError::Full(refused)) = self.link.to.push(message) {
            message = refused;
            if !self.receive() {
                thread::yield_now();
            }
        }
    }

    /// Processes what has arrived; whether anything had.
    fn receive(&mut self) -> bool {
        let mut any = false;
        while let Ok(message) = self.link.from.pop() {
            any = true;
            match message {
                Message::Batch(mut buffer) => {
                    self.task.batch(&buffer.items[..buffer.len]);
                    buffer.len = 0;
                    // Where the ring is full enough buffers go round already: this one is freed.
                    drop(self.link.back.push(buffer));
                }
                Message::Watermark(at) => self.advance(1, at),
                Message::End => self.other_ended = true,
            }
        }
        any
    }

    fn advance(&mut self, part: usize, at: i64) {
        self.watermarks[part] = at;
        let least = self.watermarks[0].min(self.watermarks[1]);
        if least > self.passed {
            self.passed = least;
            self.task.watermark(least);
        }
    }
}
