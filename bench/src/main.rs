//! `millstream-bench run` measures and prints the table; `child` is one run, for the runner.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use millstream_bench::registry::{Contender, How, Options, contenders};
use millstream_bench::runner::{self, Settings};
use millstream_bench::table::{self, Verdict};
use millstream_bench_stream::Workload;

/// Runs per contender and workload, unless said.
const ROUNDS: usize = 5;
/// The same, of a quick run.
const ROUNDS_QUICK: usize = 2;

#[derive(Parser)]
#[command(about = "Measures Millstream beside hand-written loops and peers")]
struct Cli {
    /// The folder with the peers' release programs.
    #[arg(long, global = true, default_value = "bench/peers/target/release")]
    peers: PathBuf,
    /// The folder with the Flink project.
    #[arg(long, global = true, default_value = "bench/peers/flink")]
    flink: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the contenders, interleaved, and prints the table.
    Run(Run),
    /// Runs one in-process contender once, and prints one line of JSON.
    Child {
        /// Its name.
        contender: String,
        /// What to run.
        workload: Workload,
        /// How many records go in.
        records: u64,
        /// Take a snapshot every second.
        #[arg(long)]
        snapshots: bool,
    },
}

#[derive(Args)]
struct Run {
    /// A tenth of the records, two rounds: shows that it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Runs per contender and workload.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only this workload; may be repeated.
    #[arg(long = "workload")]
    workloads: Vec<Workload>,
    /// Only this contender; may be repeated.
    #[arg(long = "contender")]
    contenders: Vec<String>,
    /// Take a snapshot every second, where a contender can.
    #[arg(long)]
    snapshots: bool,
    /// Also write everything to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let all = contenders(&cli.peers, &cli.flink);
    match cli.command {
        Command::Run(args) => run(&all, args),
        Command::Child { contender, workload, records, snapshots } => {
            let found = all.iter().find(|c| c.name == contender);
            let Some(Contender { how: How::Here(run), .. }) = found else {
                bail!("contender '{contender}' does not run in this process");
            };
            println!("{}", run(workload, records, &Options { snapshots })?.line());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run(all: &[Contender], args: Run) -> anyhow::Result<ExitCode> {
    if let Some(unknown) = args.contenders.iter().find(|n| all.iter().all(|c| c.name != *n)) {
        let names: Vec<&str> = all.iter().map(|c| c.name).collect();
        bail!("contender '{unknown}' is unknown: use {}", names.join(", "));
    }
    let asked = |c: &&Contender| {
        if !args.contenders.is_empty() {
            return args.contenders.iter().any(|n| n == c.name);
        }
        if !c.is_built() {
            eprintln!("{} is left out: it has not been built", c.name);
        }
        c.is_built()
    };
    let chosen: Vec<Contender> = all.iter().filter(asked).cloned().collect();
    let default_rounds = if args.quick { ROUNDS_QUICK } else { ROUNDS };
    let settings = Settings {
        workloads: if args.workloads.is_empty() { Workload::ALL.to_vec() } else { args.workloads },
        rounds: args.rounds.unwrap_or(default_rounds),
        quick: args.quick,
        options: Options { snapshots: args.snapshots },
    };
    let rows = runner::run(&chosen, &settings, |line| eprintln!("{line}"));
    if let Some(path) = args.json {
        fs::write(&path, table::json(&rows)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    println!("million records per second, medians of {} rounds", settings.rounds);
    print!("{}", table::text(&rows));
    let troubled = rows.iter().flat_map(|r| &r.cells).any(|c| c.trouble.is_some());
    let below = rows.iter().any(|r| table::verdict(r) == Verdict::Below);
    // A quick run proves that everything runs and agrees; its ratios prove nothing.
    let failed = troubled || (below && !args.quick);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
