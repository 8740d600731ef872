//! What a story says while it is told, and how it waits.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A story that is being told.
#[derive(Debug)]
pub struct Story {
    begun: Instant,
}

/// Tells a story where it was asked for, by `MILLSTREAM_E2E=1`; else says that it was not.
pub fn tell(name: &str, story: impl FnOnce(&Story) -> Result<()>) -> ExitCode {
    if std::env::var("MILLSTREAM_E2E").as_deref() != Ok("1") {
        eprintln!("{name}: NOT RUN: it needs root and a cluster; `make e2e` runs it");
        return ExitCode::SUCCESS;
    }
    let told = Story { begun: now() };
    match story(&told) {
        Ok(()) => {
            told.say("the end");
            ExitCode::SUCCESS
        }
        Err(error) => {
            told.say(&format!("FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one reading of the clock in a story")]
fn now() -> Instant {
    Instant::now()
}

impl Story {
    /// Says what has come about, with the time since the beginning.
    pub fn say(&self, what: &str) {
        eprintln!("{:6.1} s  {what}", (now() - self.begun).as_secs_f64());
    }

    /// Waits until something has come about, and says how long that took.
    ///
    /// # Errors
    /// Where it has not after so many seconds: with what was seen last.
    pub fn until(
        &self,
        seconds: u64,
        what: &str,
        mut look: impl FnMut() -> Result<Result<(), String>>,
    ) -> Result<Duration> {
        let begin = now();
        loop {
            // A call that fails while something is on its way is no end of it.
            let seen = match look() {
                Ok(Ok(())) => {
                    let took = now() - begin;
                    self.say(&format!("{what} ({:.1} s)", took.as_secs_f64()));
                    return Ok(took);
                }
                Ok(Err(seen)) => seen,
                Err(error) => format!("{error:#}"),
            };
            if now() - begin > Duration::from_secs(seconds) {
                bail!("{what}: not in {seconds} s; seen last: {seen}");
            }
            pause();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a cluster in other processes rings no bell")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}
