//! The `flight_delays` example with the faults that `COFFERDAM_SCHEDULE` names, as in `COFFERDAM_SCHEDULE=0:commit.durable#2=kill`.
//! The kill suites run it in place of the example, on the same state and output.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use cofferdam::prelude::*;
use cofferdam_examples::{
    flights,
    options::{self, JobOptions},
    paced::Paced,
    run::{engine, run, run_job_on},
};
use cofferdam_testkit::Schedule;

/// Adds up delays until something goes wrong
#[derive(Parser)]
struct Options {
    #[arg(long)]
    input: PathBuf,

    /// Abort a checkpoint that has taken so many milliseconds
    #[arg(long, default_value_t = 600_000)]
    timeout_ms: u64,

    #[command(flatten)]
    job: JobOptions,
}

/// How long whoever is delayed stands still: some checkpoint intervals.
const DELAY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let Options { input, timeout_ms, job } = options::parse("flight_delays");
    run(|| {
        let schedule = Schedule::of_environment().map_err(|error| Error::refused(error.to_string()))?;
        let checkpoints = CheckpointConfig::every(Duration::from_millis(job.checkpoint_ms));
        // However few the cores are: whoever stands still must not hold up the others.
        let threads = NonZeroUsize::new(job.parallelism.unwrap_or(2) as usize).unwrap_or(NonZeroUsize::MIN);
        let engine = engine(&job)
            .workers(threads)
            .checkpoints(checkpoints.timeout(Duration::from_millis(timeout_ms)))
            .fail_points(schedule.arm(DELAY).fail_points());
        let departures = Paced::new(FileSource::csv(&input), job.rate);
        let rows = FileSink::json_lines(&job.out);
        run_job_on(engine, flights::topology(departures, rows), &[input], &job)
    })
}
