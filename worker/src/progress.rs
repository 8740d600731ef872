//! What a run shows of itself: a live line on a terminal, else a log line every few seconds.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::time::Duration;

use millstream_coordinator::status::{FailureStatus, Phase, Status, Totals};
use millstream_dataflow::Timestamp;
use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_protocol::id::OperatorId;
use tokio::sync::watch;
use tokio::time::interval;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::config::LocalJob;
use crate::terminal::{self, say};

/// How often the live line is drawn.
const LIVE_EVERY: Duration = Duration::from_millis(500);
/// How often a line is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Of so many sinks each has its rate in the progress line: with more, it fills the screen.
const SINKS_LIVE_MAX: usize = 4;
/// When the first line comes: whoever started the job is still looking.
const FIRST_AFTER: Duration = Duration::from_secs(1);

/// Starts logging to standard error.
pub(crate) fn init_log(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("MILLSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log line never goes on where the live line ends.
        .with_writer(terminal::cleared)
        // Said on standard error, by a macro that panics where nothing can be said there.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    if format == LogFormat::Json {
        terminal::say_json();
    } else {
        terminal::panics_once();
    }
    // A second start in one process, as tests do, keeps the first one's log.
    let _ = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.with_target(false).compact().try_init(),
    };
}

/// Shows a job while it runs.
pub(crate) struct View {
    job: String,
    status: watch::Receiver<Status>,
    clock: SystemClock,
    live: bool,
    phase: Phase,
    restarts: u64,
    /// When the job last ran again after a failure.
    mended_at: Option<millstream_protocol::time::Timestamp>,
    /// The failed snapshot that was told of last.
    snapshot_failure: Option<String>,
    /// It was told that the log cannot be written.
    log_failure: bool,
    /// The edit that waits and was told of last.
    held: Option<u64>,
    seen: Option<(u64, Totals)>,
}

impl View {
    pub(crate) fn new(local: &LocalJob, status: watch::Receiver<Status>) -> Self {
        Self {
            job: local.job.metadata.name.clone(),
            status,
            clock: SystemClock::new(),
            live: io::stderr().is_terminal() && !terminal::is_json(),
            phase: Phase::Pending,
            restarts: 0,
            mended_at: None,
            snapshot_failure: None,
            log_failure: false,
            held: None,
            seen: None,
        }
    }

