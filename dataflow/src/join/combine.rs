//! [`Combine`]: what is made of two records that meet, and of one that stays alone.
//!
//! The joins are written once over it; an inner join never asks for the records that stay alone.

use crate::data::Data;

/// What a join puts out.
pub(super) trait Combine<K, L, R>: Clone + Send + 'static {
    /// The records put out.
    type Out: Data;
    /// Whether records of the left side that found no partner are put out.
    const OUTER: bool;

    /// Two records have met.
    fn both(&self, key: &K, left: &L, right: &R) -> Self::Out;

    /// One has found no partner. `None` in an inner join.
    fn alone(&self, key: &K, left: &L) -> Option<Self::Out>;
}

/// The function of an inner join.
#[derive(Clone)]
pub(super) struct Inner<F>(pub(super) F);

impl<K, L, R, O, F> Combine<K, L, R> for Inner<F>
where
    O: Data,
    F: Fn(&K, &L, &R) -> O + Clone + Send + 'static,
{
    type Out = O;
    const OUTER: bool = false;

    #[inline]
    fn both(&self, key: &K, left: &L, right: &R) -> O {
        (self.0)(key, left, right)
    }

    fn alone(&self, _: &K, _: &L) -> Option<O> {
        None
    }
}

/// The function of a left outer join.
#[derive(Clone)]
pub(super) struct LeftOuter<F>(pub(super) F);

impl<K, L, R, O, F> Combine<K, L, R> for LeftOuter<F>
where
    O: Data,
    F: Fn(&K, &L, Option<&R>) -> O + Clone + Send + 'static,
{
    type Out = O;
    const OUTER: bool = true;

    #[inline]
    fn both(&self, key: &K, left: &L, right: &R) -> O {
        (self.0)(key, left, Some(right))
    }

    fn alone(&self, key: &K, left: &L) -> Option<O> {
        Some((self.0)(key, left, None))
    }
}
