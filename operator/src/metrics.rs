//! [`Metrics`]: what the operator has done, as Prometheus reads it.
//!
//! Counted by [`crate::serve()`], [`crate::reconcile`] and `coordinators`, shown by `health`. Names
//! and units are in docs/operate/operator.md. Invariant: nothing is shown that is not counted; an
//! operator that waits for the lease has no jobs.

mod course;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::time::Timestamp;

use self::course::{Course, Transition};
use crate::crd::status::Phase;
use crate::reconcile::validate::Owner;

/// Upper ends of what durations are sorted into, in seconds: what a look takes, and what a
/// restart of a large job does.
const BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 1800.0];

/// What the operator has done since its process began.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    leads: AtomicBool,
    coordinators: AtomicI64,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    looks: Histogram,
    failures: BTreeMap<String, u64>,
    requests: BTreeMap<String, u64>,
    /// By namespace and name.
    jobs: BTreeMap<(String, String), Course>,
    transitions: BTreeMap<Transition, Histogram>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// One that is counted while it is there.
#[derive(Debug)]
pub(crate) struct Present(Arc<Metrics>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.coordinators.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    fn with<T>(&self, act: impl FnOnce(&mut Counted) -> T) -> T {
        act(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this process looks after jobs. One that does not knows none.
    pub(crate) fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
        if !leads {
            self.with(|counted| counted.jobs.clear());
        }
    }

    /// A coordinator works until what is returned is dropped.
    pub(crate) fn coordinator(self: &Arc<Self>) -> Present {
        self.coordinators.fetch_add(1, Ordering::Relaxed);
        Present(self.clone())
    }

    /// The API server is asked something.
    pub(crate) fn requested(&self, method: &str) {
        self.with(|counted| add(&mut counted.requests, method));
    }

    /// A look at a job is over.
    pub(crate) fn looked(&self, took: Duration, failure: Option<ErrorKind>) {
        self.with(|counted| {
            counted.looks.add(took);
            if let Some(kind) = failure {
                add(&mut counted.failures, &kind.to_string());
            }
        });
    }

    /// What a job does; it is new where no status was ever written.
    pub(crate) fn saw(&self, owner: &Owner, phase: Phase, is_new: bool, now: Timestamp) {
        self.with(|counted| {
            let Counted { jobs, transitions, .. } = counted;
            let key = (owner.namespace.clone(), owner.name.clone());
            let course = jobs.entry(key).or_insert_with(|| Course::new(phase, is_new, now));
            if let Some((transition, took)) = course.see(phase, now) {
                transitions.entry(transition).or_default().add(took);
            }
        });
    }

    /// A job that was seen has come back from a failure; it is counted once.
    pub(crate) fn restarted(&self, owner: &Owner, failed: Timestamp, took: Duration) {
        self.with(|counted| {
            let Counted { jobs, transitions, .. } = counted;
            let key = (owner.namespace.clone(), owner.name.clone());
            let course = jobs.get_mut(&key).filter(|course| course.failed_at != Some(failed));
            if let Some(course) = course {
                course.failed_at = Some(failed);
                transitions.entry(Transition::Restart).or_default().add(took);
            }
        });
    }

    /// Forgets the jobs of a namespace, or of all, that are not there any more.
    pub(crate) fn keep(&self, namespace: Option<&str>, is_there: impl Fn(&str, &str) -> bool) {
        self.with(|counted| {
            counted.jobs.retain(|(of, name), _| {
                namespace.is_some_and(|namespace| namespace != of) || is_there(of, name)
            });
        });
    }

    /// All of them, in Prometheus' text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        head(&mut text, "build_info", "gauge", "Which version runs; always 1.");
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(text, "millstream_operator_build_info{{version=\"{version}\"}} 1");
        head(&mut text, "leader", "gauge", "Whether this process looks after jobs.");
        let leads = u8::from(self.leads.load(Ordering::Relaxed));
        let _ = writeln!(text, "millstream_operator_leader {leads}");
        head(&mut text, "coordinators", "gauge", "Coordinators at work.");
        let coordinators = self.coordinators.load(Ordering::Relaxed);
        let _ = writeln!(text, "millstream_operator_coordinators {coordinators}");
        self.with(|counted| counted.write(&mut text));
        text
    }
}

