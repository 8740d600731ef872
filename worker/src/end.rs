//! How a job ended, in a last line and an exit code.
//!
//! Received from: [`crate::local`], when the coordinator is done. Handed to: the user. Invariant:
//! the line says what the same command does next, and why a snapshot is missing where one is.

use millstream_coordinator::machine::Outcome;
use millstream_coordinator::status::Status;
use millstream_dataflow::Kind;

use crate::cli;
use crate::config::LocalJob;
use crate::progress;
use crate::terminal;

/// How a job ended.
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) status: Status,
    /// How often it was told to stop.
    pub(crate) signals: u32,
}

/// Says how the job ended and how to go on; returns the exit code.
pub(crate) fn report(end: &End, local: &LocalJob, args: &cli::Run) -> u8 {
    let End { outcome, status, signals } = end;
    let job = &local.job.metadata.name;
    match outcome {
        Outcome::Finished { already: true } => finished_before(status, local),
        Outcome::Finished { already: false } => {
            let totals = &status.totals;
            let line = format!(
                "{job} finished: {} records in, {} out{}, {}{}",
                totals.records_in,
                totals.records_out,
                progress::by_sink(totals, usize::MAX, |_, records| records.to_string()),
                progress::late(totals),
                progress::failed(", ", totals)
            );
            terminal::end(&line, 0)
        }
        Outcome::Suspended { snapshot: true } => {
            let epoch = status.last_snapshot.as_ref().map_or(0, |snapshot| snapshot.epoch.0);
            let failed = progress::failed(", ", &status.totals);
            let line = format!(
                "{job} stopped after snapshot {epoch}{failed}: {} resumes from it",
                again(args)
            );
            terminal::end(&line, 0)
        }
        Outcome::Suspended { snapshot: false } => {
            let stopped = stopped(status, *signals > 1);
            let line = format!("{job} {stopped}: {} {}", again(args), goes_on(status));
            terminal::end(&line, terminal::STOPPED_WITHOUT_SNAPSHOT)
        }
        Outcome::Failed(failure) | Outcome::Fenced(failure) => {
            let mut line = format!("{job}: {}", failure.message);
            // Whoever asked for a last snapshot wants to know what comes of it.
            if *signals > 0 && failure.kind == Kind::Invalid && status.resumes_from.is_some() {
                line = format!("{line}. Then {} {}", again(args), goes_on(status));
            }
            terminal::fail(&line, terminal::code_of(failure.kind))
        }
    }
}

/// What goes on from the last snapshot: the other options of the command are to be given again.
fn again(args: &cli::Run) -> &'static str {
    if args.fresh { "the same command without --fresh" } else { "the same command" }
}

/// Says that nothing was done, and returns the exit code: other arguments mean another input or
/// output, for which nothing was done either.
fn finished_before(status: &Status, local: &LocalJob) -> u8 {
    let job = &local.job.metadata.name;
    let place = &local.config.prefix;
    let anew = format!(
        "The same command with --fresh starts anew; the output of this run stays where it is, so \
         that an output directory then holds both. Snapshots are in {place}"
    );
    match &status.finished_with[..] {
        [] => {
            terminal::end(&format!("{job} had finished before: its output is complete. {anew}"), 0)
        }
        differs => {
            let reason = format!(
                "{job} had finished before, with other arguments ({}): nothing was done. For \
                 another input write another metadata.name. {anew}",
                differs.join(", ")
            );
            terminal::fail(&reason, terminal::INVALID)
        }
    }
}

