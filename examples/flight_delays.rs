//! Adds up the delays of 80,789 real departures, for each carrier at each airport, and publishes every departure's updated row.
//!
//! ```text
//! departures (CSV) -> key_by (carrier, origin) -> fold delays -> rows (JSON lines)
//! ```
//! The topology is in [`cofferdam_examples::flights`]. Kill it at any moment (`kill -9`), start it again by the same command: it goes
//! on from its last checkpoint, and the published rows are in the end those of an undisturbed run.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use cofferdam::prelude::*;
use cofferdam_examples::{
    flights,
    options::{self, JobOptions},
    paced::Paced,
    run::{run, run_job},
};

/// Adds up the delays of departures, for each carrier at each airport
#[derive(Parser)]
struct Options {
    /// The departures: a CSV file, plain or gzip
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights-2013-q1.csv.gz"))]
    input: PathBuf,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { input, job } = options::parse("flight_delays");
    run(|| {
        let departures = Paced::new(FileSource::csv(&input), job.rate);
        let rows = FileSink::json_lines(&job.out);
        run_job(flights::topology(departures, rows), &[input], &job)
    })
}
