//! `millstream-bench run` measures and prints the table; `child` is one run, for the runner.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use millstream_bench::costs::line::{LINES, Line};
use millstream_bench::costs::runner::Costs;
use millstream_bench::costs::{self, Case, Size};
use millstream_bench::hand::pair::Peer;
use millstream_bench::processes;
use millstream_bench::registry::{Contender, How, Options, contenders};
use millstream_bench::runner::{self, Row, Settings, Snapshots};
use millstream_bench::table;
use millstream_bench::verdict::Verdict;
use millstream_bench_stream::Workload;
use serde_json::json;

/// Runs per contender and workload, unless said.
const ROUNDS: usize = 11;
/// The same, of a quick run.
const ROUNDS_QUICK: usize = 2;
/// Runs per case of the second table, unless said.
const COST_ROUNDS: usize = 3;
/// The same, of a quick run.
const COST_ROUNDS_QUICK: usize = 1;

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
    /// Runs contenders and cases, interleaved, and prints the two tables.
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
    /// Runs one case of the second table once, and prints one line of JSON.
    Case {
        /// Its name.
        case: Case,
        /// How much of it.
        size: Size,
    },
    /// The other one of two processes, for the one that starts it.
    #[command(subcommand, hide = true)]
    Peer(Peer),
}

#[derive(Args)]
struct Run {
    /// A tenth of the records, few rounds: shows that it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Runs per contender and workload, and per case.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only this workload; may be repeated.
    #[arg(long = "workload")]
    workloads: Vec<Workload>,
    /// Only this contender; may be repeated.
    #[arg(long = "contender")]
    contenders: Vec<String>,
    /// Only this line of the second table; may be repeated.
    #[arg(long = "cost")]
    costs: Vec<String>,
    /// In which workloads ours takes a snapshot every second.
    #[arg(long, value_enum, default_value_t)]
    snapshots: Snapshots,
    /// Also write everything to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    if std::env::var_os(processes::ROLE).is_some() {
        return Ok(processes::worker());
    }
    // As the product does first.
    millstream_worker::embed::keep_memory();
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
        Command::Case { case, size } => {
            println!("{}", serde_json::to_string(&case.run(size)?)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Peer(peer) => {
            peer.run()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run(all: &[Contender], args: Run) -> anyhow::Result<ExitCode> {
    let chosen = chosen(all, &args.contenders)?;
    let lines = lines(&args)?;
    let (default_rounds, cost_rounds, size) = if args.quick {
        (ROUNDS_QUICK, COST_ROUNDS_QUICK, Size::Quick)
    } else {
        (ROUNDS, COST_ROUNDS, Size::Full)
    };
    let settings = Settings {
        workloads: workloads(&args),
        rounds: args.rounds.unwrap_or(default_rounds),
        quick: args.quick,
        snapshots: args.snapshots,
    };
    let rows = runner::run(&chosen, &settings, |line| eprintln!("{line}"));
    let cost_rounds = args.rounds.unwrap_or(cost_rounds);
    let costs = costs::runner::run(&lines, size, cost_rounds, |line| eprintln!("{line}"));
    if let Some(path) = &args.json {
        let all = json!({"rows": table::full(&rows), "costs": costs::table::full(&costs)});
        fs::write(path, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    if !rows.is_empty() {
        println!("million records per second, medians of {} rounds", settings.rounds);
        print!("{}", table::text(&rows));
    }
    if !lines.is_empty() {
        println!("\nwhat ours costs by itself, medians of {cost_rounds} rounds");
        print!("{}", costs::table::text(&costs));
    }
    let passed = passed(&rows, &costs, args.quick);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The contenders asked for; without any, those that have been built.
fn chosen(all: &[Contender], asked: &[String]) -> anyhow::Result<Vec<Contender>> {
    if let Some(unknown) = asked.iter().find(|n| all.iter().all(|c| c.name != *n)) {
        let names: Vec<&str> = all.iter().map(|c| c.name).collect();
        bail!("contender '{unknown}' is unknown: use {}", names.join(", "));
    }
    let is_asked = |c: &&Contender| {
        if !asked.is_empty() {
            return asked.iter().any(|n| n == c.name);
        }
        if !c.is_built() {
            eprintln!("{} is left out: it has not been built", c.name);
        }
        c.is_built()
    };
    Ok(all.iter().filter(is_asked).cloned().collect())
}

/// The rows: all, unless something was chosen and no row is.
fn workloads(args: &Run) -> Vec<Workload> {
    match (args.workloads.is_empty(), args.costs.is_empty()) {
        (false, _) => args.workloads.clone(),
        (true, true) => Workload::ALL.to_vec(),
        (true, false) => Vec::new(),
    }
}

/// The lines of the second table: all, unless something was chosen and no line is.
fn lines(args: &Run) -> anyhow::Result<Vec<Line>> {
    let known = |name: &String| LINES.iter().any(|line| line.name == name);
    if let Some(unknown) = args.costs.iter().find(|name| !known(name)) {
        let names: Vec<&str> = LINES.iter().map(|line| line.name).collect();
        bail!("cost '{unknown}' is unknown: use {}", names.join(", "));
    }
    let all = args.costs.is_empty() && args.workloads.is_empty() && args.contenders.is_empty();
    let asked = |line: &&Line| all || args.costs.iter().any(|name| name == line.name);
    Ok(LINES.iter().filter(asked).copied().collect())
}

/// Whether all is well. A quick run proves that everything runs and agrees; its figures prove
/// nothing.
fn passed(rows: &[Row], costs: &Costs, quick: bool) -> bool {
    let troubled = rows.iter().flat_map(|r| &r.cells).any(|c| c.trouble.is_some())
        || !costs.troubles.is_empty();
    let below = rows.iter().any(|row| table::verdict(row) == Verdict::Below)
        || costs.lines.iter().any(|line| line.verdict(&costs.rounds) == Verdict::Below);
    !troubled && (quick || !below)
}
