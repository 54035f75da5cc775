//! Every two-phase sink that comes with the engine keeps the contract.

use std::{fmt::Debug, fs, path::Path};

use cofferdam::connector::{CollectSink, FileSink, Roll};
use cofferdam_testkit::SinkHarness;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    number: u64,
    text: String,
}

fn row(number: u64) -> Row {
    // As long as a number drawn from it, so that files end at various places.
    Row { number, text: format!("a \"text\",\n{}", "x".repeat((number * 7 % 23) as usize)) }
}

/// The content of the files that a reader of the directory sees.
fn files(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let visible =
        entries.filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with("part-")));
    visible.map(|path| fs::read_to_string(path).unwrap()).collect()
}

const ROLLS: [Roll; 7] = [
    Roll::Checkpoints(1),
    Roll::Checkpoints(3),
    Roll::Bytes(60),
    Roll::Checkpoints(2),
    Roll::Checkpoints(100),
    Roll::Bytes(1),
    Roll::Bytes(100_000),
];

fn check<T: PartialEq + Debug + 'static>(
    rolls: &[Roll],
    sink: impl Fn(&Path) -> FileSink<T> + Clone + 'static,
    read: impl Fn(&str) -> Vec<T> + Clone + 'static,
    record: impl Fn(u64) -> T + Clone + 'static,
) {
    for roll in rolls.iter().copied() {
        let (sink, read) = (sink.clone(), read.clone());
        let harness = SinkHarness::new(
            || TempDir::new().unwrap(),
            move |dir| sink(dir.path()).roll_every(roll),
            move |dir| files(dir).iter().flat_map(|text| read(text)).collect(),
            record.clone(),
        );
        harness.check().unwrap_or_else(|broken| panic!("{roll:?}: {broken}"));
    }
}

#[test]
fn a_collect_sink_keeps_the_contract() {
    let harness = SinkHarness::new(CollectSink::<Row>::new, |(sink, _)| sink.clone(), |(_, rows)| rows.snapshot(), row);
    harness.check().unwrap();
}

#[test]
fn a_file_sink_of_json_lines_keeps_the_contract_however_it_rolls() {
    let read = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    check(&ROLLS, |dir| FileSink::json_lines(dir), read, row);
}

#[test]
fn a_file_sink_of_lines_keeps_the_contract_however_it_rolls() {
    let line = |number: u64| format!("line {number} {}", "x".repeat((number * 7 % 23) as usize));
    check(&ROLLS[..3], |dir| FileSink::lines(dir), |text| text.lines().map(str::to_owned).collect(), line);
}

#[test]
fn a_file_sink_of_csv_keeps_the_contract_however_it_rolls() {
    let read = |text: &str| csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect();
    check(&ROLLS[..3], |dir| FileSink::csv(dir), read, row);
}
