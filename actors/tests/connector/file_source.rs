//! A file source gives the same records after every position, whatever the file looks like, and says so when it no longer can.
//!
//! The oracle is the list of records that the test wrote, never what another reading gave.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions unwrap too")]

use std::{fmt::Debug, fs, io::Write, path::Path};

use cofferdam::connector::{BadRecord, FilePosition, FileReader, FileSource, FileSplit};
use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use proptest::prelude::*;
use serde::Deserialize;

const NOW: ProcessingTime = ProcessingTime(0);

fn next<T: 'static>(reader: &mut FileReader<T>) -> Result<Option<T>, BoxError> {
    loop {
        match reader.read(NOW)? {
            Read::Record(record) => return Ok(Some(record)),
            Read::NotBefore(_) => {}
            Read::End => return Ok(None),
        }
    }
}

/// Reads a split to its end, then again from each position on the way, its copy in a checkpoint that is.
fn assert_replays<T: PartialEq + Debug + 'static>(source: &FileSource<T>, split: &FileSplit, expected: &[T]) {
    let mut reader = source.open(split, None).unwrap();
    let mut positions = vec![reader.position().unwrap()];
    for record in expected {
        assert_eq!(next(&mut reader).unwrap().as_ref(), Some(record));
        positions.push(reader.position().unwrap());
    }
    assert_eq!(next(&mut reader).unwrap(), None);
    assert_eq!(next(&mut reader).unwrap(), None, "an end is an end");

    for (given, position) in positions.iter().enumerate() {
        let stored: FilePosition = postcard::from_bytes(&postcard::to_stdvec(position).unwrap()).unwrap();
        let mut reader = source.open(split, Some(&stored)).unwrap();
        assert_eq!(reader.position().unwrap(), stored, "a position is where the reader then is");
        for record in &expected[given..] {
            assert_eq!(next(&mut reader).unwrap().as_ref(), Some(record), "after {stored:?}");
        }
        assert_eq!(next(&mut reader).unwrap(), None);
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// As one member, and cut into three in the middle of whatever is there.
fn gzips(content: &[u8]) -> [Vec<u8>; 2] {
    let (first, rest) = content.split_at(content.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    [gzip(content), [gzip(first), gzip(second), gzip(third)].concat()]
}

/// The content as plain file and as gzip, each replayed.
fn assert_replays_in_any_file<T: PartialEq + Debug + 'static>(
    source: fn(&Path) -> FileSource<T>,
    content: &str,
    expected: &[T],
) {
    let dir = tempfile::tempdir().unwrap();
    let [single, multiple] = gzips(content.as_bytes());
    for (name, bytes) in [("plain", content.as_bytes()), ("single", &single), ("multiple", &multiple)] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let source = source(&path);
        let splits = source.splits(4).unwrap();
        assert_eq!(splits.len(), 1);
        assert_replays(&source, &splits[0], expected);
    }
}

fn assert_lines(content: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| line.to_string()).collect();
    assert_replays_in_any_file(|path| FileSource::lines(path), content, &expected);
}

#[test]
fn lines_replay_from_every_position() {
    assert_lines("to be\nor not\nto be\n", &["to be", "or not", "to be"]);
}

#[test]
fn a_last_line_without_an_end_counts() {
    assert_lines("to be\nor not", &["to be", "or not"]);
    assert_lines("x", &["x"]);
}

#[test]
fn both_kinds_of_line_end_are_taken_off() {
    assert_lines(
        "unix\ndos\r\nempty\n\r\n\nlone \r inside\nend\r",
        &["unix", "dos", "empty", "", "", "lone \r inside", "end"],
    );
}

#[test]
fn an_empty_file_has_no_records() {
    assert_lines("", &[]);
    assert_replays_in_any_file(|path| FileSource::csv::<(String,)>(path), "", &[]);
    assert_replays_in_any_file(|path| FileSource::json_lines::<u64>(path), "", &[]);
}

