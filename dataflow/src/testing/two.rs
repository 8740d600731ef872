//! The suite for operators of two inputs. Like [`super::suite`], on two scripts.

use std::fmt::Debug;

use super::run::{Harness, Output};
use super::script::Element;
use crate::data::Data;
use crate::stream::Stream;

/// Snapshots per run: each costs a restart of the engine.
const SNAPSHOTS_MAX: usize = 12;

/// The elements with so many snapshots, one behind every so many elements and the rest at the end.
fn with_snapshots<T: Clone>(
    elements: &[Element<T>],
    every: usize,
    count: usize,
) -> Vec<Element<T>> {
    let mut disturbed = Vec::new();
    let mut left = count;
    for (index, element) in elements.iter().enumerate() {
        disturbed.push(element.clone());
        if index % every == 0 && left > 0 {
            disturbed.push(Element::Snapshot);
            left -= 1;
        }
    }
    disturbed.extend(std::iter::repeat_n(Element::Snapshot, left));
    disturbed
}

/// The suite that every operator of two inputs passes: the output, sorted, is the same on one
/// thread and on many, with and without snapshots, with and without restores at each of them, when
/// restored at another parallelism, and with the tasks spread over several workers. The scripts
/// must leave nothing to chance: no record behind its own script's watermark.
///
/// # Panics
/// Where an output differs from that of the undisturbed run on one thread, or the run fails.
pub fn suite_two<A, B, U>(
    left: &[Element<A>],
    right: &[Element<B>],
    build: impl Fn(&Stream<A>, &Stream<B>) -> Stream<U>,
) -> Output<U>
where
    A: Data + PartialEq,
    B: Data + PartialEq,
    U: Data + Ord + Debug,
{
    let run = |harness: Harness, left: Vec<Element<A>>, right: Vec<Element<B>>| {
        let mut out = harness.run_two(left, right, &build).expect("the run succeeds");
        out.sort();
        out
    };
    let plain = run(Harness::new(), left.to_vec(), right.to_vec());
    for threads in [&[1][..], &[2], &[3], &[1, 3, 2], &[3, 1]] {
        for every in [(1, 1), (2, 3), (5, 1), (7, 4)] {
            let left = with_snapshots(left, every.0, SNAPSHOTS_MAX);
            let right = with_snapshots(right, every.1, SNAPSHOTS_MAX);
            let harness = Harness::new().threads(threads);
            let still = run(harness.clone().without_restore(), left.clone(), right.clone());
            assert_eq!(still, plain, "snapshots at {threads:?} threads");
            assert_eq!(run(harness, left, right), plain, "restores at {threads:?} threads");
        }
    }
    for workers in [&[&[1, 1][..]][..], &[&[2, 1], &[3], &[1, 1, 1]]] {
        let left = with_snapshots(left, 3, SNAPSHOTS_MAX);
        let right = with_snapshots(right, 2, SNAPSHOTS_MAX);
        let out = run(Harness::new().workers(workers), left, right);
        assert_eq!(out, plain, "restores at {workers:?} threads of workers");
    }
    plain
}
