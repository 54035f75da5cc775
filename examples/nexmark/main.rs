//! Runs a query of Nexmark, writes its events down, or sees how fast each query is.
//!
//! ```text
//! cargo run --release --example nexmark -- q3 --events 10000000 --out rows/       rows as JSON lines, exactly once
//! cargo run --release --example nexmark -- events --events 100000 --out e.jsonl   the events, for another engine
//! cargo run --release --example nexmark -- --bench                                every query's events per second
//! ```
//! The topologies are in [`cofferdam_examples::nexmark`]. Kill a query at any moment and start it again by the same command: it goes on from its last checkpoint.

mod bench;
mod written;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, value_parser};
use cofferdam::prelude::*;
use cofferdam_examples::{
    nexmark::{queries::Query, rows::Rows, source::Events},
    options::JobOptions,
    paced::Paced,
    run::{self, say},
    settings,
};

/// Runs the queries of Nexmark
#[derive(Parser)]
#[command(name = "nexmark")]
struct Options {
    /// A query (q0, q1, ...), or `events` to write the events down; with --bench, the only query to run
    #[arg(value_name = "QUERY", required_unless_present = "bench")]
    what: Option<String>,

    /// How many events: a resumed run has to be told the same number [default: 1000000, with --bench 10000000]
    #[arg(long, value_name = "N")]
    events: Option<u64>,

    /// Publish rows into this directory [default: out/nexmark/QUERY]; for `events`, the file to write
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Keep checkpoints in this directory [default: state/nexmark/QUERY]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Run each step on so many subtasks [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=128))]
    parallelism: Option<u32>,

    /// Take a checkpoint every so many milliseconds [default: 1000, with --bench none]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    checkpoint_ms: Option<u64>,

    /// Read no more than so many events a second [default: no limit]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Microseconds of event time from one event to the next: likewise
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
    apart: u32,

    /// Print how many events a second each query reads, and the generator alone gives; rows go nowhere
    #[arg(long)]
    bench: bool,
}

impl Options {
    fn source(&self, default: u64) -> Events {
        Events::new(self.events.unwrap_or(default)).apart(self.apart)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.what.as_deref() {
        what if options.bench => done(bench::run(&options, what)),
        Some("events") => done(written::write(&options)),
        what => run::run(|| query(what.unwrap_or_default(), &options)),
    }
}

fn query(name: &str, options: &Options) -> Result<run::Report, Error> {
    let query = Query::named(name).map_err(|error| Error::refused(format!("{error}; `events` writes events")))?;
    let place = |given: &Option<PathBuf>, default: &str| {
        given.clone().unwrap_or_else(|| PathBuf::from(format!("{default}/nexmark/{name}")))
    };
    let job = JobOptions {
        state: place(&options.state, "state"),
        out: place(&options.out, "out"),
        checkpoint_ms: options.checkpoint_ms.unwrap_or(1000),
        parallelism: options.parallelism,
        rate: options.rate,
    };
    let events = options.source(1_000_000);
    let told = [("QUERY", name.into()), ("--events", events.count().into()), ("--apart", options.apart.into())];
    settings::check(&job.state, told)?;
    let topology = query.topology(Paced::new(events, job.rate), Rows::Files(job.out.clone()));
    run::run_job(topology, &[], &job)
}

fn done(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
