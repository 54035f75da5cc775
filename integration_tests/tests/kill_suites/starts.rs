//! What a start finds: a job that runs, one that is finished, state without output and output without state.

use std::{collections::BTreeMap, fs};

use crate::kill_support::{
    Place, Program, assert_same_lines, everything_below, flights_oracle, published_in, sorted_lines,
};
use cofferdam_testkit::Point;

#[test]
fn a_second_start_while_the_first_runs_is_refused_and_names_the_directory() {
    let place = Place::with_flights(usize::MAX);
    let first = place.start(Program::FlightDelays, &["--rate", "1000"]);
    assert!(first.wait_for_checkpoint());
    let state = place.state();
    place.run(Program::FlightDelays, &[]).assert_refused(&[state.to_str().unwrap(), "open already"]);
    // The first one has noticed nothing.
    assert!(first.wait_for_checkpoint());
    assert!(first.kill().was_killed());
}

#[test]
fn a_start_after_the_job_has_finished_says_so_and_changes_nothing() {
    let place = Place::with_flights(2000);
    place.run(Program::FlightDelays, &[]).assert_success();
    let (out, state) = (everything_below(&place.out()), files_of(&place));
    for _ in 0..2 {
        let again = place.run(Program::FlightDelays, &[]);
        again.assert_success();
        assert!(again.stderr.contains("finished already with checkpoint "), "{again:#?}");
        assert!(again.stderr.contains(": nothing left to do"), "{again:#?}");
        assert!(everything_below(&place.out()) == out, "the output has changed");
        assert_eq!(files_of(&place), state);
    }
}

/// The names in the state directory. Its bytes may change: each start is counted.
fn files_of(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.state()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_start_after_a_kill_before_the_last_publication_publishes_what_is_owed_and_then_changes_nothing() {
    // An hour between checkpoints: the only one is the last. At parallelism 2 the second kill comes between the two subtasks' files.
    for (parallelism, call) in [("1", 1), ("2", 1), ("2", 2)] {
        let place = Place::with_flights(2000);
        let options = ["--checkpoint-ms", "3600000", "--parallelism", parallelism];
        let killed = place.run_killed_at(Point::CommitBefore, call, &options);
        assert_eq!(killed.completed(), [1].into());
        let expected = flights_oracle(&place.input);
        assert!(place.lines().len() < expected.len(), "nothing is owed");

        let next = place.run(Program::FlightDelays, &options);
        next.assert_success();
        assert!(next.stderr.contains("finished already with checkpoint 1: nothing left to do"), "{next:#?}");
        assert!(next.completed().is_empty(), "{next:#?}");
        assert_same_lines(&place.lines(), &expected, "after the start that publishes");

        let finished = everything_below(&place.out());
        place.run(Program::FlightDelays, &options).assert_success();
        assert!(everything_below(&place.out()) == finished, "the output has changed");
    }
}

#[test]
fn a_kill_between_publication_and_its_report_publishes_nothing_twice() {
    let place = Place::with_flights(2000);
    place.run_killed_at(Point::CommitAfter, 3, &["--rate", "20000", "--checkpoint-ms", "10"]);
    assert!(!place.published().is_empty());
    place.run(Program::FlightDelays, &[]).assert_success();
    assert_same_lines(&place.lines(), &flights_oracle(&place.input), "after the restart");
}

#[test]
fn state_removed_while_the_output_is_kept_is_refused_naming_both() {
    let place = Place::with_flights(2000);
    place.run(Program::FlightDelays, &[]).assert_success();
    let before = place.published();
    fs::remove_dir_all(place.state()).unwrap();
    let (state, out) = (place.state(), place.out());
    let names = [state.to_str().unwrap(), out.to_str().unwrap()];
    // The refusal does not wear off.
    for _ in 0..2 {
        place.run(Program::FlightDelays, &[]).assert_refused(&names);
        assert_eq!(place.published(), before);
    }
}

#[test]
fn output_removed_while_the_state_is_kept_is_refused() {
    let place = Place::with_flights(usize::MAX);
    let running = place.start(Program::FlightDelays, &["--rate", "5000"]);
    assert!(running.wait_for_checkpoint());
    assert!(running.kill().was_killed());
    fs::remove_dir_all(place.out()).unwrap();
    let (state, out) = (place.state(), place.out());
    for _ in 0..2 {
        place.run(Program::FlightDelays, &[]).assert_refused(&[state.to_str().unwrap(), out.to_str().unwrap()]);
    }
}

#[test]
fn files_that_a_consumer_moved_away_between_kills_are_neither_missed_nor_published_again() {
    let place = Place::with_flights(10_000);
    let mut taken = BTreeMap::new();
    let mut take = || {
        for (name, text) in published_in(&place.out()) {
            fs::remove_file(place.out().join(&name)).unwrap();
            assert!(taken.insert(name.clone(), text).is_none(), "'{name}' was published twice");
        }
    };
    let paced = ["--rate", "5000", "--checkpoint-ms", "20"];
    for _ in 0..4 {
        let running = place.start(Program::FlightDelays, &paced);
        assert!(running.wait_for_checkpoint() && running.wait_for_checkpoint());
        assert!(running.kill().was_killed());
        take();
        place.run_killed_at(Point::CommitAfter, 2, &paced);
        take();
    }
    place.run(Program::FlightDelays, &[]).assert_success();
    take();
    assert_same_lines(&sorted_lines(taken.values()), &flights_oracle(&place.input), "what was taken in all");
}

#[test]
fn a_copy_of_the_state_is_refused_beside_the_original_and_after_it() {
    let place = Place::with_flights(20_000);
    let running = place.start(Program::FlightDelays, &["--rate", "5000", "--checkpoint-ms", "20"]);
    assert!(running.wait_for_checkpoint());
    assert!(running.kill().was_killed());
    let copy = place.temp.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(place.state()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let start_copy = || {
        let mut command = std::process::Command::new(Program::FlightDelays.path());
        command.arg("--input").arg(&place.input).arg("--state").arg(&copy).arg("--out").arg(place.out());
        let ended = command.output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    };
    let running = place.start(Program::FlightDelays, &["--rate", "5000", "--checkpoint-ms", "20"]);
    assert!(running.wait_for_checkpoint());
    let error = start_copy();
    assert!(error.contains("another running job"), "{error}");
    assert!(running.kill().was_killed());
    place.run(Program::FlightDelays, &[]).assert_success();
    for name in place.published().keys() {
        fs::remove_file(place.out().join(name)).unwrap();
    }
    let error = start_copy();
    assert!(error.contains("back in time") && error.contains(copy.to_str().unwrap()), "{error}");
}
