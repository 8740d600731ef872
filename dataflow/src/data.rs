//! What may travel in a stream, and what may be a key.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A record, a state, a position: anything that streams carry and snapshots keep.
///
/// Implemented for every type that is `Serialize + DeserializeOwned + Clone + Send + 'static`.
pub trait Data: Serialize + DeserializeOwned + Clone + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + Send + 'static> Data for T {}

/// What a stream may be keyed by. Floats and maps are not keys.
pub trait Key: Data + Eq + Hash {}

impl<T: Data + Eq + Hash> Key for T {}