#[test]
fn lines_longer_than_any_buffer_are_whole() {
    let long: Vec<String> = (0..6).map(|i| "äöü".repeat(100_000 * i + i)).collect();
    let content: String = long.iter().map(|line| format!("{line}\n")).collect();
    assert_replays_in_any_file(|path| FileSource::lines(path), &content, &long);
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Trip {
    city: String,
    minutes: Option<f64>,
}

fn trip(city: &str, minutes: impl Into<Option<f64>>) -> Trip {
    Trip { city: city.to_string(), minutes: minutes.into() }
}

#[test]
fn json_lines_replay_from_every_position() {
    let content = concat!(
        "{\"city\":\"Köln\",\"minutes\":1.5}\n",
        "\n",
        "  {\"minutes\":2,\"city\":\"a\\nb\"}\r\n",
        "{\"city\":\"\"}\n",
        "   \n"
    );
    let expected = [trip("Köln", 1.5), trip("a\nb", 2.0), trip("", None)];
    assert_replays_in_any_file(|path| FileSource::json_lines(path), content, &expected);
}

#[test]
fn csv_replays_from_every_position_with_line_ends_in_quoted_fields() {
    let content = "city,minutes\nParis,1\n\"New\nYork\",2.5\n\"with \"\"quotes\"\", a comma\n\n\",\n\n\nRome,4\n";
    let expected =
        [trip("Paris", 1.0), trip("New\nYork", 2.5), trip("with \"quotes\", a comma\n\n", None), trip("Rome", 4.0)];
    assert_replays_in_any_file(|path| FileSource::csv(path), content, &expected);
    // Every line end doubled, those in the fields too.
    let expected = expected.map(|trip| Trip { city: trip.city.replace('\n', "\r\n"), ..trip });
    assert_replays_in_any_file(|path| FileSource::csv(path), &content.replace('\n', "\r\n"), &expected);
}

#[test]
fn csv_columns_are_found_by_name_and_a_last_row_needs_no_line_end() {
    let content = "minutes,other,city\n1,x,Paris\n,\"y\",\"Rome\"";
    assert_replays_in_any_file(|path| FileSource::csv(path), content, &[trip("Paris", 1.0), trip("Rome", None)]);
}

#[test]
fn csv_may_begin_with_a_byte_order_mark_and_hold_one_later() {
    let content = "\u{feff}city,minutes\nParis,1\n\u{feff}Rome,2\n";
    let expected = [trip("Paris", 1.0), trip("\u{feff}Rome", 2.0)];
    assert_replays_in_any_file(|path| FileSource::csv(path), content, &expected);
}

#[test]
fn a_csv_file_with_only_a_header_has_no_records() {
    assert_replays_in_any_file(|path| FileSource::csv::<Trip>(path), "city,minutes\n", &[]);
    assert_replays_in_any_file(|path| FileSource::csv::<Trip>(path), "city,minutes", &[]);
}

#[test]
fn rows_replay_across_many_buffers() {
    let trips: Vec<Trip> = (0..20_000).map(|i| trip(&format!("city\n{i} {}", "x".repeat(i % 97)), i as f64)).collect();
    let rows: String = trips.iter().map(|trip| format!("\"{}\",{}\n", trip.city, trip.minutes.unwrap())).collect();
    let content = format!("city,minutes\n{rows}");
    assert!(content.len() > 1_000_000);
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [("plain", content.clone().into_bytes()), ("gzip", gzip(content.as_bytes()))] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let source = FileSource::csv::<Trip>(&path);
        let split = &source.splits(1).unwrap()[0];
        let mut reader = source.open(split, None).unwrap();
        for (i, trip) in trips.iter().enumerate() {
            if i % 1_777 == 0 {
                reader = source.open(split, Some(&reader.position().unwrap())).unwrap();
            }
            assert_eq!(next(&mut reader).unwrap().as_ref(), Some(trip));
        }
        assert_eq!(next(&mut reader).unwrap(), None);
    }
}

#[test]
fn a_glob_gives_a_split_per_file_in_the_order_of_their_paths() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("c.txt")).unwrap();
    for name in ["b.txt", "a.txt", "a.csv", "d.txt"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let source = FileSource::lines(dir.path().join("*.txt"));
    let mut records = Vec::new();
    for split in source.splits(2).unwrap() {
        records.push(next(&mut source.open(&split, None).unwrap()).unwrap().unwrap());
    }
    assert_eq!(records, ["a.txt", "b.txt", "d.txt"]);
}

#[test]
fn a_file_whose_name_would_mean_something_in_a_glob_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a[1].txt");
    fs::write(&path, "x").unwrap();
    assert_eq!(FileSource::lines(&path).splits(1).unwrap().len(), 1);
}

#[test]
fn a_pattern_without_a_match_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for pattern in [dir.path().join("*.txt"), dir.path().join("none"), dir.path().to_owned()] {
        let error = FileSource::lines(&pattern).splits(1).unwrap_err().to_string();
        assert!(error.contains(pattern.to_str().unwrap()), "{error}");
    }
    let error = FileSource::lines("a/***/b").splits(1).unwrap_err().to_string();
    assert!(error.contains("a/***/b"), "{error}");
}

