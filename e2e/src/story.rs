//! What a story says while it is told, and how it waits.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A story that is being told.
#[derive(Debug)]
pub struct Story {
    name: String,
    begun: Instant,
}

/// Tells a story to its end; whether it came to a good one.
pub fn tell(name: &str, story: impl FnOnce(&Story) -> Result<()>) -> bool {
    let told = Story { name: name.to_owned(), begun: now() };
    match story(&told) {
        Ok(()) => told.say("the end"),
        Err(error) => {
            told.say(&format!("FAILED: {error:#}"));
            return false;
        }
    }
    true
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "the one reading of the clock in a story")]
pub fn now() -> Instant {
    Instant::now()
}

impl Story {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says what has come about, with the time since the beginning.
    pub fn say(&self, what: &str) {
        eprintln!("{:>12} {:6.1} s  {what}", self.name, (now() - self.begun).as_secs_f64());
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
            pause(LOOK_EVERY);
        }
    }

    /// Lets time go by.
    pub fn wait(&self, time: Duration) {
        pause(time);
    }
}

#[expect(clippy::disallowed_methods, reason = "a cluster in other processes rings no bell")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
