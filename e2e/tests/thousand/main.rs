//! What the operator costs with a thousand jobs: memory, CPU and requests at rest, and how long it
//! takes to take all over after it was killed.
//!
//!     MILLSTREAM_E2E=1 cargo test --test thousand
//!
//! A cluster of its own, since it is measured. The API server, the controllers, the chart's rights
//! and the operator's binary are real; so are the workers' sessions, engines and snapshots. But no
//! kubelet runs the pods: in the sandbox this program is the workers of all jobs ([`fleet`]), and
//! their store is a folder in memory. `MILLSTREAM_JOBS` is another number of jobs.

mod fleet;
mod jobs;
mod operator;
mod requests;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::cluster::Cluster;
use millstream_e2e::story::{Story, now, tell};

use self::jobs::Jobs;
use self::operator::{Installed, Operator};

/// How long it is looked what is asked for, and how busy the operator is.
const REST: Duration = Duration::from_mins(1);
/// What the operator may hold: of itself, and for each job. A thousand make 100 MB.
const BYTES: u64 = 20_000_000;
const BYTES_OF_A_JOB: u64 = 80_000;
/// What it may ask for in a minute: of itself (four watches that begin anew each half a minute, the
/// Lease), and for each job: two writes of its status, each with a later snapshot; and the five
/// objects that it is made of, read every five minutes. A fifth more, since a look comes early
/// where something happens.
const REQUESTS: u64 = 100;
const REQUESTS_OF_TEN_JOBS: u64 = 36;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|it| it == fleet::COMMAND) {
        return match fleet::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the fleet has ended: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if std::env::var("MILLSTREAM_E2E").as_deref() != Ok("1") {
        eprintln!("thousand: NOT RUN: it needs root and a cluster; `make e2e` runs it");
        return ExitCode::SUCCESS;
    }
    if tell("thousand", story) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn story(story: &Story) -> Result<()> {
    let cluster = Cluster::start()?;
    story.say("the cluster is up");
    let installed = Installed::new(&cluster)?;
    let _fleet = Fleet::start(&cluster)?;
    story.say("the chart is installed, and the fleet waits for pods");
    let operator = Operator::start(&installed)?;
    let jobs = Jobs::new(&cluster)?;

    let applied = now();
    jobs.create()?;
    story.say(&format!("{} jobs are created", jobs.count));
    story.until(300, "all are Running", || operator.runs(story, jobs.count))?;
    let started = now() - applied;
    story.until(120, "each has three snapshots", || jobs.have(story, 3))?;

    let rest = at_rest(story, &cluster, &operator)?;
    let taken_over = is_killed(story, &jobs, &installed, operator)?;
    let by = operator::profile();
    story.say(&format!("{} jobs, the operator as {by} builds it:", jobs.count));
    let says = |what: &str, value: String| story.say(&format!("  {what}: {value}"));
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    says("memory at rest, and at most", rest.memory.to_string());
    says("CPU at rest", format!("{:.1} % of a core", rest.cpu * 100.0));
    says("requests a minute at rest", rest.requests.total().to_string());
    says("from their creation until all are Running", seconds(started));
    says("from a kill until the next operator has the Lease", seconds(taken_over.leads));
    says("and from then until it has taken all over", seconds(taken_over.all));
    says("memory then, and at most", taken_over.memory.to_string());
    let may = BYTES + BYTES_OF_A_JOB * jobs.count;
    for memory in [rest.memory, taken_over.memory] {
        ensure!(memory.now <= may, "the operator holds {} bytes, and may {may}", memory.now);
    }
    let may = REQUESTS + REQUESTS_OF_TEN_JOBS * jobs.count / 10;
    let asked = rest.requests.total();
    ensure!(asked <= may, "the operator asks for {asked} things a minute, and may for {may}");
    Ok(())
}

/// What the operator costs while nothing happens.
struct Rest {
    memory: operator::Memory,
    /// Of one core.
    cpu: f64,
    requests: requests::Counts,
}

fn at_rest(story: &Story, cluster: &Cluster, operator: &Operator) -> Result<Rest> {
    let (begun, cpu, log) = (now(), operator.cpu()?, cluster.requests_bytes()?);
    story.wait(REST);
    let requests = requests::count(&cluster.requests_behind(log)?);
    let spent = operator.cpu()?.saturating_sub(cpu);
    let cpu = spent.as_secs_f64() / (now() - begun).as_secs_f64();
    story.say(&format!("in a minute of rest the operator asked for:\n{requests}"));
    Ok(Rest { memory: operator.memory()?, cpu, requests })
}

/// How an operator takes over from one that was killed.
struct TakenOver {
    /// From the kill until it has the Lease.
    leads: Duration,
    /// From then until it has all jobs.
    all: Duration,
    memory: operator::Memory,
}

/// Kills the operator. The next one goes on with all tasks as they are.
fn is_killed(
    story: &Story,
    jobs: &Jobs,
    installed: &Installed,
    mut operator: Operator,
) -> Result<TakenOver> {
    let before = jobs.all()?;
    jobs::are_well(&before)?;
    operator.kill()?;
    let killed = now();
    let next = Operator::start(installed)?;
    story.until(60, "the next operator has the Lease", || next.leads(story))?;
    let leads = now() - killed;
    story.until(120, "it has taken over all jobs", || next.runs(story, jobs.count))?;
    let all = now().duration_since(killed).saturating_sub(leads);
    story.until(90, "each has a later snapshot", || jobs.are_later(story, &before))?;
    jobs::are_well(&jobs.all()?)?;
    Ok(TakenOver { leads, all, memory: next.memory()? })
}

/// The workers of all jobs: this program, in the sandbox.
struct Fleet(Child);

impl Fleet {
    fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = cluster.script("enter.sh");
        command.arg(std::env::current_exe()?).arg(fleet::COMMAND);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start the fleet")?;
        let output = process.stdout.take().context("it says nothing")?;
        let fleet = Self(process);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.trim() == fleet::READY, "the fleet has ended");
        Ok(fleet)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
