//! Checkpoints go when nobody needs them, and the newest only if that is said.

use std::time::Duration;

use cofferdam::prelude::*;
use serde_json::json;

use crate::{
    command::{DAMAGED, NOT_FOUND, REFUSED, Ran, run},
    support::*,
};

/// A stopped job that keeps several checkpoints, and their numbers.
fn several(places: &Places) -> Vec<u64> {
    let checkpoints = CheckpointConfig::every(Duration::from_millis(5)).num_retained(4);
    let builder = engine().checkpoints(checkpoints).backend(Lmdb::at(places.at("state")));
    let limit = Limit::of(100);
    let job = builder.start_blocking(counting(&limit, &places.at("output"))).unwrap();
    for round in 2..=8 {
        until("all is published", || published(&places.at("output")).len() as u64 >= (round - 1) * 100);
        limit.raise(round * 100);
    }
    run_to(&job, &places.at("output"), 800);
    let kept = kept(places);
    assert_eq!(kept.len(), 4);
    kept
}

fn kept(places: &Places) -> Vec<u64> {
    let list = run(&[&"--json", &"checkpoints", &"list", &places.at("state")]).json();
    list["checkpoints"].as_array().unwrap().iter().map(|one| one["checkpoint"].as_u64().unwrap()).collect()
}

fn delete(places: &Places, arguments: &[&str]) -> Ran {
    let state = places.at("state");
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"--json", &"checkpoints", &"delete", &state];
    all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
    run(&all)
}

#[test]
fn an_older_one_goes_and_the_job_goes_on() {
    let places = Places::new();
    let numbers = several(&places);
    let deleted = delete(&places, &[&numbers[1].to_string()]).json();
    assert_eq!(
        (&deleted["deleted"], &deleted["kept"]),
        (&json!([numbers[1]]), &json!([numbers[0], numbers[2], numbers[3]]))
    );
    assert_eq!(kept(&places), [numbers[0], numbers[2], numbers[3]]);
    assert_eq!(run(&[&"--json", &"checkpoints", &"verify", &places.at("state")]).json()["whole"], true);
    delete(&places, &[&numbers[1].to_string()]).failed_with(NOT_FOUND, &["keep"]);
    let builder = engine().backend(Lmdb::at(places.at("state")));
    let job = builder.start_blocking(counting(&Limit::of(1_000), &places.at("output"))).unwrap();
    run_to(&job, &places.at("output"), 1_000);
    assert_eq!(published(&places.at("output")), expected(1_000));
}

#[test]
fn the_newest_goes_only_if_that_is_said() {
    let places = Places::new();
    let numbers = several(&places);
    let newest = numbers[3].to_string();
    delete(&places, &[&newest]).failed_with(REFUSED, &["the newest", "--give-up-newest"]);
    delete(&places, &["--all"]).failed_with(REFUSED, &["--give-up-newest"]);
    assert_eq!(kept(&places), numbers);
    let said = delete(&places, &[&newest, "--give-up-newest"]).json();
    assert!(said["note"].as_str().unwrap().contains("FileSink"), "{said}");
    assert_eq!(kept(&places), numbers[..3]);
    let older = delete(&places, &[&numbers[0].to_string()]).json();
    assert!(older["note"].is_null(), "{older}");
    delete(&places, &["--all", "--give-up-newest"]).said();
    assert!(!places.at("state").join("data.mdb").exists());
    // As the note says.
    let builder = || engine().backend(Lmdb::at(places.at("state")));
    let topology = || counting(&Limit::of(900), &places.at("output"));
    let refusal = refused(builder(), topology());
    assert!(refusal.contains("move the output away"), "{refusal}");
    std::fs::rename(places.at("output"), places.at("moved")).unwrap();
    run_to(&builder().start_blocking(topology()).unwrap(), &places.at("output"), 900);
    assert_eq!(published(&places.at("output")), expected(900));
}

#[test]
fn what_is_damaged_or_half_deleted_goes_as_its_errors_advise() {
    for damage in ["NOTE", "data.mdb", "half"] {
        let places = Places::new();
        stopped(&places, 100);
        let state = places.at("state");
        let path = |name: &str| state.join(name);
        match damage {
            "half" => std::fs::rename(path("NOTE"), path("NOTE.deleted")).unwrap(),
            "NOTE" => std::fs::write(path("NOTE"), b"COFFNOTE, and nothing that fits").unwrap(),
            _ => std::fs::write(path("data.mdb"), b"short").unwrap(),
        }
        let code = if damage == "half" { NOT_FOUND } else { DAMAGED };
        delete(&places, &["--all"]).failed_with(code, &[]);
        assert!(state.join("data.mdb").exists());
        delete(&places, &["--all", "--give-up-newest"]).said();
        assert!(!state.exists(), "{damage}");
    }
}