    /// Shows until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut tick = interval(if self.live { LIVE_EVERY } else { LOG_EVERY });
        loop {
            tokio::select! {
                changed = self.status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if self.note_changes() {
                        // Of a run that was there before, what it had done counts once it is known.
                        let is_new = !self.status.borrow().taken_over;
                        let now = self.clock.monotonic_ns();
                        self.seen = is_new.then(|| (now, Totals::default()));
                        tick.reset_after(FIRST_AFTER);
                    }
                }
                _ = tick.tick() => self.show(),
            }
        }
    }

    /// Says what happened, once each: where it started from, failures, phases. Whether the job has
    /// begun to run.
    fn note_changes(&mut self) -> bool {
        let status = self.status.borrow_and_update().clone();
        if status.restarts > self.restarts {
            self.restarts = status.restarts;
            if let Some(last) = &status.last_failure {
                let pause = status
                    .restarts_in
                    .map_or_else(String::new, |pause| format!(", in {}", brief(pause)));
                tracing::warn!(
                    "{} restarts (attempt {}{pause}): {}",
                    self.job,
                    status.restarts,
                    last.failure.message
                );
            }
        }
        let mended = status.last_failure.as_ref().and_then(|last| Some((last, last.running_at?)));
        if let Some((last, at)) = mended.filter(|(_, at)| self.mended_at != Some(*at)) {
            self.mended_at = Some(at);
            if let Some(course) = course(last) {
                self.line(&format!("{} runs again, {course}", self.job));
            }
        }
        if status.snapshot_failure != self.snapshot_failure {
            if let Some(reason) = &status.snapshot_failure {
                tracing::warn!("{}: snapshot failed: {reason}", self.job);
            }
            self.snapshot_failure.clone_from(&status.snapshot_failure);
        }
        if let (Some(failure), false) = (&status.log_failure, self.log_failure) {
            tracing::warn!("{}: {failure}", self.job);
        }
        self.log_failure = status.log_failure.is_some();
        let held = status.held.as_ref().filter(|held| self.held != Some(held.generation));
        if let Some(held) = held {
            self.held = Some(held.generation);
            tracing::warn!("{}: what it is to be next waits: {}", self.job, held.failure.message);
        }
        if status.phase == self.phase {
            return false;
        }
        self.phase = status.phase;
        if let (Phase::Running, Some((request, run))) = (status.phase, status.acted) {
            self.line(&format!(
                "spec.restore.request {request} was acted upon by run {run}: write another number \
                 to act again"
            ));
        }
        match (status.phase, &status.restored) {
            (Phase::Running, _) if status.taken_over => {
                let run = status.run.unwrap_or_default();
                self.line(&format!(
                    "{} continues from its running tasks (run {run}), which another coordinator \
                     left",
                    self.job
                ));
            }
            (Phase::Running, Some(restored)) => {
                self.line(&format!(
                    "{} resumes from snapshot {} ({})",
                    self.job, restored.epoch, restored.from
                ));
            }
            (Phase::Running, None) => {
                self.line(&format!("{} starts from an empty state", self.job));
            }
            _ => {}
        }
        self.phase == Phase::Running
    }

    fn line(&self, text: &str) {
        if self.live {
            say(text);
        } else {
            tracing::info!("{text}");
        }
    }

    fn show(&mut self) {
        let phase = self.status.borrow().phase;
        let line = match phase {
            Phase::Running => self.progress(),
            // While it starts or stops there is nothing to tell but what it waits for.
            _ => self.log_failure().map(|failure| format!("{}: {failure}", self.job)),
        };
        let Some(line) = line else { return };
        if self.live {
            terminal::live(&line);
        } else {
            tracing::info!("{line}");
        }
    }

    /// Records per second since the last look, the watermark, the last snapshot.
    fn progress(&mut self) -> Option<String> {
        let status = self.status.borrow().clone();
        let (now, totals) = (self.clock.monotonic_ns(), status.totals.clone());
        let (then, before) = self.seen.replace((now, totals.clone()))?;
        let seconds = (now.saturating_sub(then)) as f64 / 1e9;
        let per_second = |now: u64, before: u64| {
            format!("{}/s", short(now.saturating_sub(before) as f64 / seconds.max(1e-3)))
        };
        let of_sink = |sink: &OperatorId, records: u64| {
            per_second(records, before.sinks.get(sink).copied().unwrap_or_default())
        };
        let mut line = format!(
            "{}  in {}  out {}{}",
            self.job,
            per_second(totals.records_in, before.records_in),
            per_second(totals.records_out, before.records_out),
            by_sink(&totals, SINKS_LIVE_MAX, of_sink),
        );
        line += &failed("  ", &totals);
        let watermark = totals.watermark.map(Timestamp);
        if let Some(watermark) = watermark.filter(|time| *time < Timestamp::MAX) {
            let behind = self.clock.now().millis().saturating_sub(watermark.millis()).max(0);
            let _ = write!(line, "  watermark {watermark}");
            // Replayed history is years behind: then only the watermark says something.
            if behind < 24 * 3600 * 1000 {
                let _ = write!(line, " ({} behind)", brief(Duration::from_millis(behind as u64)));
            }
        }
        if let Some(waiting) = totals.lag.records().filter(|records| *records > 0) {
            let _ = write!(line, "  {}waiting", short(waiting as f64));
        }
        match &status.last_snapshot {
            Some(snapshot) => {
                let age = self.clock.now().millis().saturating_sub(snapshot.completed_at.0).max(0);
                let _ = write!(
                    line,
                    "  snapshot {} {} ago, {}B in {}",
                    snapshot.epoch,
                    brief(Duration::from_millis(age as u64)),
                    short(snapshot.bytes as f64),
                    brief(snapshot.duration),
                );
            }
            None => line += "  no snapshot of this run yet",
        }
        if let Some(reason) = &status.snapshot_failure {
            let _ = write!(line, "  last snapshot failed: {reason}");
        }
        if let Some(failure) = self.log_failure() {
            let _ = write!(line, "  {failure}");
        }
        Some(line)
    }

    /// Why the log cannot be written, and for how long that has been so.
    fn log_failure(&self) -> Option<String> {
        let status = self.status.borrow();
        let failure = status.log_failure.as_ref()?;
        let since = self.clock.now().millis().saturating_sub(failure.since.0).max(0);
        Some(format!("{failure} (for {})", brief(Duration::from_millis(since as u64))))
    }
}

