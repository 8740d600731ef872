//! Finding objects: one, those below a prefix, those that a glob names.
//!
//! Used by [`super::super::find`]. Invariant: an object's id is its key below the prefix, so it
//! stays the same wherever and whenever it is found.

use std::sync::mpsc::sync_channel;

use millstream_protocol::access::Access;
use tokio::task::JoinSet;

use super::super::find::{Found, GLOB};
use super::super::item::{Item, Stop};
use super::list::Listed;
use super::read::{Object, wait_for};
use super::{Bucket, READING, io};
use crate::error::{Context as _, Kind, Result};

/// What begins a pattern in a key.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// The objects that a key, a prefix or a glob names. Waits; on a thread that may.
pub(in super::super) fn find(
    (bucket, key): (&str, &str),
    access: &Access,
    stop: &Stop,
) -> Result<Found> {
    let (sender, result) = sync_channel(1);
    let mut running = JoinSet::new();
    let (name, key, access, kept) =
        (bucket.to_owned(), key.to_owned(), access.clone(), stop.clone());
    let work = async move {
        let found = async {
            let bucket = Bucket::open(&name, &access, &READING).await?;
            list(&bucket, &key, &kept).await
        };
        // Nobody else waits for it.
        let _ = sender.send(found.await);
    };
    running.spawn_on(work, &io::handle()?);
    wait_for(&result, stop)
}

async fn list(bucket: &Bucket, key: &str, stop: &Stop) -> Result<Found> {
    let item = |Listed { key, bytes, etag }: Listed| {
        let object = Object { bucket: bucket.clone(), key, etag, bytes, stop: stop.clone() };
        Item { path: bucket.uri(&object.key).into(), object: Some(object) }
    };
    if let Some(wildcard) = key.find(WILDCARDS) {
        let pattern = glob::Pattern::new(key);
        let pattern = pattern
            .or_kind(Kind::Invalid, || format!("{} is no pattern of keys", bucket.uri(key)))?;
        let (literal, root) = (&key[..wildcard], root_of(&key[..wildcard]));
        let all = bucket.list(literal).await?.into_iter();
        let named = all.filter(|it| is_object(&it.key) && pattern.matches_with(&it.key, GLOB));
        return Ok(named.map(|it| (it.key[root.len()..].to_owned(), item(it))).collect());
    }
    if !key.is_empty()
        && !key.ends_with('/')
        && let Some(seen) = bucket.look(key).await?
    {
        let id = key[root_of(key).len()..].to_owned();
        let listed = Listed { key: key.to_owned(), bytes: seen.bytes, etag: seen.etag };
        return Ok([(id, item(listed))].into());
    }
    let root = match key.trim_end_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    let all = bucket.list(&root).await?.into_iter();
    let below = all.filter(|it| is_object(&it.key) && !is_hidden(&it.key[root.len()..]));
    Ok(below.map(|it| (it.key[root.len()..].to_owned(), item(it))).collect())
}

/// What stands in front of the last name of a key.
fn root_of(key: &str) -> &str {
    key.rfind('/').map_or("", |slash| &key[..=slash])
}

/// Some tools make an object for a directory.
fn is_object(key: &str) -> bool {
    !key.ends_with('/')
}

/// As among files, what begins with a dot is passed over, and all below it.
fn is_hidden(id: &str) -> bool {
    id.split('/').any(|name| name.starts_with('.'))
}