/// That a job stopped without a snapshot, and in brackets why.
fn stopped(status: &Status, twice: bool) -> String {
    let failure = status.last_failure.as_ref().map(|last| &last.failure.message);
    let how = match &status.log_failure {
        Some(log) if log.epoch.is_some() && log.epoch == status.resumes_from => {
            "stopped before its last snapshot was complete"
        }
        _ => "stopped without a snapshot",
    };
    let why = match (&status.log_failure, &status.snapshot_failure, failure) {
        (Some(log), ..) if twice => format!("at a second signal; {log}"),
        (Some(log), ..) => log.to_string(),
        (None, Some(reason), _) => format!("the last attempt failed: {reason}"),
        (None, None, _) if twice => "at a second signal".to_owned(),
        (None, None, Some(reason)) => format!("it was restarting: {reason}"),
        (None, None, None) => "it was starting".to_owned(),
    };
    format!("{how} ({why})")
}

/// What whoever asked for a stop is told, where the job has left no snapshot of its end. That it
/// was told to stop at once is known to the run alone.
pub(crate) fn short(job: &str, status: &Status) -> String {
    let knows = status.log_failure.is_some() || status.snapshot_failure.is_some();
    let failed = status.last_failure.as_ref().is_some_and(|last| last.running_at.is_none());
    let stopped = if knows || failed || status.run.is_none() {
        stopped(status, false)
    } else {
        "stopped without a snapshot (its own output says why)".to_owned()
    };
    format!("{job} {stopped}: the next start {}", goes_on(status))
}

/// What the next start begins with.
fn goes_on(status: &Status) -> String {
    let perhaps = status.log_failure.as_ref().filter(|log| log.may_be_there);
    let perhaps = perhaps.and_then(|log| log.epoch).filter(|it| Some(*it) != status.resumes_from);
    let or = perhaps.map_or_else(String::new, |epoch| {
        format!(", or from snapshot {epoch}, should that have reached the store after all")
    });
    match (status.has_snapshot, status.resumes_from) {
        (_, Some(epoch)) => format!("resumes from snapshot {epoch}{or}"),
        (Some(false), None) => format!("begins anew: there is none yet{or}"),
        (_, None) => "resumes from the last one, where there is one".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use millstream_coordinator::status::LogFailure;
    use millstream_protocol::id::{Epoch, Run};
    use millstream_protocol::time::Timestamp;

    use super::*;

    fn full(epoch: u64, may_be_there: bool) -> Status {
        let log_failure = LogFailure {
            what: format!("snapshot {epoch} cannot be published"),
            epoch: Some(Epoch(epoch)),
            reason: "the disk is full".to_owned(),
            since: Timestamp(0),
            may_be_there,
        };
        Status {
            log_failure: Some(log_failure),
            snapshot_failure: Some("an older one".to_owned()),
            has_snapshot: Some(true),
            resumes_from: Some(Epoch(6)),
            ..Status::default()
        }
    }

    #[test]
    fn a_stop_says_why_there_is_no_snapshot_and_what_comes_next() {
        let status = full(7, false);
        let said = "stopped without a snapshot (snapshot 7 cannot be published: the disk is full)";
        assert_eq!(stopped(&status, false), said);
        assert_eq!(goes_on(&status), "resumes from snapshot 6");
        assert!(stopped(&status, true).contains(" (at a second signal; snapshot 7 cannot be "));
        let said = "resumes from snapshot 6, or from snapshot 7, should that have reached the \
                    store after all";
        assert_eq!(goes_on(&full(7, true)), said);
        let marked = full(6, true);
        assert!(
            stopped(&marked, false).starts_with("stopped before its last snapshot was complete (")
        );
        assert_eq!(goes_on(&marked), "resumes from snapshot 6");
        let none = Status { has_snapshot: Some(false), resumes_from: None, ..full(1, false) };
        assert_eq!(goes_on(&none), "begins anew: there is none yet");
        let said = "birds stopped without a snapshot (snapshot 7 cannot be published: the disk is \
                    full): the next start resumes from snapshot 6";
        assert_eq!(short("birds", &status), said);
        let at_once =
            Status { log_failure: None, snapshot_failure: None, run: Some(Run(1)), ..status };
        assert!(short("birds", &at_once).contains("(its own output says why): the next start "));
    }
}
