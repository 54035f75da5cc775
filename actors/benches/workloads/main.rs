//! Workloads with a known answer, at full speed.
//!
//! ```text
//! cargo bench -p cofferdam --bench workloads -- W1 --records 50000000 --checkpoint-ms 1000 --backend lmdb
//! cargo bench -p cofferdam --bench workloads -- limit W1        the same on one thread, without an engine
//! cargo bench -p cofferdam --bench workloads -- compare W1      both in turn; the median ratio
//! ```
//! The last line is a list of `name=value`. A run whose checksum is not that of `limit` does not count.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod checksum_sink;
mod compare;
mod engine_run;
mod limit;
mod memory;
mod report;
mod workload;

use clap::Parser;
use cofferdam_engine::fail_point;

use crate::workload::Workload;

/// Runs a workload.
#[derive(Clone, Debug, Parser)]
#[command(name = "workloads")]
struct Args {
    /// `limit` and `compare` before the workload's name, or the name alone: W1 (keyed count) or W2 (map and filter).
    #[arg(required = true, num_args = 1..=2, value_name = "[limit|compare] WORKLOAD")]
    what: Vec<String>,
    /// Records, all sources together.
    #[arg(long, default_value_t = 50_000_000)]
    records: u64,
    /// W1: number of keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// W1: touch every key once, and only this many from then on.
    #[arg(long)]
    hot: Option<u64>,
    /// Subtasks of each chain.
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// Checkpoint interval; without it, none but the last.
    #[arg(long)]
    checkpoint_ms: Option<u64>,
    /// Where checkpoints go.
    #[arg(long, default_value = "memory", value_parser = ["memory", "lmdb"])]
    backend: String,
    /// LMDB's directory; a temporary one unless given.
    #[arg(long)]
    state: Option<std::path::PathBuf>,
    /// Records per batch.
    #[arg(long, default_value_t = 1024)]
    batch_size: usize,
    /// `compare`: how many pairs.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Run although fail points are compiled in: to measure what they cost.
    #[arg(long)]
    with_fail_points: bool,
    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    #[allow(clippy::print_stderr, clippy::exit)]
    fn workload(&self) -> Workload {
        let name = self.what.last().map_or("", String::as_str);
        match name {
            "W1" => Workload::KeyedCount { keys: self.keys, hot: self.hot },
            "W2" => Workload::MapFilter,
            other => {
                eprintln!("no workload '{other}': W1 or W2");
                std::process::exit(2);
            }
        }
    }
}

#[allow(clippy::print_stderr, clippy::exit)]
fn main() {
    // Under `cargo test --benches` nothing is measured.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let args = Args::parse();
    if fail_point::ARE_COMPILED && !args.with_fail_points {
        eprintln!(
            "fail points are in this build, by the feature `failpoints` of cofferdam-engine: run `cargo bench -p cofferdam`, without --workspace, \
             or say --with-fail-points"
        );
        std::process::exit(2);
    }
    let variant = if args.what.len() == 2 { args.what[0].as_str() } else { "engine" };
    match variant {
        "engine" => engine_run::run(&args).print(),
        "limit" => limit::run(&args).print(),
        "compare" => compare::run(&args),
        other => {
            eprintln!("'{other}' is neither limit nor compare");
            std::process::exit(2);
        }
    }
}
