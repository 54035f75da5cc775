//! A record that cannot be read fails the job, is left out, or goes to a side file: each once, however often it is read.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions unwrap too")]

use std::{fs, path::Path};

use cofferdam::connector::{BadRecord, FileReader, FileSource, FileSplit};
use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};

fn read_all<T: 'static>(reader: &mut FileReader<T>) -> Result<Vec<T>, BoxError> {
    let mut records = Vec::new();
    loop {
        match reader.read(ProcessingTime(0))? {
            Read::Record(record) => records.push(record),
            Read::NotBefore(_) => {}
            Read::End => return Ok(records),
        }
    }
}

fn only_split<T: 'static>(source: &FileSource<T>) -> FileSplit {
    let mut splits = source.splits(1).unwrap();
    assert_eq!(splits.len(), 1);
    splits.remove(0)
}

/// The message and those of its causes.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn side_file(dir: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files.remove(0)
}

#[test]
fn by_default_the_error_names_file_line_and_cause() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    let error_in = |content: &[u8], read: fn(&Path) -> Result<(), BoxError>| {
        fs::write(&path, content).unwrap();
        let error = chain(&read(&path).unwrap_err());
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        error
    };
    let lines = |path: &Path| {
        let source = FileSource::lines(path);
        read_all(&mut source.open(&only_split(&source), None)?).map(drop)
    };
    let json = |path: &Path| {
        let source = FileSource::json_lines::<u64>(path);
        read_all(&mut source.open(&only_split(&source), None)?).map(drop)
    };
    let csv = |path: &Path| {
        let source = FileSource::csv::<(String, u64)>(path);
        read_all(&mut source.open(&only_split(&source), None)?).map(drop)
    };

    let error = error_in(b"fine\nfine\n\xff\xfe\n", lines);
    assert!(error.contains("line 3") && error.contains("utf-8"), "{error}");
    let error = error_in(b"1\n\nx\n", json);
    assert!(error.contains("line 3") && error.contains("expected value"), "{error}");
    let error = error_in(b"a,b\nx,1\ny,z\n", csv);
    assert!(error.contains("line 3") && error.contains("invalid digit"), "{error}");
    let error = error_in(b"a,b\r\n\"x\r\n\",1\r\n\r\ny\r\n", csv);
    assert!(error.contains("line 5") && error.contains("1 fields"), "{error}");
    let error = error_in(b"a,b\n\"x\n\n\",1\ny\xff,1\n", csv);
    assert!(error.contains("line 5") && error.contains("UTF-8"), "{error}");
}

#[test]
fn skipped_records_are_left_out_and_counted_once_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    fs::write(&path, "bad\n1\nbad\nbad\n2\n3\nbad").unwrap();
    let source = FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Skip);
    let (split, skipped) = (only_split(&source), source.skipped_records());

    let mut reader = source.open(&split, None).unwrap();
    assert_eq!(reader.read(ProcessingTime(0)).unwrap(), Read::Record(1));
    let position = reader.position().unwrap();
    assert_eq!(reader.read(ProcessingTime(0)).unwrap(), Read::Record(2));
    assert_eq!(skipped.count(), 3);

    // The reader is lost; the next reads two bad records again.
    let mut reader = source.open(&split, Some(&position)).unwrap();
    assert_eq!(skipped.count(), 3);
    assert_eq!(read_all(&mut reader).unwrap(), [2, 3]);
    assert_eq!(skipped.count(), 4);

    // In another process the position knows of those before it.
    let position = reader.position().unwrap();
    let source = FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Skip);
    source.open(&split, Some(&position)).unwrap();
    assert_eq!(source.skipped_records().count(), 4);
}

#[test]
fn a_long_run_of_bad_records_gives_others_a_turn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    fs::write(&path, "bad\n".repeat(10_000) + "1\n").unwrap();
    let source = FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Skip);
    let mut reader = source.open(&only_split(&source), None).unwrap();
    let now = ProcessingTime(77);
    assert_eq!(reader.read(now).unwrap(), Read::NotBefore(now));
    let position = reader.position().unwrap();
    let mut reader = source.open(&only_split(&source), Some(&position)).unwrap();
    assert_eq!(read_all(&mut reader).unwrap(), [1]);
    assert_eq!(source.skipped_records().count(), 10_000);
}

#[test]
fn diverted_lines_stand_in_the_side_file_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (path, side) = (dir.path().join("input"), dir.path().join("bad/records"));
    fs::write(&path, b"1\nno, \"number\"\r\n2\n\xff\n3\n").unwrap();
    let source = FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Divert(side.clone()));
    let mut reader = source.open(&only_split(&source), None).unwrap();
    assert_eq!(read_all(&mut reader).unwrap(), [1, 2, 3]);
    assert_eq!(fs::read(side_file(&side)).unwrap(), b"no, \"number\"\n\xff\n");
    assert_eq!(source.skipped_records().count(), 2);
}

