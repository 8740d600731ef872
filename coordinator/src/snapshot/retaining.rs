//! What follows a snapshot: old ones are overwritten, and what no snapshot names is deleted.
//!
//! Received from: [`Snapshot`], once it is marked as committed. Handed to: the first worker as
//! commands. Invariant: nothing is deleted before the newer snapshot is committed.

use std::collections::BTreeSet;

use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::id::Seq;
use millstream_protocol::log::Entry;
use millstream_protocol::session::{Command, Report, Retain};
use millstream_protocol::time::Timestamp;

use super::{Progress, Purpose, RETAIN_TIMEOUT, Snapshot, Stage};
use crate::context::Context;
use crate::machine::Event;
use crate::retain::{self, Retention};

impl Snapshot {
    pub(super) fn retain(self, ctx: &mut Context) -> Progress {
        // Whoever waits for the next tasks does not wait for this.
        if matches!(self.purpose, Purpose::Edit | Purpose::Drain) {
            return Progress::Done;
        }
        if ctx.reign().sweep {
            ctx.send(ctx.leader(), Command::ListParts);
            let until = ctx.now.after(RETAIN_TIMEOUT);
            return self.going(Stage::Listing { until });
        }
        self.delete(ctx, BTreeSet::new())
    }

    /// What is left to do for a job whose final snapshot an earlier run has published, and this one
    /// has marked: no later run will clear anything up.
    pub(crate) fn clear_up(ctx: &mut Context) -> Progress {
        let (run, epoch) = (ctx.reign().run, ctx.reign().epoch);
        let (purpose, started, stage) =
            (Purpose::Final, ctx.now, Stage::Listing { until: ctx.now });
        Self { run, epoch, purpose, savepoint: None, started, new_bytes: 0, stage }.retain(ctx)
    }

    pub(super) fn listing(self, ctx: &mut Context, event: &Event, until: Timestamp) -> Progress {
        match event {
            Event::Report(_, Report::Parts(Ok(parts))) => {
                let left = retain::leftovers(&ctx.history, parts, self.run, self.epoch);
                ctx.reign().sweep = false;
                self.delete(ctx, left)
            }
            Event::Report(_, Report::Parts(Err(_))) => self.delete(ctx, BTreeSet::new()),
            _ if ctx.now >= until => self.delete(ctx, BTreeSet::new()),
            _ => self.going(Stage::Listing { until }),
        }
    }

    fn delete(self, ctx: &mut Context, leftovers: BTreeSet<String>) -> Progress {
        // Others rely on what the claim says: what is to be kept beyond that may be at once, less
        // only from the next claim on.
        let keeps = ctx.config.spec.snapshots.retain.max(ctx.reign().retain);
        let mut retention = retain::retain(&ctx.history, keeps, ctx.now);
        retention.delete.extend(leftovers);
        if retention.is_empty() {
            return Progress::Done;
        }
        let stage = carry_out(ctx, retention);
        self.going(stage)
    }

    /// Deletes a savepoint that the user does not want kept any more, between two epochs.
    pub(crate) fn let_go(ctx: &mut Context) -> Option<Self> {
        let retention = ctx.next_to_go()?;
        let (run, epoch) = (ctx.reign().run, ctx.reign().epoch);
        let (purpose, started) = (Purpose::Periodic, ctx.now);
        let stage = carry_out(ctx, retention);
        Some(Self { run, epoch, purpose, savepoint: None, started, new_bytes: 0, stage })
    }

    pub(super) fn retaining(
        self,
        ctx: &mut Context,
        event: &Event,
        retention: Retention,
        until: Timestamp,
    ) -> Progress {
        let own = ctx.reign().last.next();
        match event {
            Event::Report(_, Report::Retained { guard, result: Ok(()) }) if *guard == own => {
                ctx.answer_of(&retention, &Ok(()));
                for (seq, tombstone) in retention.tombstones {
                    ctx.history.insert(seq, tombstone);
                }
                ctx.history.forget_stale_marks();
                Progress::Done
            }
            Event::Report(_, Report::Retained { guard, result: Err(failure) }) if *guard == own => {
                if failure.kind == ErrorKind::Fenced {
                    return Progress::Failed(ctx.superseded(own));
                }
                ctx.answer_of(&retention, &Err(failure.message.clone()));
                ctx.reign().sweep = true;
                Progress::Done
            }
            _ if ctx.now >= until => {
                ctx.answer_of(&retention, &Err("the store does not answer".to_owned()));
                ctx.reign().sweep = true;
                Progress::Done
            }
            _ => self.going(Stage::Retaining { retention, until }),
        }
    }
}

/// Has the first worker overwrite and delete.
fn carry_out(ctx: &mut Context, retention: Retention) -> Stage {
    let text = |(seq, entry): &(Seq, Entry)| (*seq, entry.to_text(&ctx.config.prefix, *seq));
    let tombstones = retention.tombstones.iter().map(text).collect();
    let retain = Retain {
        guard: ctx.reign().last.next(),
        tombstones,
        delete: retention.delete.iter().cloned().collect(),
    };
    ctx.send(ctx.leader(), Command::Retain(retain));
    Stage::Retaining { retention, until: ctx.now.after(RETAIN_TIMEOUT) }
}
