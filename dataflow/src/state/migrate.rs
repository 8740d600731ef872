//! [`Migration`]: makes what an earlier version of the program stored into what this one stores.
//!
//! Registered by `.migrate` on handles and states, applied by [`crate::snapshot`] when it restores,
//! an entry at a time, before the state sees it. Invariant: an entry keeps its key and its place;
//! its value alone becomes another.

use std::marker::PhantomData;
use std::sync::Arc;

use super::schema_of;
use super::ttl::Lived;
use crate::data::{Data, Key};
use crate::error::Result;

type Convert = dyn Fn(&[u8]) -> Result<Vec<u8>> + Send + Sync;

/// How entries of one earlier form become entries of today's, both in postcard.
#[derive(Clone)]
pub struct Migration {
    /// The state's name within the operator.
    pub(crate) state: String,
    /// The schema of the earlier form.
    pub(crate) from: String,
    convert: Arc<Convert>,
}

impl Migration {
    /// A migration of the state of this name, whose entries have this shape.
    pub(crate) fn new<S: Shape, Old: Data, New: Data>(
        state: &str,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Self {
        let convert = move |body: &[u8]| {
            let old: S::Entry<Old> = postcard::from_bytes(body)?;
            Ok(postcard::to_stdvec(&S::map(old, &convert))?)
        };
        let from = schema_of::<S::Entry<Old>>();
        Self { state: state.to_owned(), from, convert: Arc::new(convert) }
    }

    /// The entry of today that an earlier one becomes.
    pub(crate) fn apply(&self, body: &[u8]) -> Result<Vec<u8>> {
        (self.convert)(body)
    }
}

/// How a kind of state stores a value: with its key, and with whatever else it keeps.
pub trait Shape: 'static {
    /// What is stored.
    type Entry<V: Data>: Data;

    /// The same with another value, or with other values where there are several.
    fn map<V: Data, W: Data>(entry: Self::Entry<V>, to: impl Fn(V) -> W) -> Self::Entry<W>;
}

/// A value per key.
pub(crate) struct PerKey<K>(PhantomData<K>);

impl<K: Key> Shape for PerKey<K> {
    type Entry<V: Data> = (K, V);

    fn map<V: Data, W: Data>((key, value): (K, V), to: impl Fn(V) -> W) -> (K, W) {
        (key, to(value))
    }
}

/// A value per key that may have a time to live.
pub(crate) struct LivedPerKey<K>(PhantomData<K>);

impl<K: Key> Shape for LivedPerKey<K> {
    type Entry<V: Data> = (K, Lived<V>);

    fn map<V: Data, W: Data>((key, lived): (K, Lived<V>), to: impl Fn(V) -> W) -> (K, Lived<W>) {
        (key, lived.map(to))
    }
}

/// The same, many per key, each at a place of its own.
pub(crate) struct LivedPerPlace<K, A>(PhantomData<(K, A)>);

impl<K: Key, A: Data> Shape for LivedPerPlace<K, A> {
    type Entry<V: Data> = (K, A, Lived<V>);

    fn map<V: Data, W: Data>(
        (key, at, lived): (K, A, Lived<V>),
        to: impl Fn(V) -> W,
    ) -> (K, A, Lived<W>) {
        (key, at, lived.map(to))
    }
}

/// Migrations to one type: `()` for none, and [`Also`] for each.
///
/// Implemented by these two, and not elsewhere.
pub trait Migrations<New>: Clone + 'static {
    /// Adds them to a list, for the state of this name.
    fn list<S: Shape>(&self, state: &str, into: &mut Vec<Migration>);
}

impl<New> Migrations<New> for () {
    fn list<S: Shape>(&self, _: &str, _: &mut Vec<Migration>) {}
}

/// The migrations `M`, and one from `Old` to `New`.
pub struct Also<M, Old, New> {
    before: M,
    convert: Arc<dyn Fn(Old) -> New + Send + Sync>,
}

impl<M, Old, New> Also<M, Old, New> {
    pub(crate) fn new(before: M, convert: impl Fn(Old) -> New + Send + Sync + 'static) -> Self {
        Self { before, convert: Arc::new(convert) }
    }
}

impl<M: Clone, Old, New> Clone for Also<M, Old, New> {
    fn clone(&self) -> Self {
        Self { before: self.before.clone(), convert: self.convert.clone() }
    }
}

impl<M: Migrations<New>, Old: Data, New: Data> Migrations<New> for Also<M, Old, New> {
    fn list<S: Shape>(&self, state: &str, into: &mut Vec<Migration>) {
        self.before.list::<S>(state, into);
        let convert = self.convert.clone();
        into.push(Migration::new::<S, Old, New>(state, move |old| convert(old)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_migrations_is_one_per_old_type_in_order() {
        let migrations = Also::new(Also::new((), u64::from as fn(u32) -> u64), |old: String| {
            old.parse::<u64>().unwrap_or_default()
        });
        let mut list = Vec::new();
        migrations.clone().list::<PerKey<u8>>("state", &mut list);
        let from: Vec<_> = list.iter().map(|migration| migration.from.clone()).collect();
        assert_eq!(from, [schema_of::<(u8, u32)>(), schema_of::<(u8, String)>()]);
        let old = postcard::to_stdvec(&(7u8, "300")).unwrap();
        assert_eq!(list[1].apply(&old).unwrap(), postcard::to_stdvec(&(7u8, 300u64)).unwrap());
    }

    #[test]
    fn bytes_that_are_not_the_old_type_are_an_error() {
        let migration = Migration::new::<PerKey<u8>, String, u64>("state", |_| 0);
        assert!(migration.apply(&[7, 200, 1]).is_err());
    }
}
