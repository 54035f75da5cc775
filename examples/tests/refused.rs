//! What the examples refuse, run as programs.
#![allow(clippy::unwrap_used)]

mod program;

use std::{fs, path::Path, process::Command};

fn assert_refused(program: &Path, arguments: &[&str], words: &[&str]) {
    let refused = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {error}");
    words.iter().for_each(|word| assert!(error.contains(word), "{arguments:?}: '{word}' is not in: {error}"));
    assert!(refused.stdout.is_empty(), "{arguments:?} printed a rate");
}

#[test]
fn a_benchmark_that_would_measure_nothing_whole_is_refused() {
    let (program, place) = (program::program("nexmark"), tempfile::tempdir().unwrap());
    let bench = |more: &[&str], words: &[&str]| assert_refused(&program, &[&["q0", "--bench"], more].concat(), words);
    bench(&["--events", "0"], &["--events above 0"]);
    bench(&["--events", "100", "--out", "somewhere"], &["--out somewhere", "publishes no rows"]);
    let state = place.path().to_str().unwrap();
    fs::create_dir(place.path().join("q0")).unwrap();
    fs::write(place.path().join("q0/data.mdb"), "as a run that was killed left it").unwrap();
    bench(&["--events", "100", "--state", state], &[state, "a directory of its own"]);
}

#[test]
fn weather_without_a_header_is_named() {
    let (program, place) = (program::program("flight_weather"), tempfile::tempdir().unwrap());
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("empty.csv"), "").unwrap();
    let arguments = ["--weather", &at("empty.csv"), "--state", &at("state"), "--out", &at("out")];
    assert_refused(&program, &arguments, &[&at("empty.csv"), "is empty"]);
    assert!(!Path::new(&at("out")).exists());
}
