//! Joins 80,789 real departures to the weather of their airport and hour, and adds up their delays by day, airport, wind and visibility.
//!
//! ```text
//! departures (CSV) -> event time: the schedule -> key_by (airport, hour) --+
//!                                                                          +-- weather of the hour -> key_by (airport, wind, visibility)
//! weather (CSV) ----> event time: the hour ----> key_by (airport, hour) ---+      -> days in New York -> fold delays -> rows (JSON lines)
//! ```
//! The topology is in [`cofferdam_examples::flight_weather`]. Departures come up to 19 hours out of order, and those that are late for their weather are joined all the same. One that came
//! when its day is over would give the day's row anew; in these files none does. Kill it at any moment (`kill -9`), start it again by the same command: the last row of each day, airport and kind of weather is in the end that of an undisturbed run.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use cofferdam::prelude::*;
use cofferdam_examples::{
    flight_weather,
    options::{self, JobOptions},
    paced::Paced,
    run::{run, run_job},
};

/// Adds up the delays of departures by day, airport and weather
#[derive(Parser)]
struct Options {
    /// The departures: a CSV file, plain or gzip
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights-2013-q1.csv.gz"))]
    departures: PathBuf,

    /// The weather, likewise
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/weather-2013-q1.csv.gz"))]
    weather: PathBuf,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { departures, weather, job } = options::parse("flight_weather");
    run(|| {
        let read = Paced::new(FileSource::csv(&departures), job.rate);
        let rows = FileSink::json_lines(&job.out);
        let topology = flight_weather::topology(read, FileSource::csv(&weather), rows);
        let topology = topology.map_err(|cause| Error::refused(cause.to_string()))?;
        run_job(topology, &[departures, weather], &job)
    })
}