impl Counted {
    fn write(&self, text: &mut String) {
        let mut phases: BTreeMap<String, u64> = BTreeMap::new();
        for course in self.jobs.values() {
            add(&mut phases, &format!("{:?}", course.phase));
        }
        head(text, "jobs", "gauge", "Jobs that are looked after.");
        family(text, "jobs", "phase", &phases);
        head(text, "look_seconds", "histogram", "Time of a look at a job.");
        self.looks.write(text, "look_seconds", "");
        head(text, "look_failures_total", "counter", "Looks that came to nothing.");
        family(text, "look_failures_total", "kind", &self.failures);
        head(text, "api_requests_total", "counter", "What the API server was asked.");
        family(text, "api_requests_total", "method", &self.requests);
        head(text, "transition_seconds", "histogram", "Time from one lasting phase to the next.");
        for (transition, times) in &self.transitions {
            times.write(text, "transition_seconds", &format!("transition=\"{transition}\""));
        }
    }
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        for (count, end) in self.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= end);
        }
        self.count += 1;
        self.seconds += seconds;
    }

    fn write(&self, text: &mut String, name: &str, label: &str) {
        let (comma, braces) = match label {
            "" => ("", String::new()),
            _ => (",", format!("{{{label}}}")),
        };
        let name = format!("millstream_operator_{name}");
        for (count, end) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"{end}\"}} {count}");
        }
        let Self { count, seconds, .. } = self;
        let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{braces} {seconds}");
        let _ = writeln!(text, "{name}_count{braces} {count}");
    }
}

fn add(counts: &mut BTreeMap<String, u64>, of: &str) {
    *counts.entry(of.to_owned()).or_default() += 1;
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let name = format!("millstream_operator_{name}");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn family(text: &mut String, name: &str, label: &str, counts: &BTreeMap<String, u64>) {
    for (of, count) in counts {
        let _ = writeln!(text, "millstream_operator_{name}{{{label}=\"{of}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(namespace: &str, name: &str) -> Owner {
        Owner { namespace: namespace.into(), name: name.into(), uid: "u".into() }
    }

    #[test]
    fn all_that_is_counted_is_shown() {
        let metrics = Arc::new(Metrics::default());
        metrics.set_leads(true);
        let one = metrics.coordinator();
        drop(metrics.coordinator());
        metrics.requested("GET");
        metrics.requested("GET");
        metrics.looked(Duration::from_millis(70), None);
        metrics.looked(Duration::from_secs(7), Some(ErrorKind::Unavailable));
        metrics.saw(&owner("plants", "a"), Phase::Pending, true, Timestamp(0));
        metrics.saw(&owner("plants", "a"), Phase::Running, true, Timestamp(1500));
        metrics.saw(&owner("farms", "b"), Phase::Suspended, false, Timestamp(0));
        for _ in 0..2 {
            let took = Duration::from_secs(3);
            metrics.restarted(&owner("plants", "a"), Timestamp(2000), took);
        }
        let text = metrics.text();
        for line in [
            "millstream_operator_leader 1",
            "millstream_operator_coordinators 1",
            "millstream_operator_jobs{phase=\"Running\"} 1",
            "millstream_operator_jobs{phase=\"Suspended\"} 1",
            "millstream_operator_look_seconds_bucket{le=\"0.05\"} 0",
            "millstream_operator_look_seconds_bucket{le=\"0.1\"} 1",
            "millstream_operator_look_seconds_bucket{le=\"+Inf\"} 2",
            "millstream_operator_look_seconds_sum 7.07",
            "millstream_operator_look_failures_total{kind=\"unavailable\"} 1",
            "millstream_operator_api_requests_total{method=\"GET\"} 2",
            "millstream_operator_transition_seconds_sum{transition=\"restart\"} 3",
            "millstream_operator_transition_seconds_count{transition=\"restart\"} 1",
            "millstream_operator_transition_seconds_sum{transition=\"start\"} 1.5",
            "millstream_operator_transition_seconds_bucket{transition=\"start\",le=\"1\"} 0",
            "millstream_operator_transition_seconds_bucket{transition=\"start\",le=\"2\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        drop(one);
        metrics.set_leads(false);
        let text = metrics.text();
        assert!(!text.contains("operator_jobs{"), "{text}");
        assert!(text.contains("millstream_operator_coordinators 0\n"), "{text}");
    }

    #[test]
    fn jobs_that_are_gone_are_forgotten_where_they_were_looked_for() {
        let metrics = Metrics::default();
        for namespace in ["plants", "farms"] {
            metrics.saw(&owner(namespace, "a"), Phase::Running, false, Timestamp(0));
        }
        metrics.keep(Some("plants"), |_, _| false);
        assert!(metrics.text().contains("jobs{phase=\"Running\"} 1\n"));
        metrics.keep(None, |namespace, name| (namespace, name) == ("farms", "a"));
        assert!(metrics.text().contains("jobs{phase=\"Running\"} 1\n"));
        metrics.keep(None, |_, _| false);
        assert!(!metrics.text().contains("operator_jobs{"));
    }

    /// Every metric is in the docs, and the docs have no other.
    #[test]
    fn the_docs_name_every_metric() {
        let page = include_str!("../../docs/operate/operator.md");
        let metrics = Metrics::default();
        let text = metrics.text();
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<_> = names.filter_map(|it| it.split(' ').next()).collect();
        for name in &names {
            assert!(page.contains(&format!("`{name}`")), "{name} is not in the docs");
        }
        let told = page.split('`').filter(|it| it.starts_with("millstream_operator_"));
        for told in told {
            assert!(names.contains(&told), "{told} is in the docs, and nowhere else");
        }
    }
}
