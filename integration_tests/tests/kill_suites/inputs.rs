//! The same output from any text, at any parallelism; and inputs that are none.

use std::{collections::HashMap, fs};

use crate::kill_support::{Place, Program, assert_same_lines, flights_oracle};
use cofferdam_testkit::Point;

#[test]
fn parallelism_1_2_and_4_publish_the_same_lines() {
    for parallelism in ["1", "2", "4"] {
        let place = Place::with_flights(20_000);
        place.run(Program::FlightDelays, &["--parallelism", parallelism, "--checkpoint-ms", "20"]).assert_success();
        assert_same_lines(&place.lines(), &flights_oracle(&place.input), &format!("parallelism {parallelism}"));
    }
}

#[test]
fn a_restart_with_another_parallelism_after_a_kill_publishes_the_same_lines() {
    let place = Place::with_flights(20_000);
    for parallelism in ["2", "4", "1", "3"] {
        let options = ["--rate", "10000", "--checkpoint-ms", "20", "--parallelism", parallelism];
        let running = place.start(Program::FlightDelays, &options);
        assert!(running.wait_for_checkpoint() && running.wait_for_checkpoint());
        let killed = running.kill();
        assert!(killed.was_killed(), "{killed:#?}");
        place.run_killed_at(Point::CommitBefore, 1, &options);
    }
    place.run(Program::FlightDelays, &["--parallelism", "2"]).assert_success();
    assert_same_lines(&place.lines(), &flights_oracle(&place.input), "after four parallelisms");
}

/// A text of many words, some of them no words, some lines no text.
fn text() -> Vec<u8> {
    let mut text =
        "To be, or not to be: that is the question.\r\n\r\nÄrger, ärger; 42 x-rays\u{2028}naïve\n".as_bytes().to_vec();
    for number in 0..20_000u32 {
        text.extend(format!("word{} again {}\n", number % 701, number % 13).into_bytes());
        if number % 1000 == 7 {
            text.extend(b"these words \xff\xfe do not count\n");
        }
    }
    text.extend(b"no line end");
    text
}

