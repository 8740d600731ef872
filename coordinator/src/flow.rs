//! What the workers say of their tasks' records, added up for the whole job.
//!
//! Received from: [`crate::context`], a worker's [`Report::Rates`]. Handed to: [`Status`], which is
//! shown. Invariants: nothing is said of the whole before all workers of the spec in force have
//! been heard of in the run; the watermark that is shown never falls within one.
//!
//! [`Report::Rates`]: millstream_protocol::session::Report::Rates
//! [`Status`]: crate::status::Status

use std::collections::{BTreeMap, BTreeSet};

use millstream_protocol::flow::{Flow, Load, Permille};
use millstream_protocol::id::{OperatorId, Run};
use millstream_protocol::plan::{Plan, Role};

use crate::context::Context;
use crate::status::{Pressure, Totals};

/// Who spends more of its time at something than this does nearly nothing else.
const MOST: Permille = 500;

impl Context {
    /// Adds up what all workers have said of this run.
    pub(crate) fn sum_rates(&mut self, run: Run) {
        let known = self.workers.iter().map(|worker| &worker.rates);
        let known = known.filter(|rates| rates.run == run);
        let mut totals = Totals::default();
        for rates in known {
            totals.records_in += rates.records_in;
            totals.records_out += rates.records_out;
            for (sink, records) in &rates.sinks {
                *totals.sinks.entry(sink.clone()).or_default() += records;
            }
            for (operator, records) in &rates.late {
                *totals.late.entry(operator.clone()).or_default() += records;
            }
            totals.records_failed += rates.records_failed;
            totals.store_trouble = totals.store_trouble.or_else(|| rates.store_trouble.clone());
        }
        let all = self.indexes().map(|index| self.workers.get(index.0 as usize));
        let all = all.map(|worker| Some(&worker?.rates).filter(|rates| rates.run == run));
        let flows: Option<Vec<Flow>> = all.map(|rates| Some(rates?.flow.clone())).collect();
        totals.is_whole = flows.is_some();
        let Flow { lag, clock, loads } =
            flows.unwrap_or_default().into_iter().fold(Flow::default(), Flow::and);
        totals.watermark = clock.watermark().max(self.status.totals.watermark);
        (totals.lag, totals.clock) = (lag, clock);
        totals.pressure = self.reign.as_ref().and_then(|reign| pressure(&reign.plan, &loads));
        self.status.totals = totals;
    }
}

/// The source that waits the most for room, and whom it waits for.
fn pressure(plan: &Plan, loads: &BTreeMap<OperatorId, Load>) -> Option<Pressure> {
    let sources = plan.operators.iter().filter(|operator| operator.role == Role::Source);
    let blocked = sources.filter_map(|source| Some((loads.get(&source.id)?.blocked, &source.id)));
    let (blocked, source) = blocked.filter(|(blocked, _)| *blocked > 0).max_by_key(|it| it.0)?;
    Some(Pressure { source: source.clone(), blocked, by: blocker(plan, loads, source) })
}

