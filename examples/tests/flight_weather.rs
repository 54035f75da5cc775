//! The example `flight_weather`, run as a program and killed, against a loop over both files, and against what a database makes of them.
#![allow(clippy::unwrap_used)]

mod program;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cofferdam_examples::nexmark::{
    digest::{Digest, final_rows},
    queries::Updates,
};
use flate2::read::GzDecoder;

/// Day, airport, wind and visibility.
type Kind = [String; 4];

/// Flights, cancelled ones, the sum of delays and the longest.
type Delays = (u64, u64, i64, Option<i64>);

/// A file's rows, by column.
fn rows(file: &str) -> Vec<HashMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file);
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_string));
    let columns: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| columns.iter().cloned().zip(line).collect()).collect()
}

/// The classes' names, by the lowest number that is of the next one.
fn class(number: &str, names: [&str; 3], bounds: [f64; 2]) -> String {
    let Ok(number) = number.parse::<f64>() else { return "unknown".to_string() };
    names[bounds.iter().filter(|bound| number >= **bound).count()].to_string()
}

/// The whole of it in one loop. The day is that of the file's own columns.
fn oracle() -> BTreeMap<Kind, Delays> {
    let weather = rows("weather-2013-q1.csv.gz").into_iter().map(|row| {
        let wind = class(&row["wind_speed"], ["calm", "fresh", "strong"], [8.0, 18.0]);
        let visibility = class(&row["visib"], ["poor", "fair", "good"], [3.0, 10.0]);
        ((row["origin"].clone(), row["time_hour"].clone()), (wind, visibility))
    });
    let weather: HashMap<_, _> = weather.collect();
    let mut all = BTreeMap::<Kind, Delays>::new();
    for row in rows("flights-2013-q1.csv.gz") {
        let unknown = || ("unknown".to_string(), "unknown".to_string());
        let found = weather.get(&(row["origin"].clone(), row["time_hour"].clone()));
        let (wind, visibility) = found.cloned().unwrap_or_else(unknown);
        let day = format!("{}-{:0>2}-{:0>2}", row["year"], row["month"], row["day"]);
        let delays = all.entry([day, row["origin"].clone(), wind, visibility]).or_default();
        delays.0 += 1;
        delays.1 += u64::from(row["dep_time"] == "NA");
        if let Ok(delay) = row["dep_delay"].parse::<i64>() {
            delays.2 += delay;
            delays.3 = delays.3.max(Some(delay));
        }
    }
    all
}

/// What the database has said, which neither knows the loop nor the engine: see `integration_tests/flight_weather`.
fn database() -> Digest {
    serde_json::from_str(include_str!("../../integration_tests/flight_weather/digest.json")).unwrap()
}

/// Of the rows that no later one replaces.
fn digest(out: &Path) -> Digest {
    let (lines, updates) = (lines(out), Updates { key: &["day", "airport", "wind", "visibility"], count: "flights" });
    Digest::of_lines(final_rows(lines.iter().map(String::as_str), Some(&updates)).unwrap())
}

fn lines(out: &Path) -> Vec<String> {
    let files = fs::read_dir(out).into_iter().flatten().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>()).collect()
}

fn published(out: &Path) -> Vec<(Kind, Delays)> {
    let row = |line: String| {
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        let kind = ["day", "airport", "wind", "visibility"].map(|column| row[column].as_str().unwrap().to_string());
        let number = |column: &str| row[column].as_u64().unwrap();
        let (sum, max) = (row["dep_delay_sum"].as_i64().unwrap(), row["dep_delay_max"].as_i64());
        (kind, (number("flights"), number("cancelled"), sum, max))
    };
    lines(out).into_iter().map(row).collect()
}

/// The last row of each: every further one has a flight more.
fn last(rows: &[(Kind, Delays)]) -> BTreeMap<Kind, Delays> {
    let mut last = BTreeMap::<Kind, Delays>::new();
    for (kind, delays) in rows {
        let known = last.entry(kind.clone()).or_default();
        assert_ne!(known.0, delays.0, "{kind:?}: two rows of as many flights");
        if known.0 < delays.0 {
            *known = *delays;
        }
    }
    last
}

fn start(program: &Path, directory: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.arg("--state").arg(directory.join("state")).arg("--out").arg(directory.join("out")).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_and_an_undisturbed_run_come_to_what_a_loop_over_both_files_does() {
    let (program, expected) = (program::program("flight_weather"), oracle());
    assert!(expected.len() > 500, "{}", expected.len());
    // Ten hours out of order: word of many departures comes when their day is over, and that of none a day later.
    let disordered = Some("600");
    for (parallelism, is_killed, disorder) in
        [("1", false, None), ("2", true, None), ("3", true, None), ("1", false, disordered), ("2", true, disordered)]
    {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        let disorder: Vec<_> = disorder.into_iter().flat_map(|minutes| ["--disorder", minutes]).collect();
        let slowly = ["--parallelism", parallelism, "--checkpoint-ms", "50", "--rate", "30000"];
        let slowly = [&disorder[..], &slowly].concat();
        if is_killed {
            // Twice, each time when more has been published.
            for rows in [20, 200] {
                let mut child = start(&program, place.path(), &slowly);
                let deadline = Instant::now() + Duration::from_secs(120);
                while published(&out).len() < rows {
                    assert!(Instant::now() < deadline, "nothing was published");
                    assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
                    thread::sleep(Duration::from_millis(5));
                }
                child.kill().unwrap();
                child.wait().unwrap();
            }
            assert_ne!(last(&published(&out)), expected, "it was killed midway");
        }
        // Undisturbed it is slow, so that the weather is known before the days are over, and departures are late.
        let fast = [&disorder[..], &["--parallelism", parallelism]].concat();
        let arguments = if is_killed { &fast } else { &slowly };
        let mut child = start(&program, place.path(), arguments);
        assert!(child.wait().unwrap().success());
        let rows = published(&out);
        assert_eq!(last(&rows), expected, "at parallelism {parallelism}, {disorder:?}");
        assert_eq!(digest(&out), database(), "at parallelism {parallelism}, {disorder:?}");
        let again = rows.len() - expected.len();
        // How many there are is for the pace to say; after a kill there may be none.
        assert!(again > 0 || disorder.is_empty() || is_killed, "{again} late departures gave their day's row anew");
    }
}

/// Needs a Python that has DuckDB, in `COFFERDAM_ORACLE`; `1` is `python3`.
#[test]
fn the_database_says_so_still() {
    let Some(python) = std::env::var_os("COFFERDAM_ORACLE") else { return };
    let python = if python == "1" { "python3".into() } else { python };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration_tests/flight_weather/oracle.py");
    let output = Command::new(python).arg(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(serde_json::from_slice::<Digest>(&output.stdout).unwrap(), database());
}
