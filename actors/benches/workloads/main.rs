//! Workloads with a known answer, at full speed.
//!
//! ```text
//! cargo bench -p cofferdam --bench workloads -- W1 --records 50000000 --checkpoint-ms 1000 --backend lmdb
//! cargo bench -p cofferdam --bench workloads -- limit W1        the same on one thread, without an engine
//! cargo bench -p cofferdam --bench workloads -- W3              the highest bids of windows
//! cargo bench -p cofferdam --bench workloads -- W4              a join
//! cargo bench -p cofferdam --bench workloads -- threads W3      the same on threads with an exchange, without an engine
//! cargo bench -p cofferdam --bench workloads -- compare W1      both in turn; the median ratio
//! cargo bench -p cofferdam --bench workloads -- ratio W1 --checkpoint-ms 10 --backend lmdb      with checkpoints and without, in turn
//! cargo bench -p cofferdam --bench workloads -- REC             from a failure to the next row
//! cargo bench -p cofferdam --bench workloads -- LAT --published --rate 100000 --checkpoint-ms 10 --backend lmdb
//! cargo bench -p cofferdam --bench workloads -- SPARSE          few changes to much state
//! cargo bench -p cofferdam --bench workloads -- RESTORE         much state read back, beside a plain scan of the same store
//! cargo bench -p cofferdam --bench workloads -- W1 --keys 20000000 --heap-mib 64 --checkpoint-ms 1000
//! ```
//! The last line is a list of `name=value`. A run whose answer is wrong ends in a panic.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod cadence;
mod checksum_sink;
mod disk_sync;
mod engine_run;
mod for_seconds;
mod latency_sink;
mod limit;
mod memory;
mod pairs;
mod panes;
mod recovery;
mod reference;
mod report;
mod restore;
mod sparse;
mod threads;
mod ticks;
mod topologies;
mod workload;

use clap::Parser;
use cofferdam_engine::fail_point;

use crate::workload::Workload;

/// Runs a workload.
#[derive(Clone, Debug, Parser)]
#[command(name = "workloads")]
struct Args {
    /// `limit`, `threads` (W3), `compare` or `ratio` before the workload's name, or the name alone: W1 (keyed count), W2 (map and filter), W3 (windowed bids) and W4 (a join), REC (W1 with a failure), LAT (W1 at a
    /// rate), SPARSE (W1 with 10 M keys, of which 10 k change between checkpoints) or RESTORE.
    #[arg(required = true, num_args = 1..=2, value_name = "[limit|threads|compare|ratio] WORKLOAD")]
    what: Vec<String>,
    /// Records, all sources together.
    #[arg(long, default_value_t = 50_000_000)]
    records: u64,
    /// Read for this long, however many records that is. LAT: 30 unless set.
    #[arg(long)]
    seconds: Option<u64>,
    /// LAT: records per second, all sources together.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// LAT: records due in the first seconds are not timed.
    #[arg(long, default_value_t = 3)]
    warm: u64,
    /// LAT: time rows up to their publication, not up to the sink's write.
    #[arg(long)]
    published: bool,
    /// W1: number of keys, 1 M unless set; SPARSE and RESTORE: 10 M.
    #[arg(long)]
    keys: Option<u64>,
    /// SPARSE: how many checkpoints' worth of changes.
    #[arg(long, default_value_t = 2_000)]
    checkpoints: u64,
    /// SPARSE: records between two checkpoints.
    #[arg(long, default_value_t = 10_000)]
    changes: u64,
    /// How much of the heap state may take; LMDB only, and without it all that it needs.
    #[arg(long)]
    heap_mib: Option<u64>,
    /// W1: touch every key once, and only this many from then on.
    #[arg(long)]
    hot: Option<u64>,
    /// Subtasks of each chain.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    parallelism: u32,
    /// Checkpoint interval; without it, none but the last. REC: 100 unless set; LAT: 1000.
    #[arg(long)]
    checkpoint_ms: Option<u64>,
    /// Where checkpoints go. In memory unless set; REC and LAT: lmdb.
    #[arg(long, value_parser = ["memory", "lmdb"])]
    backend: Option<String>,
    /// LMDB's directory; a temporary one unless given.
    #[arg(long)]
    state: Option<std::path::PathBuf>,
    /// Records per batch.
    #[arg(long, default_value_t = 1024)]
    batch_size: usize,
    /// `compare` and `ratio`: how many pairs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Run although fail points are compiled in: to measure what they cost.
    #[arg(long)]
    with_fail_points: bool,
    /// cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    W1,
    W2,
    W3,
    W4,
    Recovery,
    Latency,
    Sparse,
    Restore,
}

