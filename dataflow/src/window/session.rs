//! Session windows: records of a key that are less than a gap apart.
//!
//! Built by [`super::kind`]. State: the open sessions of each key, sorted. Invariant: two sessions
//! of a key are at least the gap apart, and each key is due no later than its next session ends.

use std::marker::PhantomData;
use std::mem;

use millstream_protocol::key_hash::key_hash;
use serde::{Deserialize, Serialize};

use super::due::Due;
use super::fold::Fold;
use super::reached::Reached;
use super::{Window, untimed};
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::{Context, Operator, Progress, Saved};
use crate::snapshot::RestoredList;
use crate::state::{Shape, State, TableState};
use crate::stream::SelectKeys;
use crate::task::{Barrier, TaskInfo};
use crate::time::Timestamp;

const PREFETCH_RECORDS: usize = 16;
/// Keys looked at before a call ends: some 200 us.
const WORK_KEYS: usize = 2048;

/// A key and its sessions, as snapshots keep them.
pub(super) struct PerKey<K>(PhantomData<K>);

impl<K: Key> Shape for PerKey<K> {
    type Entry<V: Data> = (K, Open<V>);

    fn map<V: Data, W: Data>((key, open): (K, Open<V>), to: impl Fn(V) -> W) -> (K, Open<W>) {
        let migrated = |One { start, last, fired, acc }| One { start, last, fired, acc: to(acc) };
        let sessions = open.sessions.into_iter().map(migrated).collect();
        (key, Open { sessions, due: open.due })
    }
}

/// The sessions of one key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Open<A> {
    /// In order of time.
    sessions: Vec<One<A>>,
    /// When the key is to be looked at, as far as that is noted. Derived.
    #[serde(skip)]
    due: Option<i64>,
}

#[derive(Clone, Serialize, Deserialize)]
struct One<A> {
    /// The time of the first record.
    start: i64,
    /// The time of the last one.
    last: i64,
    /// The result is out, and nothing has come since.
    fired: bool,
    acc: A,
}

pub(super) struct Sessions<K: Key, T, F: Fold<K, T>> {
    keys: Box<dyn SelectKeys<K, T>>,
    scratch: Vec<K>,
    fold: F,
    gap_ms: i64,
    lateness_ms: i64,
    reached: Reached,
    table: TableState<K, Open<F::Acc>>,
    due: Due<K>,
    /// `due` is to be made from the restored table.
    restored: bool,
}

impl<A> One<A> {
    fn end(&self, gap_ms: i64) -> i64 {
        self.last.saturating_add(gap_ms)
    }

    fn window(&self, gap_ms: i64) -> Window {
        Window { start: Timestamp(self.start), end: Timestamp(self.end(gap_ms)) }
    }

    /// When it is to be looked at: to fire, or to be given up.
    fn due(&self, gap_ms: i64, lateness_ms: i64) -> i64 {
        let end = self.end(gap_ms);
        if self.fired { end.saturating_add(lateness_ms) } else { end }
    }

    fn is_near(&self, time: i64, gap_ms: i64) -> bool {
        self.start.saturating_sub(time) < gap_ms && time.saturating_sub(self.last) < gap_ms
    }
}

impl<A> Default for Open<A> {
    fn default() -> Self {
        Self { sessions: Vec::new(), due: None }
    }
}

impl<A> Open<A> {
    /// Puts a record into the session it is near to, which may join it to the next; `None` if it
    /// is near none.
    fn join<K, T, F: Fold<K, T, Acc = A>>(
        &mut self,
        fold: &F,
        gap_ms: i64,
        time: i64,
        record: &mut Option<T>,
    ) -> Option<&mut One<A>> {
        let at = self.sessions.iter().position(|one| one.is_near(time, gap_ms))?;
        let one = &mut self.sessions[at];
        fold.add(&mut one.acc, record.take()?);
        one.start = one.start.min(time);
        one.last = one.last.max(time);
        while let Some(next) = self.sessions.get(at + 1)
            && next.start.saturating_sub(self.sessions[at].last) < gap_ms
        {
            let next = self.sessions.remove(at + 1);
            let one = &mut self.sessions[at];
            fold.merge(&mut one.acc, &next.acc);
            one.last = one.last.max(next.last);
        }
        Some(&mut self.sessions[at])
    }

    fn begin(&mut self, time: i64, acc: A) -> &mut One<A> {
        let at = self.sessions.partition_point(|one| one.start < time);
        self.sessions.insert(at, One { start: time, last: time, fired: false, acc });
        &mut self.sessions[at]
    }
}

impl<K: Key, T: Data, F: Fold<K, T>> Sessions<K, T, F> {
    pub(super) fn new(
        keys: Box<dyn SelectKeys<K, T>>,
        fold: F,
        (gap_ms, lateness_ms): (i64, i64),
        info: &TaskInfo,
    ) -> Self {
        Self {
            keys,
            scratch: Vec::new(),
            fold,
            gap_ms,
            lateness_ms,
            reached: Reached::new(info, lateness_ms),
            table: TableState::in_memory(),
            due: Due::default(),
            restored: false,
        }
    }

