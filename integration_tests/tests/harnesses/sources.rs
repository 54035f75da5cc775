//! Every source that comes with the engine keeps the contract.

use std::{fs, io::Write as _, path::Path};

use cofferdam::connector::{BadRecord, Collection, FileSource, Generator};
use cofferdam_testkit::SourceHarness;
use flate2::{Compression, write::GzEncoder};

#[test]
fn a_generator_keeps_the_contract() {
    SourceHarness::new(|| Generator::bounded(100, |i| i * i)).check().unwrap();
    SourceHarness::new(|| Generator::bounded(7, |i| i)).parallelism(3).check().unwrap();
    SourceHarness::new(|| Generator::bounded(0, |i| i)).check().unwrap();
    SourceHarness::new(|| Generator::bounded(50, |i| i).rate(1_000.0)).check().unwrap();
    SourceHarness::new(|| Generator::unbounded(|i| i)).limit(50).check().unwrap();
    SourceHarness::new(|| Generator::unbounded(|i| i).rate(3.0)).limit(50).check().unwrap();
}

#[test]
fn a_collection_keeps_the_contract() {
    SourceHarness::new(|| Collection::new((0..100).collect())).parallelism(3).check().unwrap();
    SourceHarness::new(|| Collection::new(Vec::<u8>::new())).check().unwrap();
}

fn write(path: &Path, text: &str, gzip: bool) {
    if gzip {
        let mut encoder = GzEncoder::new(fs::File::create(path).unwrap(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
    } else {
        fs::write(path, text).unwrap();
    }
}

fn lines() -> String {
    // Both line ends, empty lines, more than one byte a character, and no line end at the end.
    (0..60).map(|i| format!("line {i}\r\n\nzeile {i} ü\n")).collect::<String>() + "the last"
}

fn json() -> String {
    (0..80)
        .map(|i| if i % 7 == 3 { format!("no json {i}\n\n") } else { format!("[{i}, \"{}\"]\n", "x".repeat(i)) })
        .collect()
}

fn csv() -> String {
    let row = |i| match i % 5 {
        0 => format!("{i},\"two\nlines, {i}\"\n"),
        1 => format!("{i},bad,{i}\r\n"),
        _ => format!("{i},plain\n"),
    };
    "\u{feff}number,text\n".to_string() + &(0..80).map(row).collect::<String>()
}

#[test]
fn a_file_source_keeps_the_contract_plain_and_compressed_in_every_format() {
    for gzip in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        for i in 0..2 {
            write(&path.join(format!("{i}.txt")), &lines(), gzip);
            write(&path.join(format!("{i}.jsonl")), &json(), gzip);
            write(&path.join(format!("{i}.csv")), &csv(), gzip);
        }
        write(&path.join("2.txt"), "", gzip);
        SourceHarness::new(|| FileSource::lines(path.join("*.txt"))).check().unwrap();
        for bad in [BadRecord::Skip, BadRecord::Divert(path.join("bad"))] {
            let json = || FileSource::json_lines::<(u64, String)>(path.join("*.jsonl")).on_bad_record(bad.clone());
            SourceHarness::new(json).check().unwrap();
            let csv = || FileSource::csv::<(u64, String)>(path.join("*.csv")).on_bad_record(bad.clone());
            SourceHarness::new(csv).check().unwrap();
        }
    }
}

#[test]
fn a_file_source_with_more_bad_records_than_it_skips_in_one_call_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.jsonl");
    write(&path, &format!("1\n{}2\n{}", "bad\n".repeat(3000), "bad\n".repeat(1024)), false);
    let source = || FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Skip);
    SourceHarness::new(source).check().unwrap();
}

/// Files of characters that mean something to a parser, and of few others.
#[test]
fn a_file_source_keeps_the_contract_whatever_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("any");
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let characters = ["a", "7", ",", ",", "\"", "\n", "\n", "\r\n", "\r", " ", "ü", "\u{feff}", "[7]\n", "7,7\n"];
        let mut text = if random.bool() { "a,b\n".to_string() } else { String::new() };
        (0..random.usize(0..50)).for_each(|_| text += characters[random.usize(..characters.len())]);
        write(&path, &text, random.bool());
        let check = |result: Result<(), _>, format| {
            result.unwrap_or_else(|broken: cofferdam_testkit::BrokenClause<_>| {
                panic!("seed {seed}, {format}, {text:?}: {broken}")
            });
        };
        check(SourceHarness::new(|| FileSource::lines(&path)).check(), "lines");
        let json = || FileSource::json_lines::<Vec<u64>>(&path).on_bad_record(BadRecord::Skip);
        check(SourceHarness::new(json).check(), "json");
        let csv = || FileSource::csv::<Vec<String>>(&path).on_bad_record(BadRecord::Skip);
        check(SourceHarness::new(csv).check(), "csv");
    }
}
