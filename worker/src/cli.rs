//! The command line that every user's binary gets.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use millstream_protocol::time::GepDuration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::store::Access;

/// Runs streaming jobs.
///
/// Exit codes: 0 finished, or stopped after a snapshot; 1 failed; 2 the job, its arguments or the
/// command line are wrong; 3 another run owns the job; 4 stopped without a snapshot; 5 no answer
/// within --timeout.
#[derive(Debug, Parser)]
#[command(name = "millstream-worker", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job on this machine, resuming from its last snapshot.
    Run(Run),
    /// Let a job that runs on this machine with --workers go on with another number of them.
    Scale(Scale),
    /// Take a snapshot of a job that runs on this machine, which is kept until it is deleted by
    /// `snapshots delete`.
    Savepoint(Running),
    /// Stop a job that runs on this machine after a last snapshot.
    Stop(Stop),
    /// Serve as a worker of a job, for a coordinator that calls: what a pod runs.
    Serve(Serve),
    /// Show the plan of a job: operators, parallelism, edges, state.
    Describe(Describe),
    /// Say whether the program can go on from the newest snapshot of a job. Nothing is changed, and
    /// the job may run.
    Check(Check),
    /// Look after the snapshots of a job.
    #[command(subcommand)]
    Snapshots(Snapshots),
    /// List the programs in this binary.
    Programs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The `StreamJob` file, as `kubectl apply` takes it.
    pub(crate) job: PathBuf,
    /// Engine threads, of each worker. Default: spec.threadsPerWorker, else the cores of this
    /// machine, divided among the workers.
    #[arg(long)]
    pub(crate) threads: Option<u32>,
    /// Run so many worker processes, which exchange records as pods would. Default: this process
    /// alone, without a network.
    #[arg(long, group = "processes")]
    pub(crate) workers: Option<u32>,
    /// Run on workers that serve already (`serve`), here or elsewhere, in the order of their
    /// numbers. They go on when this process dies, and the same command goes on with them.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = host_and_port,
        group = "processes"
    )]
    pub(crate) at: Vec<String>,
    /// Where to answer /livez, /readyz and /metrics (Prometheus); with --workers, worker 0, and the
    /// others on the ports behind it. Not with --at: there each `serve` has its own. Default:
    /// nowhere.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health: Option<SocketAddr>,
    /// Let the workers and this process talk by TLS, with ca.crt, tls.crt and tls.key of this
    /// folder. Each checks the others' certificates. Default: in the clear, on loopback.
    #[arg(long, value_name = "FOLDER", requires = "processes")]
    pub(crate) tls: Option<PathBuf>,
    /// Set a field of the job, as in --set spec.snapshots.interval=1s. May be repeated.
    #[arg(long = "set", value_name = "spec.path=value")]
    pub(crate) sets: Vec<String>,
    /// Start with an empty state, whatever snapshots there are. They are kept, and output of
    /// earlier runs stays where it is: an output directory then holds both.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Take the job from another run of it on this machine, which stops with code 3. Without this,
    /// the second one is refused, and the first one goes on.
    #[arg(long)]
    pub(crate) take_over: bool,
    /// How to log. With `json`, standard error takes objects only; the last has `exit_code`.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// A job that runs on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Running {
    /// The `StreamJob` file that it was started with.
    pub(crate) job: PathBuf,
    /// Fields of the job that were set when it was started: those that say where its snapshots lie,
    /// and its name, count here.
    #[arg(long = "set", value_name = "spec.path=value")]
    pub(crate) sets: Vec<String>,
    /// How long to wait for an answer. What was asked for is not withdrawn then, and may still take
    /// effect; the exit code is 5.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = a_while)]
    pub(crate) timeout: GepDuration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) running: Running,
    /// How many worker processes.
    #[arg(long)]
    pub(crate) workers: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) running: Running,
    /// Keep the last snapshot until it is deleted, and print its address.
    #[arg(long)]
    pub(crate) savepoint: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen for the coordinator and for other workers.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7070")]
    pub(crate) listen: SocketAddr,
    /// How other workers reach this one. Default: where it listens; if that is everywhere, as the
    /// coordinator does.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// Where to answer /livez, /readyz and /metrics (Prometheus). Default: nowhere.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health: Option<SocketAddr>,
    /// Talk to the coordinator and to other workers by TLS, with ca.crt, tls.crt and tls.key of
    /// this folder: only to those with a certificate of the same CA. Default: in the clear, with
    /// everybody.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) tls: Option<PathBuf>,
    /// Engine threads. Default: spec.threadsPerWorker, else the cores of this machine.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) threads: Option<u32>,
    /// How long it may take to end after SIGTERM, in which its job takes a snapshot and lets it go.
    #[arg(long, value_name = "DURATION", default_value = "25s")]
    pub(crate) grace: GepDuration,
    /// Write the address that it listens on to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) announce: Option<PathBuf>,
    /// Leave signals to the process with this id, which started it, and end with it.
    #[arg(long, value_name = "PID")]
    pub(crate) child: Option<u32>,
    /// How to log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Describe {
    /// The `StreamJob` file. May be left out where the binary has one program without arguments.
    pub(crate) job: Option<PathBuf>,
    /// Engine threads to resolve the parallelism for.
    #[arg(long)]
    pub(crate) threads: Option<u32>,
    /// Set a field of the job. May be repeated.
    #[arg(long = "set", value_name = "spec.path=value")]
    pub(crate) sets: Vec<String>,
    /// As JSON.
    #[arg(long, conflicts_with = "dot")]
    pub(crate) json: bool,
    /// As a Graphviz graph.
    #[arg(long)]
    pub(crate) dot: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The `StreamJob` file.
    #[arg(required_unless_present = "job_json")]
    pub(crate) job: Option<PathBuf>,
    /// Set a field of the job. May be repeated.
    #[arg(long = "set", value_name = "spec.path=value", requires = "job")]
    pub(crate) sets: Vec<String>,
    /// The `StreamJob` itself, as JSON, in place of a file.
    #[arg(long, value_name = "JSON", conflicts_with = "job")]
    pub(crate) job_json: Option<String>,
}