    /// Notes when each restored key is due.
    fn note_restored(&mut self) -> Result<()> {
        if !mem::take(&mut self.restored) {
            return Ok(());
        }
        for segment in 0..self.table.segment_count() {
            for (_, key, open) in self.table.segment_mut(segment) {
                let due = open.sessions.iter().map(|one| one.due(self.gap_ms, self.lateness_ms));
                open.due = due.min();
                if let Some(due) = open.due {
                    self.due.add(due, key_hash(key)?, key.clone());
                }
            }
        }
        Ok(())
    }

    fn on_record(
        &mut self,
        ctx: &mut Context<'_, F::Out, T>,
        (hash, key, time): (u64, K, Timestamp),
        record: T,
    ) -> Result<()> {
        let watermark = self.reached.of(hash);
        let closed = self.reached.is_closed(time.0.saturating_add(self.gap_ms), watermark);
        if closed && self.table.get(hash, &key).is_none() {
            return late(ctx, record, time);
        }
        let mut record = Some(record);
        let open = self.table.entry(hash, key.clone(), Open::default);
        let (gap, known) = (self.gap_ms, open.due);
        let one = if let Some(one) = open.join(&self.fold, gap, time.0, &mut record) {
            one
        } else {
            let Some(record) = record else { return Ok(()) };
            if closed {
                return late(ctx, record, time);
            }
            let mut acc = self.fold.zero();
            self.fold.add(&mut acc, record);
            open.begin(time.0, acc)
        };
        one.fired = one.end(gap) <= watermark.0;
        if one.fired {
            self.fold.emit(ctx, &key, one.window(gap), &one.acc)?;
        }
        let due = one.due(gap, self.lateness_ms);
        if known.is_none_or(|known| due < known) {
            open.due = Some(due);
            self.due.add(due, hash, key);
        }
        Ok(())
    }

    /// Fires and gives up what is due of a key.
    fn look(
        &mut self,
        ctx: &mut Context<'_, F::Out, T>,
        watermark: Timestamp,
        (due, hash, key): (i64, u64, K),
    ) -> Result<()> {
        if self.table.get(hash, &key).is_none_or(|open| open.due != Some(due)) {
            return Ok(());
        }
        let Some(open) = self.table.get_mut(hash, &key) else { return Ok(()) };
        let gap = self.gap_ms;
        for one in &mut open.sessions {
            if !one.fired && one.end(gap) <= watermark.0 {
                one.fired = true;
                self.fold.emit(ctx, &key, one.window(gap), &one.acc)?;
            }
        }
        open.sessions.retain(|one| !self.reached.is_closed(one.end(gap), watermark));
        open.due = open.sessions.iter().map(|one| one.due(gap, self.lateness_ms)).min();
        match open.due {
            Some(due) => self.due.add(due, hash, key),
            None => {
                self.table.remove(hash, &key);
            }
        }
        Ok(())
    }
}

fn late<O: Send + 'static, T: Send + 'static>(
    ctx: &mut Context<'_, O, T>,
    record: T,
    time: Timestamp,
) -> Result<()> {
    ctx.count_late(1);
    ctx.emit_side(record, time)
}

impl<K: Key, T: Data, F: Fold<K, T>> Operator for Sessions<K, T, F> {
    type In = T;
    type Out = F::Out;
    type Side = T;

    fn on_batch(&mut self, ctx: &mut Context<'_, F::Out, T>, batch: Batch<T>) -> Result<()> {
        if batch.times.len() != batch.records.len() {
            return Err(untimed());
        }
        self.note_restored()?;
        let mut keys = mem::take(&mut self.scratch);
        self.keys.keys(&batch.records, &mut keys);
        let Batch { records, times, hashes } = batch;
        for (index, (record, key)) in records.into_iter().zip(keys.drain(..)).enumerate() {
            if let Some(&ahead) = hashes.get(index + PREFETCH_RECORDS) {
                self.table.prefetch(ahead);
            }
            self.on_record(ctx, (hashes[index], key, times[index]), record)?;
        }
        self.scratch = keys;
        Ok(())
    }

    fn on_watermark(
        &mut self,
        ctx: &mut Context<'_, F::Out, T>,
        time: Timestamp,
    ) -> Result<Progress> {
        self.note_restored()?;
        for _ in 0..WORK_KEYS {
            if ctx.is_blocked() {
                return Ok(Progress::More);
            }
            let Some(due) = self.due.pop(time.0) else {
                self.reached.advance(time);
                return Ok(Progress::Done);
            };
            self.look(ctx, time, due)?;
        }
        Ok(Progress::More)
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.table]
    }

    fn save(&mut self, _: Barrier) -> Result<Saved> {
        Ok(Saved { lists: vec![self.reached.save()?], ..Saved::default() })
    }

    fn restore_lists(&mut self, _: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        self.restored = true;
        self.reached.restore(&lists).map(drop)
    }
}
