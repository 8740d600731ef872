//! [`MigratingStream`]: a keyed stream whose next operator can take over state of an earlier type.
//!
//! Made by [`KeyedStream::migrate`]; `fold`, `scan` and `reduce` are put behind it in their own
//! files.

use crate::data::{Data, Key};
use crate::state::Also;
use crate::stream::KeyedStream;

/// A keyed stream whose next operator can be restored from state of other types. See
/// [`KeyedStream::migrate`].
#[derive(Clone)]
pub struct MigratingStream<K: Key, T: Data, M> {
    pub(crate) keyed: KeyedStream<K, T>,
    pub(crate) migrations: M,
}

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Says how the state of the `fold`, `scan` or `reduce` behind this is made of what an earlier
    /// version of the program stored under the same id. May be called again, for still older types.
    ///
    /// A restore calls the function for each entry where the snapshot holds the old type. The first
    /// snapshot behind it holds all state anew, and from then on the call may be dropped.
    ///
    /// A struct is known by its name: give the old one `#[serde(rename = "..")]` if it is called
    /// otherwise now.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// // The state was a count alone, and is a count and a sum.
    /// let keyed = numbers.key_by(|n| n % 2).migrate(|count: u64| (count, 0));
    /// let both = keyed.fold("both", (0, 0u64), |both, n| {
    ///     both.0 += 1;
    ///     both.1 += n;
    /// });
    /// ```
    pub fn migrate<Old: Data, New: Data>(
        &self,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> MigratingStream<K, T, Also<(), Old, New>> {
        self.migrating().migrate(convert)
    }

    /// Without migrations.
    pub(crate) fn migrating(&self) -> MigratingStream<K, T, ()> {
        MigratingStream { keyed: self.clone(), migrations: () }
    }
}

impl<K: Key, T: Data, M: Clone> MigratingStream<K, T, M> {
    /// See [`KeyedStream::migrate`].
    pub fn migrate<Old: Data, New: Data>(
        &self,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> MigratingStream<K, T, Also<M, Old, New>> {
        let migrations = Also::new(self.migrations.clone(), convert);
        MigratingStream { keyed: self.keyed.clone(), migrations }
    }
}
