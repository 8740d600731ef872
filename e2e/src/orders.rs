//! Orders that come in while a story is told, and what is seen of their results.
//!
//! The other half is [`crate::inside`], a process in the cluster's sandbox. Invariant: it ends with
//! this value.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::inside::{COMMAND, COMPLETE, END, FAILED, READY, VISIBLE};
use crate::stage::Stage;
use crate::story::{Story, now};

/// How long the other half may take to make its topics.
const TOPICS: u64 = 60;
/// How long it may take to find that all results are there, or are not.
const COMPARED: u64 = 180;

/// Orders on their way.
#[derive(Debug)]
pub struct Orders {
    process: Child,
    input: ChildStdin,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    is_ready: bool,
    /// So many results are visible.
    visible: u64,
    /// When this number has risen.
    rises: Vec<Instant>,
    /// What was said last.
    last: Option<Result<String, String>>,
}

impl Orders {
    /// So many orders a second come into `orders-<name>`; results are read from `turnover-<name>`.
    ///
    /// # Errors
    /// Where the topics cannot be made.
    pub fn start(story: &Story, stage: &Stage, name: &str, rate: u64) -> Result<Self> {
        let mut command = stage.cluster.script("enter.sh");
        command.arg(std::env::current_exe()?).args([COMMAND, &stage.kafka]);
        command.args([format!("orders-{name}"), format!("turnover-{name}"), rate.to_string()]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start what sends orders")?;
        let input = process.stdin.take().context("it reads nothing")?;
        let output = process.stdout.take().context("it says nothing")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                take(&mut told.lock().unwrap_or_else(PoisonError::into_inner), &line);
            }
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.last.get_or_insert_with(|| Err("without a word".to_owned()));
        });
        let orders = Self { process, input, seen };
        story.until(TOPICS, "orders come in", || {
            Ok(if orders.seen(|it| it.is_ready) { Ok(()) } else { Err("no topics".to_owned()) })
        })?;
        Ok(orders)
    }

    fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for orders of another kind: [`inside::PAUSE`], [`inside::STAND`] or [`inside::FLOW`].
    ///
    /// [`inside::PAUSE`]: crate::inside::PAUSE
    /// [`inside::STAND`]: crate::inside::STAND
    /// [`inside::FLOW`]: crate::inside::FLOW
    ///
    /// # Errors
    /// Where what sends orders has ended.
    pub fn ask(&mut self, wish: &str) -> Result<()> {
        writeln!(self.input, "{wish}").context("what sends orders has ended")
    }

    /// How many results are visible.
    pub fn visible(&self) -> u64 {
        self.seen(|it| it.visible)
    }

    /// Waits until more results are visible than now.
    ///
    /// # Errors
    /// Where none come in so many seconds.
    pub fn flow(&self, story: &Story, seconds: u64) -> Result<()> {
        let before = self.visible();
        let mut failure = None;
        story.until(seconds, "results come", || {
            let now = self.visible();
            failure = self.seen(|it| it.last.clone());
            let has_news = now > before || failure.is_some();
            Ok(if has_news { Ok(()) } else { Err(format!("{now} are visible")) })
        })?;
        match failure {
            None => Ok(()),
            Some(said) => bail!("what sends orders has ended: {said:?}"),
        }
    }

    /// The longest time without a new result since then.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        self.seen(|it| {
            let before = it.rises.iter().rev().find(|at| **at < since).copied();
            let after = it.rises.iter().copied().filter(|at| *at >= since);
            let all: Vec<_> = before.into_iter().chain(after).chain([now()]).collect();
            all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        })
    }

    /// No more orders come: all results must be there, each once, and be right.
    ///
    /// # Errors
    /// Where they are not.
    pub fn end(mut self, story: &Story) -> Result<()> {
        self.ask(END)?;
        let mut said = None;
        story.until(COMPARED, "the results are compared", || {
            said = self.seen(|it| it.last.clone());
            Ok(if said.is_some() { Ok(()) } else { Err("not yet".to_owned()) })
        })?;
        match said {
            Some(Ok(said)) => story.say(&said),
            Some(Err(said)) => bail!("the results are wrong: {said}"),
            None => bail!("nothing was compared"),
        }
        ensure!(self.process.wait()?.success(), "what compares has failed");
        Ok(())
    }
}

fn take(seen: &mut Seen, line: &str) {
    if line == READY {
        seen.is_ready = true;
    } else if let Some(visible) = line.strip_prefix(VISIBLE) {
        seen.visible = visible.parse().unwrap_or(seen.visible);
        seen.rises.push(now());
    } else if let Some(said) = line.strip_prefix(COMPLETE) {
        seen.last = Some(Ok(said.to_owned()));
    } else if let Some(said) = line.strip_prefix(FAILED) {
        seen.last = Some(Err(said.to_owned()));
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        // It may have ended; the sandbox takes the rest.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
