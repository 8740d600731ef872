//! What a model worker does before its tasks start, and with what is old: recover sinks, read
//! positions, delete.

use std::collections::BTreeMap;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::Epoch;
use millstream_protocol::log::Manifest;
use millstream_protocol::session::{Deploy, Report, Restore, Retain};

use super::chance::Chance;
use super::outside::{Outside, Producer, Token};
use super::worker::{Body, SINK, SOURCE};

/// Recovers what a sink task of the base left: the epoch of the token then.
pub(super) fn recover(
    producer: Producer,
    deploy: &Deploy,
    restore: &Restore,
    outside: &mut Outside,
) -> Epoch {
    let (task, Restore { manifest, committed, .. }) = (producer.task, restore);
    let epoch = manifest.epoch;
    let body = body(manifest, task, outside);
    let (lineage, token) = (deploy.lineage.clone(), outside.token(task).cloned());
    let records = match &token {
        _ if *committed => vec![],
        Some(token) if token.lineage == manifest.lineage && token.epoch >= epoch => {
            return token.epoch;
        }
        Some(token) if token.lineage == manifest.lineage && token.epoch >= body.token => {
            body.pending.clone()
        }
        other => panic!("task {task} is at {other:?}, its part at {}: data is lost", body.token),
    };
    let written = Token { epoch, lineage };
    assert!(outside.transact(producer, deploy.run, &records, written), "just initialised");
    epoch
}

/// Writes the initial token, unless there is one of this history.
pub(super) fn first(producer: Producer, deploy: &Deploy, outside: &mut Outside) -> Epoch {
    let epoch = deploy.restore.as_ref().map_or(Epoch(0), |restore| restore.manifest.epoch);
    let lineage = deploy.lineage.clone();
    match outside.token(producer.task) {
        Some(token) if token.lineage == lineage => return token.epoch,
        Some(_) | None => {}
    }
    let token = Token { epoch, lineage };
    assert!(outside.transact(producer, deploy.run, &[], token), "just initialised");
    epoch
}

fn body(manifest: &Manifest, task: u32, outside: &Outside) -> Body {
    let sink = manifest.operator(&SINK.into()).expect("the plan has one sink");
    let part = sink.parts.iter().find(|part| part.task.0 == task).expect("every task has a part");
    outside.part(&part.object).expect("a named part is there").clone()
}

/// The positions of all splits in a manifest; every object that it names must be there.
pub(super) fn positions(manifest: Option<&Manifest>, outside: &Outside) -> BTreeMap<u32, u64> {
    let Some(manifest) = manifest else { return BTreeMap::new() };
    for object in manifest.objects() {
        assert!(outside.part(object).is_some(), "{object} is gone");
    }
    let source = manifest.operator(&SOURCE.into()).expect("the plan has one source");
    let bodies = source.parts.iter().filter_map(|part| outside.part(&part.object));
    bodies.flat_map(|body| body.positions.clone()).collect()
}

/// Looks at the guard, then overwrites and deletes. Now and then what comes behind the look takes
/// its time: that goes into `stalled`, to be done later, whatever the log says by then.
pub(super) fn retain_objects(
    retain: &Retain,
    outside: &mut Outside,
    chance: &mut Chance,
    stalled: &mut Vec<Retain>,
) -> Report {
    let guard = retain.guard;
    if outside.log().contains_key(&guard) {
        let result = Err(Failure::new(ErrorKind::Fenced, "another coordinator is at work"));
        return Report::Retained { guard, result };
    }
    let unavailable = || Failure::new(ErrorKind::Unavailable, "the store does not answer");
    if chance.hits(150) {
        stalled.push(retain.clone());
        return Report::Retained { guard, result: Err(unavailable()) };
    }
    let whole = retire(retain, outside, chance);
    Report::Retained { guard, result: whole.then_some(()).ok_or_else(unavailable) }
}

/// Overwrites and deletes. False: it was broken off.
pub(super) fn retire(retain: &Retain, outside: &mut Outside, chance: &mut Chance) -> bool {
    for (done, (seq, text)) in retain.tombstones.iter().enumerate() {
        if done > 0 && chance.hits(50) {
            return false;
        }
        outside.overwrite(*seq, text);
    }
    for (done, name) in retain.delete.iter().enumerate() {
        if done > 0 && chance.hits(50) {
            return false;
        }
        outside.delete(name);
    }
    true
}