impl Args {
    #[allow(clippy::print_stderr, clippy::exit)]
    fn name(&self) -> Name {
        match self.what.last().map_or("", String::as_str) {
            "W1" => Name::W1,
            "W2" => Name::W2,
            "W3" => Name::W3,
            "W4" => Name::W4,
            "REC" => Name::Recovery,
            "LAT" => Name::Latency,
            "SPARSE" => Name::Sparse,
            "RESTORE" => Name::Restore,
            other => {
                eprintln!("no workload '{other}': W1, W2, W3, W4, REC, LAT, SPARSE or RESTORE");
                std::process::exit(2);
            }
        }
    }

    /// What is computed.
    fn workload(&self) -> Workload {
        match self.name() {
            Name::W2 => Workload::MapFilter,
            Name::W3 => Workload::WindowedBids,
            Name::W4 => Workload::Joined,
            Name::W1 => Workload::KeyedCount { keys: self.keys(), hot: self.hot },
            Name::Sparse => Workload::KeyedCount { keys: self.keys(), hot: Some(self.keys()) },
            Name::Recovery | Name::Latency | Name::Restore => Workload::KeyedCount { keys: self.keys(), hot: None },
        }
    }

    fn keys(&self) -> u64 {
        let default = if matches!(self.name(), Name::Sparse | Name::Restore) { 10_000_000 } else { 1_000_000 };
        self.keys.unwrap_or(default)
    }

    fn checkpoint_ms(&self) -> Option<u64> {
        self.checkpoint_ms.or(match self.name() {
            Name::Recovery | Name::Sparse => Some(100),
            Name::Latency => Some(1000),
            _ => None,
        })
    }

    fn backend(&self) -> &str {
        let on_disk = matches!(self.name(), Name::Recovery | Name::Latency | Name::Sparse) || self.heap_mib.is_some();
        self.backend.as_deref().unwrap_or(if on_disk { "lmdb" } else { "memory" })
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
    if args.name() == Name::Latency && args.seconds.unwrap_or(30) <= args.warm {
        eprintln!("LAT: nothing is timed in the first --warm {} seconds: give --seconds more than that", args.warm);
        std::process::exit(2);
    }
    let variant = if args.what.len() == 2 { args.what[0].as_str() } else { "engine" };
    match variant {
        "engine" if args.name() == Name::Restore => restore::run(&args),
        "engine" => engine_run::run(&args).print(),
        "limit" => without_engine(&args, &limit::run(&args)),
        "threads" if args.name() == Name::W3 => without_engine(&args, &threads::run(&args)),
        "threads" => {
            eprintln!("threads: only W3 is written by hand for threads");
            std::process::exit(2);
        }
        "compare" => pairs::compare(&args),
        "ratio" if args.checkpoint_ms.is_some() => pairs::ratio(&args),
        "ratio" => {
            eprintln!("ratio: say how often with --checkpoint-ms");
            std::process::exit(2);
        }
        other => {
            eprintln!("'{other}' is neither limit, threads, compare nor ratio");
            std::process::exit(2);
        }
    }
}

fn without_engine(args: &Args, report: &report::Report) {
    assert_eq!(report.checksum, reference::answer(args.workload(), &[report.records]), "the answer is wrong");
    report.print();
}