/// Every word's count after each time it comes, sorted; and how many lines are no text.
fn words_oracle(text: &[u8]) -> (Vec<String>, u32) {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let (mut lines, mut skipped) = (Vec::new(), 0);
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = str::from_utf8(line) else {
            skipped += 1;
            continue;
        };
        let mut word = String::new();
        for char in line.chars().chain([' ']) {
            if char.is_alphanumeric() {
                word.extend(char.to_lowercase());
            } else if !word.is_empty() {
                let count = counts.entry(word.clone()).or_default();
                *count += 1;
                lines.push(format!(r#"{{"word":"{word}","count":{count}}}"#));
                word.clear();
            }
        }
    }
    lines.sort();
    (lines, skipped)
}

#[test]
fn word_count_counts_the_words_of_a_users_file_through_a_kill() {
    let mut place = Place::with_flights(0);
    place.input = place.temp.path().join("text of a user.txt");
    fs::write(&place.input, text()).unwrap();
    let running = place.start(Program::WordCount, &["--rate", "10000", "--checkpoint-ms", "20"]);
    assert!(running.wait_for_checkpoint() && running.wait_for_checkpoint());
    assert!(running.kill().was_killed());
    let last = place.run(Program::WordCount, &[]);
    last.assert_success();
    let (expected, skipped) = words_oracle(&text());
    assert_same_lines(&place.lines(), &expected, "words");
    let row = last.stdout.lines().find(|line| line.contains("not UTF-8")).unwrap();
    assert!(row.split(|char: char| !char.is_ascii_digit()).any(|number| number == skipped.to_string()), "{row}");
}

#[test]
fn word_count_reads_several_files_and_globs_each_file_once() {
    let place = Place::with_flights(0);
    for (name, text) in [("one.txt", "a b\n"), ("two.txt", "b c\n"), ("three.md", "c\n")] {
        fs::write(place.temp.path().join(name), text).unwrap();
    }
    let mut command = std::process::Command::new(Program::WordCount.path());
    command.current_dir(place.temp.path()).args(["--state", "state", "--out", "out", "*.txt", "one.txt", "three.md"]);
    assert!(command.output().unwrap().status.success());
    assert_same_lines(&place.lines(), &words_oracle(b"a b\nb c\nc\n").0, "several files");
}

#[test]
fn a_bad_row_fails_with_file_line_and_cause_and_can_be_mended() {
    let place = Place::with_flights(1000);
    let good = fs::read_to_string(&place.input).unwrap();
    let bad = good.replacen("2013,1,1,600,600,0,", "2013,1,1,600,600,x,", 1);
    let line = 1 + bad.lines().position(|line| line.contains(",x,")).unwrap();
    fs::write(&place.input, bad).unwrap();
    let (file, line) = (place.input.to_str().unwrap(), format!("line {line}"));
    let words = [file, &line, "'x' is neither a whole number nor NA"];
    for _ in 0..2 {
        place.run(Program::FlightDelays, &[]).assert_refused(&words);
    }
    fs::write(&place.input, good).unwrap();
    place.run(Program::FlightDelays, &[]).assert_success();
    assert_same_lines(&place.lines(), &flights_oracle(&place.input), "after the file was mended");
}

#[test]
fn an_input_that_cannot_be_read_is_named() {
    let mut place = Place::with_flights(0);
    place.input = place.temp.path().join("missing.csv");
    place.run(Program::FlightDelays, &[]).assert_refused(&[place.input.to_str().unwrap(), "no file matches"]);
    place.input = place.temp.path().to_owned();
    place.run(Program::FlightDelays, &[]).assert_refused(&[place.input.to_str().unwrap(), "is a directory"]);
    place.input = place.temp.path().join("broken.csv.gz");
    fs::write(&place.input, b"\x1f\x8bthis is no gzip").unwrap();
    place.run(Program::FlightDelays, &[]).assert_refused(&[place.input.to_str().unwrap()]);
}

#[test]
fn an_input_that_vanished_is_named() {
    let place = Place::with_flights(usize::MAX);
    let running = place.start(Program::FlightDelays, &["--rate", "1000"]);
    assert!(running.wait_for_checkpoint());
    assert!(running.kill().was_killed());
    fs::remove_file(&place.input).unwrap();
    place.run(Program::FlightDelays, &[]).assert_refused(&[place.input.to_str().unwrap(), "vanished"]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let place = Place::with_flights(1);
    for (option, value) in [("--rate", "0"), ("--parallelism", "0"), ("--parallelism", "129"), ("--checkpoint-ms", "0")]
    {
        let ended = place.run(Program::FlightDelays, &[option, value]);
        assert_eq!(ended.status.code(), Some(2));
        assert!(ended.stderr.contains(option) && ended.stderr.contains(value), "{ended:#?}");
        assert!(!place.state().exists());
    }
}

#[test]
fn an_input_that_was_changed_is_not_ignored_after_a_kill_nor_after_the_end() {
    for program in [Program::FlightDelays, Program::WordCount] {
        let mut place = Place::with_flights(5_000);
        let first = place.input.clone();
        let second = place.temp.path().join("second.csv");
        fs::copy(&first, &second).unwrap();
        let running = place.start(program, &["--rate", "1000", "--checkpoint-ms", "20"]);
        assert!(running.wait_for_checkpoint());
        assert!(running.kill().was_killed());
        for _ in 0..2 {
            place.input = second.clone();
            let words = [first.to_str().unwrap(), "you named", second.to_str().unwrap(), "to start over"];
            place.run(program, &[]).assert_refused(&words);
            place.input = place.temp.path().join("missing.csv");
            place.run(program, &[]).assert_refused(&[place.input.to_str().unwrap()]);
            place.input = first.clone();
            place.run(program, &[]).assert_success();
        }
        fs::remove_file(&first).unwrap();
        place.run(program, &[]).assert_refused(&[first.to_str().unwrap(), "vanished"]);
        fs::remove_dir_all(place.state()).unwrap();
        fs::remove_dir_all(place.out()).unwrap();
        place.input = second;
        place.run(program, &[]).assert_success();
    }
}

#[test]
fn state_and_output_in_one_directory_are_refused() {
    let place = Place::with_flights(1);
    let both = place.temp.path().join("both");
    for again in ["both", "./both/../both"] {
        let mut command = std::process::Command::new(Program::FlightDelays.path());
        command.current_dir(place.temp.path()).arg("--input").arg(&place.input).arg("--state").arg(&both);
        let ended = command.args(["--out", again]).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && stderr.contains("are the same directory"), "{stderr}");
        // The second spelling needs it to be there.
        fs::create_dir_all(&both).unwrap();
    }
}

/// `/dev/full` takes nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_standard_error_that_cannot_be_written_to_does_not_end_the_job() {
    let place = Place::with_flights(5_000);
    let mut command = place.command(Program::FlightDelays, &["--rate", "3000"]);
    let status = command.stderr(fs::OpenOptions::new().write(true).open("/dev/full").unwrap()).status().unwrap();
    assert!(status.success());
    assert_same_lines(&place.lines(), &flights_oracle(&place.input), "nobody listened");
    place.run(Program::FlightDelays, &[]).assert_success();
}
