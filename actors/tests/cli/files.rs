//! A directory of files is looked at as one of LMDB is: while its job runs, when it is damaged, and to delete from it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cofferdam::{JobHandle, prelude::*};
use serde_json::{Value, json};

use crate::{
    command::{DAMAGED, NOT_FOUND, REFUSED, Ran, USAGE, run},
    support::*,
};

fn start(places: &Places, limit: &Limit, num_retained: u32) -> JobHandle {
    let checkpoints = CheckpointConfig::every(Duration::from_millis(5)).num_retained(num_retained);
    let builder = engine().checkpoints(checkpoints).backend(FileSystem::at(places.at("state")));
    builder.start_blocking(counting(limit, &places.at("output"))).unwrap()
}

/// A stopped job that has counted `rounds` times 100 numbers, with a checkpoint for each at least.
fn stopped_after(places: &Places, rounds: u64) {
    let limit = Limit::of(100);
    let job = start(places, &limit, 4);
    for round in 2..=rounds {
        until("all is published", || published(&places.at("output")).len() as u64 >= (round - 1) * 100);
        limit.raise(round * 100);
    }
    run_to(&job, &places.at("output"), rounds as usize * 100);
}

fn kept(state: &Path) -> Vec<u64> {
    let list = run(&[&"--json", &"checkpoints", &"list", &state]).json();
    list["checkpoints"].as_array().unwrap().iter().map(|one| one["checkpoint"].as_u64().unwrap()).collect()
}

fn dump(state: &Path) -> Vec<Value> {
    run(&[&"--json", &"state", &"dump", &state, &"--operator", &"count"]).json_lines()
}

/// The sum of the counts that were dumped.
fn total(dump: &[Value]) -> u64 {
    dump.iter().map(|line| line["value"].as_u64().unwrap()).sum()
}

fn verify(state: &Path) -> Ran {
    run(&[&"--json", &"checkpoints", &"verify", &state])
}

#[test]
fn what_is_said_of_it_is_what_there_is() {
    let places = Places::new();
    stopped_after(&places, 6);
    let state = places.at("state");
    fs::remove_file(state.join("LOCK")).unwrap();
    let uri = format!("file://{}", state.display());
    let kept = kept(&state);
    for named in [state.clone(), uri.into()] {
        let list = run(&[&"--json", &"checkpoints", &"list", &named]).json();
        assert_eq!((&list["backend"], &list["job_name"]), (&json!("filesystem"), &json!("counting")));
        assert_eq!(list["checkpoints"].as_array().unwrap().len(), 4);
        let show = run(&[&"--json", &"checkpoints", &"show", &named, &kept[1].to_string()]).json();
        assert_eq!(show["checkpoint"], kept[1]);
        let report = verify(&named).json();
        assert_eq!((&report["whole"], report["checkpoints"].as_array().unwrap().len()), (&json!(true), 4));
        assert!(run(&[&"checkpoints", &"verify", &named]).said().contains("every piece of state"));
        let states = run(&[&"--json", &"state", &"list", &named]).json();
        assert_eq!((&states["states"][0]["state"], &states["states"][0]["entries"]), (&json!("value"), &json!(10)));
        assert_eq!((dump(&named).len(), total(&dump(&named))), (10, 600));
        let of = |number: u64| {
            let number = number.to_string();
            let ran = run(&[&"--json", &"state", &"dump", &named, &"--operator", &"count", &"--checkpoint", &number]);
            total(&ran.json_lines())
        };
        assert!(of(kept[0]) <= of(kept[3]) && of(kept[3]) == 600);
        let older = run(&[&"--json", &"state", &"list", &named, &"--checkpoint", &kept[1].to_string()]).json();
        assert_eq!(older["checkpoint"], kept[1]);
        let key = run(&[&"state", &"dump", &named, &"--operator", &"count", &"--key", &"3"]).said();
        assert_eq!(key, "3\t60\n");
        run(&[&"state", &"list", &named, &"--checkpoint", &"1000000"]).failed_with(NOT_FOUND, &["does not keep"]);
    }
    // Looking takes no lock.
    assert!(!state.join("LOCK").exists());
}