/// What each of several sinks has, in brackets; nothing where there is one, or more than these.
pub(crate) fn by_sink(
    totals: &Totals,
    sinks_max: usize,
    shown: impl Fn(&OperatorId, u64) -> String,
) -> String {
    if !(2..=sinks_max).contains(&totals.sinks.len()) {
        return String::new();
    }
    let each =
        totals.sinks.iter().map(|(sink, records)| format!("{sink} {}", shown(sink, *records)));
    format!(" ({})", each.collect::<Vec<_>>().join(", "))
}

/// What a restart took, and its parts; none while it is not over.
fn course(last: &FailureStatus) -> Option<String> {
    let workers = last.workers_ready_at?;
    let (restored, running) = (last.restored_at?, last.running_at?);
    Some(format!(
        "{} after that was found: {} until all workers were there, {} until they had their state, \
         {} until they ran",
        brief(running.since(last.at)),
        brief(workers.since(last.at)),
        brief(restored.since(workers)),
        brief(running.since(restored)),
    ))
}

/// How many records failed since the tasks started, behind `before`; nothing where none did.
pub(crate) fn failed(before: &str, totals: &Totals) -> String {
    match totals.records_failed {
        0 => String::new(),
        1 => format!("{before}1 record failed"),
        failed => format!("{before}{failed} records failed"),
    }
}

/// How many records were late, and for which operators where there are several.
pub(crate) fn late(totals: &Totals) -> String {
    let sum: u64 = totals.late.values().sum();
    let each: Vec<_> = totals.late.iter().map(|(id, records)| format!("{id} {records}")).collect();
    match each.len() {
        0 | 1 => format!("{sum} late"),
        _ => format!("{sum} late ({})", each.join(", ")),
    }
}

/// A number with three digits and a letter: 1.25 M.
pub(crate) fn short(number: f64) -> String {
    let scales = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    for (scale, letter) in scales {
        if number >= scale {
            return format!("{:.1$}{letter}", number / scale, digits(number / scale));
        }
    }
    format!("{number:.0} ")
}

fn digits(number: f64) -> usize {
    if number < 10.0 { 2 } else { usize::from(number < 100.0) }
}

/// A duration in its largest unit.
pub(crate) fn brief(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 1000 => format!("{millis}ms"),
        millis if millis < 60_000 => format!("{:.1}s", duration.as_secs_f64()),
        millis if millis < 3_600_000 => format!("{}m", millis / 60_000),
        millis => format!("{}h", millis / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_named_where_there_are_several() {
        let mut totals = Totals::default();
        let plain = |_: &OperatorId, records: u64| records.to_string();
        totals.sinks.insert("files".into(), 7);
        assert_eq!(by_sink(&totals, 4, plain), "");
        totals.sinks.insert("screen".into(), 2);
        assert_eq!(by_sink(&totals, 4, plain), " (files 7, screen 2)");
        assert_eq!(by_sink(&totals, 1, plain), "");
    }

    #[test]
    fn a_restart_says_what_its_parts_took_once_it_is_over() {
        use millstream_protocol::error_kind::{ErrorKind, Failure};
        use millstream_protocol::time::Timestamp;
        let mut last =
            FailureStatus::new(Failure::new(ErrorKind::Unavailable, "lost"), Timestamp(1000));
        last.workers_ready_at = Some(Timestamp(1400));
        last.restored_at = Some(Timestamp(2900));
        assert_eq!(course(&last), None);
        last.running_at = Some(Timestamp(2912));
        assert_eq!(
            course(&last).unwrap(),
            "1.9s after that was found: 400ms until all workers were there, 1.5s until they had \
             their state, 12ms until they ran"
        );
    }

    #[test]
    fn operators_are_named_where_several_had_late_records() {
        let mut totals = Totals::default();
        assert_eq!(late(&totals), "0 late");
        totals.late.insert("by hour".into(), 3);
        assert_eq!(late(&totals), "3 late");
        totals.late.insert("by day".into(), 1);
        assert_eq!(late(&totals), "4 late (by day 1, by hour 3)");
    }

    #[test]
    fn numbers_and_durations_are_short() {
        assert_eq!(short(0.0), "0 ");
        assert_eq!(short(999.0), "999 ");
        assert_eq!(short(1250.0), "1.25 k");
        assert_eq!(short(43_200_000.0), "43.2 M");
        assert_eq!(brief(Duration::from_millis(420)), "420ms");
        assert_eq!(brief(Duration::from_millis(3_400)), "3.4s");
        assert_eq!(brief(Duration::from_secs(7300)), "2h");
    }
}
