//! Joins 80,789 real departures to the weather of their airport and hour, and adds up their delays by day, airport, wind and visibility.
//!
//! ```text
//! departures (CSV) -> event time: the schedule -> key_by (airport, hour) --+
//!                                                                          +-- weather of the hour -> key_by (airport, wind, visibility)
//! weather (CSV) ----> event time: the hour ----> key_by (airport, hour) ---+      -> days in New York -> fold delays -> rows (JSON lines)
//! ```
//! The topology is in [`cofferdam_examples::flight_weather`]. Departures come up to 19 hours out of order, and those that are late for their weather are joined all the same. One that comes
//! when its day is over gives the day's row anew. In the order of the file none does; with `--disorder 600`, as if word of a departure came up to ten hours behind the schedule, hundreds do, and nothing else
//! changes. Kill it at any moment (`kill -9`), start it again by the same command: the last row of each day, airport and kind of weather is in the end that of an undisturbed run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, value_parser};
use cofferdam::prelude::*;
use cofferdam_examples::{
    disordered::Disordered,
    flight_weather,
    options::{self, JobOptions},
    paced::Paced,
    run::{run, run_job},
    settings,
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

    /// Let word of each departure come up to so many minutes behind the schedule, at random but in every run alike, and a resumed run has to be told the same [default: in the order of the file]
    #[arg(long, value_name = "MINUTES", value_parser = value_parser!(u16).range(1..=1440))]
    disorder: Option<u16>,

    #[command(flatten)]
    job: JobOptions,
}

fn main() -> ExitCode {
    let Options { departures, weather, disorder, job } = options::parse("flight_weather");
    run(|| {
        settings::check(&job.state, [("--disorder", disorder.into())])?;
        [&departures, &weather].into_iter().try_for_each(|file| refuse_without_header(file))?;
        let (read, rows) = (FileSource::csv(&departures), FileSink::json_lines(&job.out));
        let read_weather = FileSource::csv(&weather);
        let topology = match disorder {
            None => flight_weather::topology(Paced::new(read, job.rate), read_weather, rows),
            Some(minutes) => {
                let by = Duration::from_secs(60 * u64::from(minutes));
                let read = Disordered::new(read, by, flight_weather::DepartureRow::scheduled);
                flight_weather::topology(Paced::new(read, job.rate), read_weather, rows)
            }
        };
        let topology = topology.map_err(|cause| Error::refused(cause.to_string()))?;
        run_job(topology, &[departures, weather], &job)
    })
}

/// All months of the weather would be unknown, without a word. A file that is not there is refused with the others.
fn refuse_without_header(file: &Path) -> Result<(), Error> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => {
            let message = format!("'{}' is empty: not even a header row is in it", file.display());
            Err(Error::refused(message))
        }
        _ => Ok(()),
    }
}