/// The first operator behind a source that is busy and does not wait. An operator that is chained
/// to another runs on the time of that one, and is passed over; so is who waits, for those behind.
fn blocker(
    plan: &Plan,
    loads: &BTreeMap<OperatorId, Load>,
    source: &OperatorId,
) -> Option<OperatorId> {
    let (mut reached, mut seen) = (vec![source], BTreeSet::from([source]));
    while !reached.is_empty() {
        let mut next = Vec::new();
        let mut busy: Option<(Permille, &OperatorId)> = None;
        for edge in plan.edges.iter().filter(|edge| reached.contains(&&edge.from)) {
            if !seen.insert(&edge.to) {
                continue;
            }
            match loads.get(&edge.to) {
                Some(load) if load.blocked <= MOST => {
                    busy = busy.max(Some((load.busy, &edge.to)));
                }
                Some(_) | None => next.push(&edge.to),
            }
        }
        if let Some((_, operator)) = busy.filter(|(busy, _)| *busy > MOST) {
            return Some(operator.clone());
        }
        reached = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use millstream_protocol::flow::{Clock, Lag, SplitLag};
    use millstream_protocol::plan::{EdgeKind, Guarantee, PlanEdge, PlanOperator};
    use millstream_protocol::session::Rates;

    use super::*;
    use crate::testing::host;

    /// A job of two workers, and what each of them says.
    struct Told(Context);

    impl Told {
        fn new() -> Self {
            Self(Context::new(host::config(2, 0, None)))
        }

        fn says(&mut self, worker: usize, flow: Flow) -> &Totals {
            let rates = Rates { run: Run(1), records_in: 5, flow, ..Rates::default() };
            self.0.workers[worker].rates = rates;
            self.0.sum_rates(Run(1));
            &self.0.status.totals
        }
    }

    fn at(watermark: i64) -> Flow {
        Flow { clock: Clock { lowest: Some(watermark), ..Clock::default() }, ..Flow::default() }
    }

    #[test]
    fn a_worker_without_a_split_does_not_hide_the_watermark_of_another() {
        let idle = Clock { has_idle: true, ..Clock::default() };
        let without = Flow { clock: idle, ..Flow::default() };
        let mut told = Told::new();
        assert_eq!(told.says(0, at(50)).watermark, None, "nobody knows of the other one");
        assert_eq!(told.says(1, without.clone()).watermark, Some(50));
        assert_eq!(told.says(0, at(70)).watermark, Some(70));
        assert!(!told.says(1, without.clone()).clock.is_idle());
        assert!(told.says(0, without).clock.is_idle(), "now all are");
        let totals = told.says(1, at(60));
        assert_eq!(totals.watermark, Some(70), "what has passed does not come back");
    }

    #[test]
    fn the_lag_of_a_job_is_known_when_all_workers_have_told_theirs() {
        let waits = |records| {
            let (source, split) = ("orders".into(), "orders-0".to_owned());
            let lag = SplitLag { source, split, records, delay: None, is_quiet: false };
            Flow { lag: Lag::of(lag), ..Flow::default() }
        };
        let mut told = Told::new();
        assert_eq!(told.says(0, waits(Some(7))).lag.records(), None);
        assert_eq!(told.says(1, waits(Some(8))).lag.records(), Some(15));
        assert_eq!(told.says(1, waits(None)).lag.records(), None);
        let totals = told.says(1, Flow::default());
        assert_eq!((totals.lag.records(), totals.records_in), (Some(7), 10), "it reads no split");
    }

    /// A source, a chain behind it of which the second operator is fused, two branches.
    fn plan() -> Plan {
        let operator = |(id, role): (&str, Role)| PlanOperator {
            id: id.into(),
            method: "map".into(),
            role,
            parallelism: 1,
            keyed: false,
            states: vec![],
            migrations: vec![],
        };
        let sink = Role::Sink(Guarantee::AtLeastOnce);
        let operators = [
            ("orders", Role::Source),
            ("sums", Role::Operator),
            ("fused", Role::Operator),
            ("slow", sink),
            ("fast", sink),
        ];
        let edge = |(from, to): (&str, &str)| PlanEdge {
            from: from.into(),
            to: to.into(),
            kind: EdgeKind::Hash,
        };
        let edges = [("orders", "sums"), ("sums", "fused"), ("fused", "slow"), ("fused", "fast")];
        Plan { operators: operators.map(operator).into(), edges: edges.map(edge).into() }
    }

    fn found(loads: &[(&str, Permille, Permille)]) -> Option<(Permille, Option<String>)> {
        let load = |(id, busy, blocked): &(&str, Permille, Permille)| {
            ((*id).into(), Load { busy: *busy, blocked: *blocked })
        };
        let found = pressure(&plan(), &loads.iter().map(load).collect())?;
        assert_eq!(found.source.as_str(), "orders");
        Some((found.blocked, found.by.map(|by| by.as_str().to_owned())))
    }

    #[test]
    fn who_is_busy_and_does_not_wait_is_named() {
        let by = |id: &str| Some(id.to_owned());
        assert_eq!(found(&[("orders", 100, 800), ("sums", 900, 0)]), Some((800, by("sums"))));
        let behind = [("orders", 50, 900), ("sums", 90, 800), ("slow", 700, 0), ("fast", 20, 0)];
        assert_eq!(found(&behind), Some((900, by("slow"))));
    }

    #[test]
    fn where_nobody_is_busy_only_the_source_is_known() {
        let idle = [("orders", 50, 900), ("sums", 20, 10)];
        assert_eq!(found(&idle), Some((900, None)), "it waits for the network, perhaps");
        let outside = [("orders", 50, 900), ("sums", 20, 970), ("slow", 10, 980)];
        assert_eq!(found(&outside), Some((900, None)), "a sink waits for what is outside");
        assert_eq!(found(&[("orders", 900, 0), ("sums", 900, 0)]), None, "it waits for nobody");
        assert_eq!(found(&[]), None);
    }
}
