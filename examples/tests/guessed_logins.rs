//! The example `guessed_logins`, run as a program and killed, against a loop over each user's log-ins.
#![allow(clippy::unwrap_used)]

mod program;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cofferdam_examples::logins::Login;

const LOG_INS: u64 = 60_000;

/// User, the failures, the success and its address.
type Guess = (u64, Vec<i64>, i64, u64);

/// Any four of a user that follow each other.
fn oracle() -> Vec<Guess> {
    let mut users = BTreeMap::<u32, Vec<Login>>::new();
    (0..LOG_INS).map(Login::numbered).for_each(|login| users.entry(login.user).or_default().push(login));
    let (mut guesses, mut too_slow) = (Vec::new(), 0);
    for (user, mut logins) in users {
        logins.sort_by_key(|login| login.at_ms);
        assert!(logins.is_sorted_by(|one, next| one.at_ms < next.at_ms), "no two at one moment");
        for four in logins.windows(4) {
            if four.iter().map(|login| login.succeeded).eq([false, false, false, true]) {
                if four[3].at_ms - four[0].at_ms <= 10 * 60 * 1_000 {
                    let failed = four[..3].iter().map(|login| login.at_ms).collect();
                    guesses.push((u64::from(user), failed, four[3].at_ms, u64::from(four[3].address)));
                } else {
                    too_slow += 1;
                }
            }
        }
    }
    assert!(guesses.len() > 300 && too_slow > 100, "{} guesses, and {too_slow} that took too long", guesses.len());
    guesses.sort();
    guesses
}

fn published(out: &Path) -> Vec<Guess> {
    let files = fs::read_dir(out).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut rows = Vec::new();
    for path in files.filter(|path| path.is_file()) {
        for line in fs::read_to_string(path).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let failed = row["failed_ms"].as_array().unwrap().iter().map(|at| at.as_i64().unwrap()).collect();
            let (user, address) = (row["user"].as_u64().unwrap(), row["address"].as_u64().unwrap());
            rows.push((user, failed, row["succeeded_ms"].as_i64().unwrap(), address));
        }
    }
    rows.sort();
    rows
}

fn start(program: &Path, directory: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(["--log-ins", &LOG_INS.to_string()]).args(arguments);
    command.arg("--state").arg(directory.join("state")).arg("--out").arg(directory.join("out"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_and_an_undisturbed_run_find_each_guess_once() {
    let (program, expected) = (program::program("guessed_logins"), oracle());
    for (parallelism, is_killed) in [(["1"; 3], false), (["2"; 3], true), (["1", "3", "2"], true)] {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        if is_killed {
            // Twice, each time when more has been published.
            for (parallelism, rows) in parallelism.iter().zip([20, 150]) {
                let slowly = ["--parallelism", parallelism, "--checkpoint-ms", "50", "--rate", "20000"];
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
            assert!(published(&out).len() < expected.len(), "it was killed midway");
        }
        let mut child = start(&program, place.path(), &["--parallelism", parallelism[2]]);
        assert!(child.wait().unwrap().success());
        assert_eq!(published(&out), expected, "at parallelism {parallelism:?}");
    }
}
