//! The examples, run as programs over state that was begun with other settings: refused, and nothing is touched.
#![allow(clippy::unwrap_used)]

mod program;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

fn command(program: &Path, place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg("--state").arg(place.join("state")).arg("--out").arg(place.join("out"));
    command
}

fn run(program: &Path, place: &Path, arguments: &[&str]) -> Output {
    command(program, place, arguments).output().unwrap()
}

/// Every file below a directory.
fn everything(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(everything(&path));
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

fn lines(place: &Path) -> usize {
    let files = fs::read_dir(place.join("out")).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap().lines().count()).sum()
}

fn assert_refused(program: &Path, place: &Path, arguments: &[&str], words: &[&str]) {
    let before = everything(place);
    let refused = run(program, place, arguments);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{arguments:?}: {error}");
    words.iter().for_each(|word| assert!(error.contains(word), "{arguments:?}: '{word}' is not in: {error}"));
    assert!(everything(place) == before, "{arguments:?} touched something");
}

#[test]
fn a_finished_job_is_not_taken_for_one_with_other_settings() {
    let jobs: [(_, &[&str], &[&str], [&str; 2]); 8] = [
        ("nexmark", &["q0", "--events", "300"], &["q0", "--events", "600"], ["--events 300", "--events 600"]),
        ("nexmark", &["q0", "--events", "300"], &["q0", "--events", "200"], ["--events 300", "--events 200"]),
        (
            "nexmark",
            &["q0", "--events", "300", "--apart", "7"],
            &["q0", "--events", "300", "--apart", "8"],
            ["--apart 7", "--apart 8"],
        ),
        ("nexmark", &["q0", "--events", "300"], &["q1", "--events", "300"], ["QUERY q0", "QUERY q1"]),
        ("guessed_logins", &["--log-ins", "300"], &["--log-ins", "301"], ["--log-ins 300", "--log-ins 301"]),
        ("collatz", &["--numbers", "30"], &["--numbers", "40"], ["--numbers 30", "--numbers 40"]),
        ("orders_to_sqlite", &["--orders", "30"], &["--orders", "40"], ["--orders 30", "--orders 40"]),
        ("flight_weather", &["--disorder", "60"], &[], ["--disorder 60", "no --disorder"]),
    ];
    for (name, first, other, words) in jobs {
        let (program, place) = (program::program(name), tempfile::tempdir().unwrap());
        assert!(run(&program, place.path(), first).status.success(), "{name} {first:?}");
        assert_refused(&program, place.path(), other, &words);
        assert!(run(&program, place.path(), first).status.success(), "{name} {first:?}, again");
    }
}

#[test]
fn a_job_that_was_killed_goes_on_with_its_settings_alone() {
    let jobs: [(_, &[&str], &[&str]); 2] = [
        ("nexmark", &["q0", "--events", "20000"], &["q0", "--events", "40000"]),
        ("guessed_logins", &["--log-ins", "60000"], &["--log-ins", "70000"]),
    ];
    for (name, first, other) in jobs {
        let (program, place, whole) =
            (program::program(name), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let slowly = [first, &["--checkpoint-ms", "50", "--rate", "10000"]].concat();
        let mut child = command(&program, place.path(), &slowly).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while lines(place.path()) == 0 {
            assert!(Instant::now() < deadline, "nothing was published");
            thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "{name} ended before it could be killed");
        assert_refused(&program, place.path(), other, &[first[first.len() - 1], other[other.len() - 1]]);

        assert!(run(&program, place.path(), first).status.success());
        assert!(run(&program, whole.path(), first).status.success());
        assert_eq!(lines(place.path()), lines(whole.path()), "{name}");
    }
}
