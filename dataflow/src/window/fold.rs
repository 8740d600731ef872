//! [`Fold`]: what a window does with its records, behind `aggregate` and `apply` alike.

use std::marker::PhantomData;

use super::{Window, Windowed};
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::Context;
use crate::operator::aggregate::Aggregate;

/// How a window that slides gets from one result to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sliding {
    /// Add the new slices, subtract the old.
    Subtract,
    /// Two stacks of slices: each slice of each key is merged a constant number of times.
    Stacks,
    /// Merge all slices anew: for what grows with its records, so that nothing is copied ahead.
    Anew,
}

/// What a window does with its records: gathers them by key, and puts out what comes of them.
pub trait Fold<K, T>: Clone + Send + 'static {
    /// What is kept of records.
    type Acc: Data;
    /// What is put out.
    type Out: Data;

    /// How windows slide.
    fn sliding(&self) -> Sliding;

    /// Of no records.
    fn zero(&self) -> Self::Acc;

    /// Takes a record in.
    fn add(&self, acc: &mut Self::Acc, record: T);

    /// Takes in what another one holds.
    fn merge(&self, acc: &mut Self::Acc, other: &Self::Acc);

    /// Takes out what was merged before, where windows slide by [`Sliding::Subtract`].
    fn subtract(&self, acc: &mut Self::Acc, other: &Self::Acc);

    /// Puts out the result of a window.
    fn emit<S: Send + 'static>(
        &self,
        ctx: &mut Context<'_, Self::Out, S>,
        key: &K,
        window: Window,
        acc: &Self::Acc,
    ) -> Result<()>;
}

/// Behind `aggregate`.
pub struct Aggregated<F, I, A> {
    value: F,
    aggregate: A,
    marker: PhantomData<fn() -> I>,
}

impl<F, I, A> Aggregated<F, I, A> {
    pub(super) fn new(value: F, aggregate: A) -> Self {
        Self { value, aggregate, marker: PhantomData }
    }
}

impl<F: Clone, I, A: Clone> Clone for Aggregated<F, I, A> {
    fn clone(&self) -> Self {
        Self::new(self.value.clone(), self.aggregate.clone())
    }
}

impl<K, T, F, I, A> Fold<K, T> for Aggregated<F, I, A>
where
    K: Key,
    F: Fn(&T) -> I + Clone + Send + 'static,
    I: 'static,
    A: Aggregate<I>,
{
    type Acc = A::Acc;
    type Out = Windowed<K, A::Out>;

    fn sliding(&self) -> Sliding {
        if self.aggregate.is_invertible() { Sliding::Subtract } else { Sliding::Stacks }
    }

    fn zero(&self) -> A::Acc {
        self.aggregate.zero()
    }

    #[inline]
    fn add(&self, acc: &mut A::Acc, record: T) {
        self.aggregate.add(acc, (self.value)(&record));
    }

    #[inline]
    fn merge(&self, acc: &mut A::Acc, other: &A::Acc) {
        self.aggregate.merge(acc, other);
    }

    #[inline]
    fn subtract(&self, acc: &mut A::Acc, other: &A::Acc) {
        self.aggregate.subtract(acc, other);
    }

    #[inline]
    fn emit<S: Send + 'static>(
        &self,
        ctx: &mut Context<'_, Self::Out, S>,
        key: &K,
        window: Window,
        acc: &A::Acc,
    ) -> Result<()> {
        let value = self.aggregate.result(acc);
        let Window { start, end } = window;
        ctx.emit(Windowed { key: key.clone(), start, end, value }, window.time())
    }
}

/// Behind `apply`.
#[derive(Clone)]
pub struct Applied<F>(pub(super) F);

impl<K, T, F, I> Fold<K, T> for Applied<F>
where
    K: Key,
    T: Data,
    F: Fn(&K, Window, &[T]) -> I + Clone + Send + 'static,
    I: IntoIterator<Item: Data>,
{
    type Acc = Vec<T>;
    type Out = I::Item;

    fn sliding(&self) -> Sliding {
        Sliding::Anew
    }

    fn zero(&self) -> Vec<T> {
        Vec::new()
    }

    #[inline]
    fn add(&self, acc: &mut Vec<T>, record: T) {
        acc.push(record);
    }

    fn merge(&self, acc: &mut Vec<T>, other: &Vec<T>) {
        acc.extend_from_slice(other);
    }

    fn subtract(&self, _: &mut Vec<T>, _: &Vec<T>) {}

    fn emit<S: Send + 'static>(
        &self,
        ctx: &mut Context<'_, I::Item, S>,
        key: &K,
        window: Window,
        records: &Vec<T>,
    ) -> Result<()> {
        let out = (self.0)(key, window, records);
        out.into_iter().try_for_each(|record| ctx.emit(record, window.time()))
    }
}