#[test]
fn diverted_rows_stand_in_the_side_file_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (path, side) = (dir.path().join("input"), dir.path().join("bad"));
    fs::write(&path, b"a,b\r\nx,1\r\n\"multi\r\n\"\"line\"\"\",z\r\n\r\ny,2\r\n\"z\",3,4\r\n\xff,5").unwrap();
    let source = FileSource::csv::<(String, u64)>(&path).on_bad_record(BadRecord::Divert(side.clone()));
    let mut reader = source.open(&only_split(&source), None).unwrap();
    assert_eq!(read_all(&mut reader).unwrap(), [("x".to_string(), 1), ("y".to_string(), 2)]);
    assert_eq!(fs::read(side_file(&side)).unwrap(), b"\"multi\r\n\"\"line\"\"\",z\n\"z\",3,4\n\xff,5\n");
}

#[test]
fn a_side_file_is_cut_to_the_position_that_is_read_from() {
    let dir = tempfile::tempdir().unwrap();
    let (path, side) = (dir.path().join("input"), dir.path().join("bad"));
    fs::write(&path, "bad 1\n1\nbad 2\nbad 3\n2\nbad 4\n3\n").unwrap();
    let source = FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Divert(side.clone()));
    let split = only_split(&source);
    let mut reader = source.open(&split, None).unwrap();
    let mut positions = vec![reader.position().unwrap()];
    while let Read::Record(_) = reader.read(ProcessingTime(0)).unwrap() {
        positions.push(reader.position().unwrap());
    }
    let before = ["", "bad 1\n", "bad 1\nbad 2\nbad 3\n", "bad 1\nbad 2\nbad 3\nbad 4\n"];
    assert_eq!(positions.len(), before.len());
    let again = positions.iter().map(Some).zip(before).chain([(None, "")]);
    for (position, before) in again {
        drop(source.open(&split, position).unwrap());
        assert_eq!(fs::read_to_string(side_file(&side)).unwrap(), before, "{position:?}");
        read_all(&mut source.open(&split, position).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(side_file(&side)).unwrap(), "bad 1\nbad 2\nbad 3\nbad 4\n", "{position:?}");
    }
}

#[test]
fn a_side_file_that_was_taken_away_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, side) = (dir.path().join("input"), dir.path().join("bad"));
    fs::write(&path, "bad 1\n1\nbad 2\n2\n").unwrap();
    let source = FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Divert(side.clone()));
    let split = only_split(&source);
    let mut reader = source.open(&split, None).unwrap();
    assert_eq!(reader.read(ProcessingTime(0)).unwrap(), Read::Record(1));
    let position = reader.position().unwrap();
    fs::remove_file(side_file(&side)).unwrap();
    assert_eq!(read_all(&mut source.open(&split, Some(&position)).unwrap()).unwrap(), [2]);
    assert_eq!(fs::read_to_string(side_file(&side)).unwrap(), "bad 2\n");
}

#[test]
fn files_of_one_name_in_two_directories_have_two_side_files() {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["a", "b"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
        fs::write(dir.path().join(sub).join("input"), format!("bad in {sub}\n")).unwrap();
    }
    let side = dir.path().join("bad");
    let source =
        FileSource::json_lines::<u64>(dir.path().join("*/input")).on_bad_record(BadRecord::Divert(side.clone()));
    for split in source.splits(1).unwrap() {
        read_all(&mut source.open(&split, None).unwrap()).unwrap();
    }
    let mut diverted: Vec<_> =
        fs::read_dir(&side).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    diverted.sort();
    assert_eq!(diverted, ["bad in a\n", "bad in b\n"]);
    assert_eq!(source.skipped_records().count(), 2);
}

#[test]
fn two_sources_of_one_file_do_not_cut_each_others_side_files() {
    let dir = tempfile::tempdir().unwrap();
    let (path, side) = (dir.path().join("input"), dir.path().join("bad"));
    fs::write(&path, "bad 1\n1\nbad 2\n").unwrap();
    let source = || FileSource::json_lines::<u64>(&path).on_bad_record(BadRecord::Divert(side.clone()));
    let sources = [source(), source()];
    // At once, as in one job, and a third one later, as in another job.
    let mut readers = sources.each_ref().map(|source| source.open(&only_split(source), None).unwrap());
    for reader in &mut readers {
        read_all(reader).unwrap();
    }
    let later = source();
    drop(later.open(&only_split(&later), None).unwrap());
    let mut diverted: Vec<_> =
        fs::read_dir(&side).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    diverted.sort();
    assert_eq!(diverted, ["", "bad 1\nbad 2\n", "bad 1\nbad 2\n"]);
}