/// How a bucket is reached: for `s3://`, beside what environment and profile say.
#[derive(Debug, clap::Args)]
pub(crate) struct Bucket {
    /// The endpoint of an S3-compatible store, as spec.snapshots.endpoint.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket's region, as spec.snapshots.region.
    #[arg(long)]
    region: Option<String>,
    /// Whether the bucket stands in the path of a request, as spec.snapshots.pathStyle.
    #[arg(long, value_name = "true|false")]
    path_style: Option<bool>,
}

impl Bucket {
    pub(crate) fn access(self) -> Access {
        let Self { endpoint, region, path_style } = self;
        Access { endpoint, region, path_style }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshots {
    /// List the snapshots of a job, newest last.
    List {
        /// The job's place in its store: `<store>/<namespace>/<job>`.
        store: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        bucket: Bucket,
    },
    /// Show what a snapshot holds.
    Show {
        /// The snapshot: `<store>/<namespace>/<job>/log/<number>.json`, or the job's place for the
        /// newest.
        snapshot: String,
        #[command(flatten)]
        bucket: Bucket,
    },
    /// Read everything that a snapshot names, and check it.
    Verify {
        /// The snapshot, or the job's place for the newest.
        snapshot: String,
        #[command(flatten)]
        bucket: Bucket,
    },
    /// Say, after a look, that no output of a snapshot is left to be made visible: for a job that
    /// is refused because nobody can know. The job must not be running.
    Mark {
        /// The snapshot, or the job's place for the newest.
        snapshot: String,
        /// Really.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        bucket: Bucket,
    },
    /// Remove a job's log, parts and marks, or one savepoint. The job must not be running.
    Delete {
        #[command(flatten)]
        what: Deletion,
        #[command(flatten)]
        bucket: Bucket,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Deletion {
    /// The job's place in its store, or a savepoint: `<place>/log/<number>.json`.
    pub(crate) place: String,
    /// Really.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Of a whole job, keep the savepoints: what they name stays, and so does the job's log, in
    /// which all other snapshots are marked as gone.
    #[arg(long)]
    pub(crate) keep_savepoints: bool,
    /// Of a savepoint, where a job was removed but for its savepoints: none is needed for a start,
    /// and with the last one goes what is left of the job.
    #[arg(long)]
    pub(crate) job_is_gone: bool,
    /// What is not there is no error: for one that tries again.
    #[arg(long)]
    pub(crate) if_there: bool,
}

/// Reads the command line. Usage errors go to standard error with code 2, help to standard output
/// with 0.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, (String, bool)> {
    Cli::try_parse_from(args).map_err(|error| (error.render().to_string(), error.use_stderr()))
}

/// Whether a command line that does not parse asks for JSON all the same.
pub(crate) fn asks_for_json(args: impl IntoIterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    args.into_iter().any(|arg| {
        let asks = arg == "--log-format=json" || (before == "--log-format" && arg == "json");
        before = arg;
        asks
    })
}

/// How long to wait: not for nothing.
fn a_while(text: &str) -> Result<GepDuration, String> {
    match text.parse::<GepDuration>() {
        Ok(GepDuration(duration)) if duration.is_zero() => {
            Err("write a duration above 0, such as 10s".to_owned())
        }
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// A host, by name or address, and a port that is one.
fn host_and_port(text: &str) -> Result<String, String> {
    let wanted = "write HOST:PORT, as in 10.0.0.7:7070";
    let (host, port) = text.rsplit_once(':').ok_or(wanted)?;
    let is_host = !host.is_empty() && !host.contains('/');
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    if is_host && is_port { Ok(text.to_owned()) } else { Err(wanted.to_owned()) }
}
