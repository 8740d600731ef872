//! Which sources wait for each other, and how far apart they may be. Pure.

use std::collections::HashSet;
use std::panic::Location;

use super::graph::{Graph, NodeIndex};

/// How far sources may be apart, as a program says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum MaxDrift {
    /// Nothing: those in front of operators that hold one input for another, [`DEFAULT_MS`].
    #[default]
    Unsaid,
    Off,
    /// All that have event times: so many milliseconds.
    Of(i64, &'static Location<'static>),
}

/// Long enough for sources that go on beside each other, which are seconds apart, and a minute of a
/// hundred thousand small records per second still finds room in memory.
const DEFAULT_MS: i64 = 60_000;

/// How far sources may be apart, in milliseconds, and which; none where each goes on as it can.
pub(super) fn held_together(graph: &Graph) -> Option<(i64, Vec<NodeIndex>)> {
    let (max_ms, sources) = match graph.max_drift {
        MaxDrift::Off => return None,
        MaxDrift::Of(max_ms, _) => (max_ms, graph.timed.clone()),
        MaxDrift::Unsaid => (DEFAULT_MS, in_front(graph)),
    };
    (!sources.is_empty()).then_some((max_ms, sources))
}

/// What is wrong with what the program says.
pub(super) fn mistake(graph: &Graph) -> Option<(String, &'static Location<'static>)> {
    let MaxDrift::Of(_, location) = graph.max_drift else { return None };
    let message = "max_drift: no source has an event_time by which it could be ahead of another";
    graph.timed.is_empty().then(|| (message.to_owned(), location))
}

/// The sources with event times in front of operators that hold one input for another.
fn in_front(graph: &Graph) -> Vec<NodeIndex> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut next: Vec<_> = graph.holding.iter().map(|node| (*node, 0)).collect();
    while let Some((node, output)) = next.pop() {
        if !seen.insert((node, output)) {
            continue;
        }
        // Malformed records, at the side output of a source, have no time.
        if output == 0 && graph.timed.contains(&node) {
            found.push(node);
        }
        next.extend(graph.node(node).inputs.iter().map(|edge| (edge.from, edge.output)));
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connector::collection::Collection;
    use crate::plan::resolve;
    use crate::stream::{Job, Stream};
    use crate::time::{Timestamp, Watermarks};
    use crate::window::Tumbling;

    fn source(job: &Job, id: &str) -> Stream<i64> {
        let source = job.source(id, Collection::of(vec![1i64, 2]));
        source.event_time(|n| Timestamp(*n), Watermarks::ascending())
    }

    /// Two sources that are joined, and one that is not.
    fn program(job: &Job) {
        let (left, right) = (source(job, "left"), source(job, "right"));
        source(job, "other").map(|n| n + 1);
        let joined = left.map(|n| n + 1).key_by(|n| *n).join(&right.key_by(|n| *n));
        joined.window(Tumbling::of(Duration::from_secs(1))).inner("joined", |_, one, _| *one);
    }

    fn held(job: &Job) -> Option<(i64, String)> {
        let graph = job.graph.borrow();
        let (max_ms, sources) = held_together(&graph)?;
        let ids = sources.iter().map(|source| graph.node(*source).id.as_str());
        Some((max_ms, ids.collect::<Vec<_>>().join(", ")))
    }

    #[test]
    fn by_default_the_sources_in_front_of_joins_wait_for_each_other() {
        let job = Job::new(Default::default());
        source(&job, "alone");
        assert_eq!(held(&job), None);
        program(&job);
        assert_eq!(held(&job), Some((DEFAULT_MS, "left, right".to_owned())));
    }

    #[test]
    fn a_program_says_that_all_do_or_that_none_does() {
        let job = Job::new(Default::default());
        program(&job);
        job.source("untimed", Collection::of(vec![1]));
        job.max_drift(Duration::from_secs(5));
        assert_eq!(held(&job), Some((5000, "left, right, other".to_owned())));
        job.max_drift(None);
        assert_eq!(held(&job), None);
    }

    #[test]
    fn a_drift_without_event_times_is_a_mistake() {
        let job = Job::new(Default::default());
        job.source("untimed", Collection::of(vec![1]));
        job.max_drift(Duration::from_secs(5));
        let resolved = resolve(&job.graph.borrow(), 1, job.settings.key_groups);
        let message = resolved.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(message.starts_with("max_drift: no source has an event_time"), "{message}");
        assert!(message.contains("drift.rs"), "{message}");
    }
}
