//! What the suites share that run the example programs as processes of their own.

// Each suite uses a part of it.
#![allow(dead_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env, fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cofferdam_testkit::{Fault, Point, SCHEDULE_VARIABLE, Schedule};
use tempfile::TempDir;

/// The programs under test.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    FlightDelays,
    WordCount,
    ArmedFlightDelays,
    OrdersToSqlite,
    Collatz,
    Nexmark,
}

impl Program {
    const ALL: [Self; 6] = [
        Self::FlightDelays,
        Self::WordCount,
        Self::ArmedFlightDelays,
        Self::OrdersToSqlite,
        Self::Collatz,
        Self::Nexmark,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::FlightDelays => "flight_delays",
            Self::WordCount => "word_count",
            Self::ArmedFlightDelays => "armed_flight_delays",
            Self::OrdersToSqlite => "orders_to_sqlite",
            Self::Collatz => "collatz",
            Self::Nexmark => "nexmark",
        }
    }

    pub fn path(self) -> PathBuf {
        examples().join(self.name())
    }
}

/// The directory of the example programs, which lies beside that of the test programs. `cargo test --workspace` has built them by now, and
/// cargo only sees that they are fresh; it has work to do if this test was asked for alone.
fn examples() -> &'static Path {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let test = env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--workspace", "--locked", "--quiet"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        match profile.file_name().unwrap().to_str().unwrap() {
            "debug" => {}
            other => {
                cargo.args(["--profile", other]);
            }
        }
        Program::ALL.iter().for_each(|program| {
            cargo.args(["--example", program.name()]);
        });
        let built = cargo.status().unwrap();
        assert!(built.success(), "the example programs could not be built");
        profile.join("examples")
    })
}

/// The departures that come with the examples, plain, in a file of their own.
pub fn flights(directory: &Path, rows: usize) -> PathBuf {
    let compressed = fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/flights-2013-q1.csv.gz"));
    let lines = BufReader::new(flate2::read::GzDecoder::new(compressed.unwrap())).lines();
    let text: String = lines.take(rows.saturating_add(1)).map(|line| line.unwrap() + "\n").collect();
    let path = directory.join("flights.csv");
    fs::write(&path, text).unwrap();
    path
}

/// What is to be published, sorted: computed by a plain loop.
pub fn flights_oracle(input: &Path) -> Vec<String> {
    #[derive(Default)]
    struct Delays {
        flights: u64,
        cancelled: u64,
        sums: [i64; 2],
        maxima: [Option<i64>; 2],
    }
    let mut reader = csv::Reader::from_path(input).unwrap();
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|column| column == name).unwrap();
    let [carrier, origin, dep_time] = ["carrier", "origin", "dep_time"].map(column);
    let delays = ["dep_delay", "arr_delay"].map(column);
    let mut keys: HashMap<(String, String), Delays> = HashMap::new();
    let mut lines = Vec::new();
    for row in reader.records() {
        let row = row.unwrap();
        let key = (row[carrier].to_owned(), row[origin].to_owned());
        let of_key = keys.entry(key).or_default();
        of_key.flights += 1;
        of_key.cancelled += u64::from(&row[dep_time] == "NA");
        for (which, column) in delays.into_iter().enumerate() {
            if &row[column] != "NA" {
                let minutes: i64 = row[column].parse().unwrap();
                of_key.sums[which] += minutes;
                of_key.maxima[which] = Some(of_key.maxima[which].map_or(minutes, |max| max.max(minutes)));
            }
        }
        let Delays { flights, cancelled, sums, maxima } = of_key;
        let maxima = maxima.map(|max| max.map_or("null".to_owned(), |max| max.to_string()));
        lines.push(format!(
            r#"{{"carrier":"{}","origin":"{}","flights":{flights},"cancelled":{cancelled},"dep_delay_sum":{},"dep_delay_max":{},"arr_delay_sum":{},"arr_delay_max":{}}}"#,
            &row[carrier], &row[origin], sums[0], maxima[0], sums[1], maxima[1]
        ));
    }
    lines.sort();
    lines
}

/// A job's directories, and the options it is always started with.
pub struct Place {
    pub temp: TempDir,
    pub input: PathBuf,
}

impl Place {
    /// With the first `rows` departures as its input.
    pub fn with_flights(rows: usize) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let input = flights(temp.path(), rows);
        Self { temp, input }
    }

    /// With an input that nobody has written.
    pub fn empty() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let input = temp.path().join("input");
        Self { temp, input }
    }

    pub fn state(&self) -> PathBuf {
        self.temp.path().join("state")
    }

    pub fn out(&self) -> PathBuf {
        self.temp.path().join("out")
    }

    pub fn command(&self, program: Program, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.path());
        command.arg("--state").arg(self.state()).arg("--out").arg(self.out());
        match program {
            Program::WordCount => command.arg(&self.input),
            Program::FlightDelays | Program::ArmedFlightDelays => command.arg("--input").arg(&self.input),
            Program::OrdersToSqlite | Program::Collatz | Program::Nexmark => &mut command,
        };
        command.args(arguments).env("RUST_LOG", "warn,cofferdam::runtime::coordinator_actor=debug");
        command.env_remove("RUST_LOG_STYLE").env_remove(SCHEDULE_VARIABLE).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end.
    pub fn run(&self, program: Program, arguments: &[&str]) -> Ended {
        Ended::new(self.command(program, arguments).output().unwrap())
    }

    /// Runs `flight_delays` until it kills itself, when it reaches `point` for the `occurrence`-th time.
    pub fn run_killed_at(&self, point: Point, occurrence: u32, arguments: &[&str]) -> Ended {
        self.run_killed(&Schedule::default().at(point, occurrence, Fault::Kill), arguments)
    }

    /// Runs `flight_delays` with the faults of a schedule, one of which must be that it is killed.
    pub fn run_killed(&self, schedule: &Schedule, arguments: &[&str]) -> Ended {
        let mut command = self.command(Program::ArmedFlightDelays, arguments);
        let ended = Ended::new(command.env(SCHEDULE_VARIABLE, schedule.to_string()).output().unwrap());
        assert!(ended.was_killed(), "{schedule} was to kill it: {ended:#?}");
        ended
    }

    pub fn start(&self, program: Program, arguments: &[&str]) -> Running {
        Running::new(self.command(program, arguments))
    }

    /// The published files by name, checked to be whole: nothing but lines, each of them JSON.
    pub fn published(&self) -> BTreeMap<String, String> {
        published_in(&self.out())
    }

    /// The lines of all published files, sorted.
    pub fn lines(&self) -> Vec<String> {
        sorted_lines(self.published().values())
    }
}