#[test]
fn a_running_job_goes_on() {
    for num_retained in [1, 3] {
        let (places, limit) = (Places::new(), Limit::of(1_000));
        let (job, state) = (start(&places, &limit, num_retained), places.at("state"));
        until("a checkpoint with all of it", || published(&places.at("output")).len() >= 1_000);
        let mut seen = 0;
        for round in 1..=5u64 {
            limit.raise(1_000 + round * 20_000);
            assert!(!kept(&state).is_empty());
            assert!(run(&[&"checkpoints", &"show", &state]).said().contains("keyed step 'count'"));
            assert_eq!(verify(&state).json()["whole"], true);
            assert_eq!(run(&[&"--json", &"state", &"list", &state]).json()["states"][0]["operator"], "count");
            // Later looks see later checkpoints.
            let total = total(&dump(&state));
            assert!(total >= seen, "{total} after {seen}");
            seen = total;
            let refused = run(&[&"checkpoints", &"delete", &state, &"--all", &"--give-up-newest", &"--job-is-stopped"]);
            refused.failed_with(REFUSED, &["is open already", "stop that job first"]);
        }
        assert!(seen >= 1_000, "the dumps saw nothing");
        run_to(&job, &places.at("output"), 101_000);
        assert_eq!(published(&places.at("output")), expected(101_000));
        assert_eq!(total(&dump(&state)), 101_000);
    }
}

#[test]
fn checkpoints_go_and_the_job_goes_on() {
    let places = Places::new();
    stopped_after(&places, 8);
    let state = places.at("state");
    let numbers = kept(&state);
    let delete = |arguments: &[&str]| {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--json", &"checkpoints", &"delete", &state];
        all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        run(&all)
    };
    let newest = numbers[3].to_string();
    delete(&[&newest]).failed_in_json_with(REFUSED, &["the newest", "--give-up-newest"]);
    delete(&["--all"]).failed_in_json_with(REFUSED, &["--give-up-newest"]);
    delete(&[&numbers[1].to_string()]).said();
    assert_eq!(kept(&state), [numbers[0], numbers[2], numbers[3]]);
    delete(&[&numbers[1].to_string()]).failed_in_json_with(NOT_FOUND, &["does not keep"]);
    assert_eq!(verify(&state).json()["whole"], true);
    let job = start(&places, &Limit::of(1_000), 4);
    run_to(&job, &places.at("output"), 1_000);
    assert_eq!(published(&places.at("output")), expected(1_000));
    let numbers = kept(&state);
    delete(&[&numbers.last().unwrap().to_string(), "--give-up-newest"]).said();
    assert_eq!(kept(&state), numbers[..numbers.len() - 1]);
    delete(&["--all", "--give-up-newest"]).said();
    assert!(!state.exists());
}

fn below(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

#[test]
fn damage_is_found_by_name() {
    let places = Places::new();
    stopped_after(&places, 3);
    let (mut by_name, mut whole) = (0, 0);
    for path in below(&places.at("state")) {
        let clean = fs::read(&path).unwrap();
        for at in (0..clean.len()).step_by(clean.len().div_ceil(12)) {
            let mut bytes = clean.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            let ran = verify(&places.at("state"));
            let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
            match ran.code {
                // What no checkpoint uses.
                Some(0) => whole += usize::from(report["whole"] == true),
                Some(DAMAGED) => {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    by_name += usize::from(report["whole"] == false && ran.stdout.contains(name));
                }
                _ => panic!("{ran:?}"),
            }
            assert!(ran.stderr.is_empty(), "{ran:?}");
        }
        fs::write(&path, clean).unwrap();
    }
    assert!(by_name > 20, "{by_name} found by name, {whole} whole");
    assert_eq!(verify(&places.at("state")).json()["whole"], true);
}

#[test]
fn what_is_no_place_is_said_by_name() {
    run(&[&"checkpoints", &"list", &"gopher://state"]).failed_with(USAGE, &["gopher", "file://"]);
    run(&[&"--json", &"state", &"list", &"file://relative/path"]).failed_in_json_with(USAGE, &["file://"]);
}
