//! [`Life`]: one process of the job, by [`millstream_testkit::Life`], and what every one must do.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub(crate) use millstream_testkit::End;

/// What every process says once its tasks run.
pub(crate) const RUNNING: &str = "s from ";

/// A process of the job.
pub(crate) struct Life(millstream_testkit::Life);

impl Life {
    pub(crate) fn start(job: &Path, threads: u32, rate: f64, sets: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg("run")
            .arg(job)
            // From one that is asleep, too.
            .arg("--take-over")
            .args(["--threads", &threads.to_string()])
            .args(["--set", &format!("spec.program.args.rate={rate}")])
            .args(sets.iter().flat_map(|set| ["--set", set]))
            .env("MILLSTREAM_LOG", "info,librdkafka=off");
        Self(millstream_testkit::Life::start(command))
    }

    /// Waits until it says this.
    pub(crate) fn wait_for(&mut self, text: &str) {
        assert!(self.0.wait_for(text), "{text:?} is not among:\n{}", self.0.said());
    }

    /// Lets it go on for so long.
    pub(crate) fn go_on(&mut self, time: Duration) {
        assert!(self.0.go_on(time), "it ended by itself:\n{}", self.0.said());
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        self.0.signal(name);
    }

    /// Kills it.
    pub(crate) fn kill(self) {
        let End { code, said } = self.0.kill();
        assert!(code.is_none(), "it had ended before: {code:?}:\n{said}");
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(self) -> End {
        self.0.end()
    }
}
