//! What is said of a stopped job's directory, and of savepoints, is what there is.

use std::collections::BTreeMap;

use cofferdam::{SavepointWriter, prelude::*};
use serde_json::{Value, json};

use crate::{
    command::{NOT_FOUND, run},
    support::*,
};

#[test]
fn the_dump_is_the_state() {
    let places = Places::new();
    stopped(&places, 1_234);
    let expected: BTreeMap<u64, u64> = (0..KEYS).map(|key| (key, 123 + u64::from(key < 4))).collect();
    for place in [places.at("state"), places.at("savepoint")] {
        let lines = run(&[&"--json", &"state", &"dump", &place, &"--operator", &"count"]).json_lines();
        let number = |line: &Value, field: &str| line[field].as_u64().unwrap();
        let read: BTreeMap<_, _> = lines.iter().map(|line| (number(line, "key"), number(line, "value"))).collect();
        assert_eq!((lines.len(), &read), (10, &expected));
        assert!(
            lines.iter().all(|line| line["operator"] == "count" && line["state"] == "value" && line["version"] == 0)
        );

        let text = run(&[&"state", &"dump", &place, &"--operator", &"count", &"--state", &"value"]).said();
        let pair =
            |line: &str| line.split_once('\t').map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()));
        assert_eq!(text.lines().map(|line| pair(line).unwrap()).collect::<BTreeMap<u64, u64>>(), expected);

        assert_eq!(run(&[&"state", &"dump", &place, &"--operator", &"count", &"--key", &"3"]).said(), "3\t124\n");
        let key = |key: &'static str| run(&[&"state", &"dump", &place, &"--operator", &"count", &"--key", &key]);
        key("33").failed_with(NOT_FOUND, &["has no entry of key 33"]);
        key("three").failed_with(NOT_FOUND, &["three", "no key of state count/value", "u64"]);
        run(&[&"state", &"dump", &place, &"--operator", &"sum"])
            .failed_with(NOT_FOUND, &["no state 'sum'", "count/value"]);

        let list = run(&[&"--json", &"state", &"list", &place]).json();
        let state = &list["states"][0];
        assert_eq!(
            (&state["operator"], &state["state"], &state["key"]),
            (&json!("count"), &json!("value"), &json!("u64"))
        );
        assert_eq!((&state["kind"], &state["entries"]), (&json!("value"), &json!(10)));
        assert!(run(&[&"state", &"list", &place]).said().contains("count"));
    }
}

#[test]
fn keys_of_any_type_are_asked_for_as_json_or_as_text() {
    let places = Places::new();
    let words = ["plain", "7", "\"quoted\"", "two words"].map(str::to_string);
    let pairs = [("a".to_string(), 1u32), ("b".to_string(), 2)];
    // A map whose keys are no strings has no JSON.
    let odd = [(true, BTreeMap::from([(1u8, 2u8)]))];
    SavepointWriter::new("keys", 128)
        .and_then(|writer| writer.keyed_state("words", "value", words.clone().map(|word| (word.clone(), word.len()))))
        .and_then(|writer| writer.keyed_state("pairs", "value", pairs.map(|pair| (pair.clone(), pair.1))))
        .and_then(|writer| writer.keyed_state("odd", "value", odd))
        .and_then(|writer| writer.write(places.at("savepoint")))
        .unwrap();
    let get = |operator: &str, key: &str| {
        run(&[&"--json", &"state", &"dump", &places.at("savepoint"), &"--operator", &operator, &"--key", &key]).json()
    };
    assert_eq!(get("words", "plain")["value"], 5);
    assert_eq!(get("words", "7")["value"], 1);
    assert_eq!(get("words", "\"7\"")["value"], 1);
    assert_eq!(get("words", "\"\\\"quoted\\\"\"")["value"], 8);
    assert_eq!(get("words", "two words")["key"], "two words");
    assert_eq!(get("pairs", "[\"b\", 2]")["value"], 2);
    let odd = get("odd", "true");
    assert_eq!((&odd["value"], &odd["message_pack"]), (&Value::Null, &json!("810102")));
    run(&[&"savepoint", &"verify", &places.at("savepoint")]).said();
}

#[test]
fn checkpoints_are_listed_shown_and_verified() {
    let places = Places::new();
    stopped(&places, 1_000);
    let state = places.at("state");
    let before = std::fs::read(state.join("data.mdb")).unwrap();
    let list = run(&[&"--json", &"checkpoints", &"list", &state]).json();
    let checkpoints = list["checkpoints"].as_array().unwrap();
    assert_eq!((checkpoints.len(), &list["job_name"]), (1, &json!("counting")));
    assert_eq!((&checkpoints[0]["status"], &checkpoints[0]["newest"]), (&json!("readable"), &json!(true)));
    assert!(checkpoints[0]["bytes"].as_u64().unwrap() > 30);

    let show = run(&[&"checkpoints", &"show", &state, &"--json"]).json();
    assert_eq!(show["checkpoint"], checkpoints[0]["checkpoint"]);
    let operators = show["operators"].as_array().unwrap();
    let of = |uid: &str| operators.iter().find(|operator| operator["operator"] == uid).unwrap();
    let positions: Vec<_> =
        of("numbers")["subtasks"].as_array().unwrap().iter().map(|one| one["state"].to_string()).collect();
    assert!(positions.concat().contains("1000") && positions.concat().contains("1001"), "{positions:?}");
    assert_eq!(of("count")["states"][0]["key"], "u64");
    assert!(run(&[&"checkpoints", &"show", &state]).said().contains("keyed step 'count'"));

    let verify = run(&[&"--json", &"checkpoints", &"verify", &state]).json();
    assert_eq!((&verify["whole"], &verify["checkpoints"][0]["states"][0]["entries"]), (&json!(true), &json!(10)));
    assert!(verify["not_detected"].as_array().unwrap().len() > 1);
    assert!(run(&[&"checkpoints", &"verify", &state]).said().contains("is whole"));
    assert_eq!(std::fs::read(state.join("data.mdb")).unwrap(), before);
    // Nothing that was looked at keeps the job from going on.
    engine()
        .backend(Lmdb::at(state))
        .start_blocking(counting(&Limit::of(0), &places.at("output")))
        .unwrap()
        .stop_blocking()
        .unwrap();
}

#[test]
fn savepoints_are_shown_and_verified() {
    let places = Places::new();
    let info = taken_while_running(&places, 100);
    let show = run(&[&"--json", &"savepoint", &"show", &info.path]).json();
    assert_eq!((&show["savepoint"], &show["bytes"]), (&json!(info.id.to_string()), &json!(info.bytes)));
    let operators = show["record"]["operators"].as_array().unwrap();
    let sink = operators.iter().find(|operator| operator["operator"] == "rows").unwrap();
    let prepared =
        sink["subtasks"].as_array().unwrap().iter().flat_map(|one| one["prepared_transactions"].as_array().unwrap());
    assert!(
        prepared.clone().count() > 0 && prepared.into_iter().all(|one| one["checkpoint"] == json!(info.checkpoint))
    );
    assert!(run(&[&"savepoint", &"show", &info.path]).said().contains("prepared, of checkpoint"));
    assert_eq!(run(&[&"--json", &"savepoint", &"verify", &info.path]).json()["whole"], true);
}