pub fn published_in(directory: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return files };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name != ".cofferdam" {
            assert!(name.starts_with("part-") && name.ends_with(".jsonl"), "'{name}' is no name of a published file");
            let text = fs::read_to_string(entry.path()).unwrap();
            assert!(text.ends_with('\n'), "'{name}' ends in the midst of a line");
            for line in text.lines() {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(value.is_object(), "'{name}' holds '{line}'");
            }
            files.insert(name, text);
        }
    }
    files
}

pub fn sorted_lines<'a>(files: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut lines: Vec<_> = files.into_iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Compares without printing a hundred thousand lines.
pub fn assert_same_lines(found: &[String], expected: &[String], what: &str) {
    if let Some(at) = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at)) {
        panic!(
            "{what}: {} lines, {} expected; the first that differs is {:?}, expected {:?}",
            found.len(),
            expected.len(),
            found.get(at),
            expected.get(at)
        );
    }
}

/// The checkpoint in the name of a file that `flight_delays` published.
pub fn checkpoint_of(name: &str) -> u64 {
    let numbers = name.strip_prefix("part-flight_delays-rows-").and_then(|rest| rest.strip_suffix(".jsonl"));
    let (_subtask, checkpoint) = numbers.unwrap().split_once('-').unwrap();
    checkpoint.parse().unwrap()
}

/// Every file below a directory with its content: to see that nothing changes.
pub fn everything_below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(everything_below(&path));
            files.insert(path, Vec::new());
        } else {
            let content = fs::read(&path).unwrap();
            files.insert(path, content);
        }
    }
    files
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    fn new(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub fn assert_success(&self) {
        assert!(self.status.success(), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
    }

    /// Failed in an orderly way, with one readable line.
    pub fn assert_refused(&self, words: &[&str]) {
        assert_eq!(self.status.code(), Some(1), "{self:#?}");
        let errors: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let [error] = errors.as_slice() else { panic!("not one error: {self:#?}") };
        words.iter().for_each(|word| assert!(error.contains(word), "'{word}' is not in: {error}"));
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("backtrace"), "{self:#?}");
    }

    pub fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// From which checkpoint it said that it resumes.
    pub fn resumed_from(&self) -> Option<u64> {
        self.stderr.lines().find_map(resumed_from)
    }

    /// The checkpoints it reported as completed.
    pub fn completed(&self) -> BTreeSet<u64> {
        self.stderr.lines().filter_map(completed).collect()
    }
}

fn resumed_from(line: &str) -> Option<u64> {
    if line == "starting from the beginning" {
        return Some(0);
    }
    line.strip_prefix("resuming from checkpoint ")?.parse().ok()
}

fn completed(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" completed in ")?;
    before.rsplit_once("checkpoint ")?.1.parse().ok()
}

/// A program that runs.
pub struct Running {
    child: Child,
    stderr: JoinHandle<String>,
    lines: Receiver<String>,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            loop {
                let before = text.len();
                if stderr.read_line(&mut text).unwrap() == 0 {
                    return text;
                }
                // Nobody need be listening.
                let _ = sender.send(text[before..].trim_end().to_owned());
            }
        });
        Self { child, stderr, lines }
    }

    /// Waits for a line that `wanted` accepts; `false` if the program ended without one.
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return true,
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return false,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the program did not say what was waited for"),
            }
        }
    }

    /// Waits until it has said from where it starts: by then it has published what was owed.
    pub fn wait_until_started(&self) -> bool {
        self.wait_for(|line| resumed_from(line).is_some())
    }

    pub fn wait_for_checkpoint(&self) -> bool {
        self.wait_for(|line| completed(line).is_some())
    }

    pub fn kill(mut self) -> Ended {
        // An error means that it ended by itself, which its status will say.
        let _ = self.child.kill();
        self.wait()
    }

    pub fn wait(mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        Ended { status, stdout, stderr: self.stderr.join().unwrap() }
    }
}

/// Numbers drawn from a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    /// From `COFFERDAM_SEED`, or else from the clock; the seed is printed, so that a run can be had again.
    pub fn from_env() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = env::var("COFFERDAM_SEED").map_or(now, |seed| seed.parse().expect("COFFERDAM_SEED is a number"));
        println!("COFFERDAM_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