#[test]
fn a_file_that_vanished_or_shrank_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for content in [b"one\ntwo\nthree\n".to_vec(), gzip(b"one\ntwo\nthree\n")] {
        let path = dir.path().join("input");
        fs::write(&path, &content).unwrap();
        let source = FileSource::lines(&path);
        let split = &source.splits(1).unwrap()[0];

        fs::write(&path, &content[..content.len() - 1]).unwrap();
        let error = source.open(split, None).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("shrunk"), "{error}");

        fs::remove_file(&path).unwrap();
        let error = source.open(split, None).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("vanished"), "{error}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_does_not_just_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    fs::write(&path, "one\ntwo\n".repeat(200_000)).unwrap();
    let source = FileSource::lines(&path);
    let mut reader = source.open(&source.splits(1).unwrap()[0], None).unwrap();
    assert_eq!(next(&mut reader).unwrap().unwrap(), "one");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(500_000).unwrap();
    let error = loop {
        match next(&mut reader) {
            Ok(line) => assert!(line.is_some(), "the file ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn a_gzip_file_that_is_cut_off_or_damaged_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let whole = gzip("some line\n".repeat(1_000).as_bytes());
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    for (name, content) in [("cut", whole[..whole.len() - 9].to_vec()), ("damaged", damaged)] {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        let source = FileSource::lines(&path);
        let mut reader = source.open(&source.splits(1).unwrap()[0], None).unwrap();
        let error = loop {
            match next(&mut reader) {
                Ok(line) => assert!(line.is_some(), "{name}: the file ended as if it were whole"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn what_is_appended_later_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let content = "one\ntw";
    for (plain, later) in [(true, b"o\nthree\n".to_vec()), (false, gzip(b"o\nthree\n"))] {
        let path = dir.path().join("input");
        let first = if plain { content.as_bytes().to_vec() } else { gzip(content.as_bytes()) };
        fs::write(&path, &first).unwrap();
        let source = FileSource::lines(&path);
        let split = &source.splits(1).unwrap()[0];
        fs::write(&path, [first, later].concat()).unwrap();
        assert_replays(&source, split, &["one".to_string(), "tw".to_string()]);
    }
}

#[test]
fn a_gzip_file_whose_content_became_shorter_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    fs::write(&path, gzip("a\n".repeat(1_000).as_bytes())).unwrap();
    let source = FileSource::lines(&path);
    let split = &source.splits(1).unwrap()[0];
    let mut reader = source.open(split, None).unwrap();
    while next(&mut reader).unwrap().is_some() {}
    let position = reader.position().unwrap();
    // As many bytes on disk, fewer in them.
    let padded = |padding: usize| {
        let comment = "x".repeat(padding);
        let mut encoder = GzBuilder::new().comment(comment).write(Vec::new(), Compression::default());
        encoder.write_all(b"a\n").unwrap();
        encoder.finish().unwrap()
    };
    let missing = fs::metadata(&path).unwrap().len() as usize - padded(0).len();
    fs::write(&path, padded(missing)).unwrap();
    let error = source.open(split, Some(&position)).err().unwrap().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("changed"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// What a file with stray quotes and line ends holds is up to the parser. What it held it must hold again.
    #[test]
    fn even_malformed_csv_replays_from_every_position(content in "[ab\",\r\n\u{feff}]{0,60}") {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        fs::write(&path, content).unwrap();
        let source = FileSource::csv::<Vec<String>>(&path).on_bad_record(BadRecord::Skip);
        let split = &source.splits(1).unwrap()[0];
        let mut reader = source.open(split, None).unwrap();
        let mut records = Vec::new();
        while let Some(record) = next(&mut reader).unwrap() {
            records.push(record);
        }
        assert_replays(&source, split, &records);
    }

    #[test]
    fn any_text_is_cut_into_lines_at_line_feeds_only(lines in prop::collection::vec("[^\r\n]{0,20}", 0..20), crlf: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let content: String = lines.iter().map(|line| format!("{line}{end}")).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        fs::write(&path, content).unwrap();
        let source = FileSource::lines(&path);
        assert_replays(&source, &source.splits(1).unwrap()[0], &lines);
    }
}

#[test]
fn a_relative_path_is_still_found_from_another_directory() {
    // Tests run in the directory of their crate.
    let split = FileSource::lines("./Cargo.tom*").splits(1).unwrap().remove(0);
    let (path, ..): (String, u64) = postcard::from_bytes(&postcard::to_stdvec(&split).unwrap()).unwrap();
    assert_eq!(Path::new(&path), std::env::current_dir().unwrap().join("Cargo.toml"));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_regular_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    fs::write(&path, "one\n").unwrap();
    let source = FileSource::lines(&path);
    let split = source.splits(1).unwrap().remove(0);
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    for error in [source.splits(1).unwrap_err(), source.open(&split, None).err().unwrap()] {
        let error = error.to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("is not a regular file"), "{error}");
    }
}
