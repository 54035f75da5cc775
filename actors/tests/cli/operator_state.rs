//! State that belongs to no key, and sources' positions, are listed, dumped, read and written.

use std::{collections::BTreeMap, path::Path};

use cofferdam::{JobHandle, Savepoint, SavepointWriter, StoredCheckpoint, prelude::*};
use serde_json::{Value, json};

use crate::{
    command::{NOT_FOUND, USAGE, run},
    support::*,
};

type Rules = BTreeMap<u64, String>;

fn states() -> (
    state::StateDescriptor<state::Elements, u64>,
    state::StateDescriptor<state::Union<u64>, u64>,
    state::StateDescriptor<state::Broadcast<u64>, String>,
) {
    (state::list("waiting"), state::union("seen"), state::broadcast::<u64, String>("rules"))
}

/// Every number goes to every subtask, which keeps it in each of its states, and says how many rules it knows.
fn keeping(limit: &Limit, rows: &CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("keeping");
    let numbers = topology.source("numbers", limit.clone()).parallelism(1).broadcast();
    numbers
        .process_operator("keep", states(), |number, (waiting, seen, rules), out| {
            waiting.push(number);
            seen.push(number);
            rules.insert(number, format!("rule {number}"));
            out.emit((number, rules.len() as u64));
        })
        .sink("rows", rows.clone());
    topology
}

fn start(builder: EngineBuilder, limit: &Limit, rows: &CollectSink<(u64, u64)>) -> JobHandle {
    builder.start_blocking(keeping(limit, rows)).unwrap()
}

/// A stopped job of two subtasks that has seen 0, 1 and 2.
fn stopped(state: &Path) {
    let (rows, collected) = CollectSink::new();
    let job = start(engine().backend(FileSystem::at(state)), &Limit::of(3), &rows);
    until("both subtasks have seen all", || collected.snapshot().len() == 6);
    job.stop_blocking().unwrap();
}

fn newest(state: &Path) -> StoredCheckpoint {
    let inspection = FileSystem::at(state).inspect().unwrap();
    inspection.checkpoint(*inspection.checkpoints().last().unwrap()).unwrap()
}

fn rules(numbers: impl IntoIterator<Item = u64>) -> Rules {
    numbers.into_iter().map(|number| (number, format!("rule {number}"))).collect()
}

#[test]
fn is_shown_by_the_command() {
    let places = Places::new();
    let state = places.at("state");
    stopped(&state);
    let list = run(&[&"--json", &"state", &"list", &state]).json();
    let of = |name: &str| {
        let states = list["states"].as_array().unwrap();
        states.iter().find(|state| state["state"] == name).unwrap_or_else(|| panic!("{list}")).clone()
    };
    for (name, kind, key, subtasks) in [
        ("waiting", "operator list", Value::Null, json!([3, 3])),
        ("seen", "union", Value::Null, json!([3, 3])),
        ("rules", "broadcast", json!("u64"), json!([3, 3])),
        ("positions", "positions", Value::Null, json!([2])),
    ] {
        let state = of(name);
        let total: u64 = subtasks.as_array().unwrap().iter().map(|entries| entries.as_u64().unwrap()).sum();
        assert_eq!((&state["kind"], &state["key"], &state["subtasks"]), (&json!(kind), &key, &subtasks), "{state}");
        assert_eq!(state["entries"], total, "{state}");
    }
    assert!(run(&[&"state", &"list", &state]).said().contains("broadcast"));

    let dump = |arguments: &[&str]| {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"state", &"dump", &state];
        all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
        run(&all)
    };
    let lines = dump(&["--json", "--operator", "keep"]).json_lines();
    assert_eq!(lines.len(), 18);
    let rule = json!({ "operator": "keep", "state": "rules", "subtask": 1, "key": 2, "value": "rule 2", "version": 0 });
    assert!(lines.contains(&rule), "{lines:?}");
    let element = json!({ "operator": "keep", "state": "waiting", "subtask": 0, "value": 1, "version": 0 });
    assert!(lines.contains(&element), "{lines:?}");
    let text = dump(&["--operator", "keep", "--state", "rules", "--key", "1"]).said();
    assert_eq!(text, "[0]\t1\t\"rule 1\"\n[1]\t1\t\"rule 1\"\n");
    let text = dump(&["--operator", "keep", "--state", "waiting"]).said();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[0]\t0", "[0]\t1", "[0]\t2", "[1]\t0", "[1]\t1", "[1]\t2"]);
    let positions = dump(&["--json", "--operator", "numbers"]).json_lines();
    let read: BTreeMap<u64, u64> =
        positions.iter().map(|line| (line["split"].as_u64().unwrap(), line["position"].as_u64().unwrap())).collect();
    assert_eq!(read, BTreeMap::from([(0, 4), (1, 3)]));
    dump(&["--operator", "keep", "--state", "rules", "--key", "9"]).failed_with(NOT_FOUND, &["no entry of key 9"]);
    dump(&["--operator", "keep", "--state", "waiting", "--key", "9"]).failed_with(USAGE, &["has no keys"]);
    dump(&["--operator", "keep", "--state", "other"]).failed_with(NOT_FOUND, &["keep/rules", "numbers/positions"]);
    let report = run(&[&"--json", &"checkpoints", &"verify", &state]).json();
    assert_eq!((&report["whole"], report["checkpoints"][0]["states"].as_array().unwrap().len()), (&json!(true), 3));
}

#[test]
fn is_read_with_its_types() {
    let places = Places::new();
    stopped(&places.at("state"));
    let checkpoint = newest(&places.at("state"));
    for state in ["waiting", "seen"] {
        let mut read = checkpoint.operator_list::<u64>("keep", state).unwrap();
        read.iter_mut().for_each(|of_subtask| of_subtask.sort_unstable());
        assert_eq!(read, [[0, 1, 2], [0, 1, 2]], "{state}");
    }
    let read = checkpoint.broadcast_state::<u64, String>("keep", "rules").unwrap();
    assert_eq!(read, [rules(0..3), rules(0..3)]);
    let positions = checkpoint.positions::<u64, u64>("numbers").unwrap();
    let read: BTreeMap<_, _> = positions.iter().flatten().map(|split| (split.split, split.position)).collect();
    assert_eq!(read, BTreeMap::from([(0, Some(4)), (1, Some(3))]));
    let refused = |error: cofferdam_engine::checkpoint::store::StoreError| error.message;
    assert!(refused(checkpoint.operator_list::<u64>("keep", "rules").unwrap_err()).contains("of kind 'broadcast'"));
    let other = checkpoint.broadcast_state::<String, String>("keep", "rules").unwrap_err();
    assert!(refused(other).contains("keys of type u64"));
    assert!(refused(checkpoint.operator_list::<u64>("keep", "none").unwrap_err()).contains("keep/rules"));
    assert!(refused(checkpoint.positions::<u64, u64>("keep").unwrap_err()).contains("its sources are: numbers"));
}

/// A job that begins with what was written, and the rows that it publishes from there on.
fn first_rows(places: &Places, numbers: u64, new: usize) -> (Vec<(u64, u64)>, StoredCheckpoint) {
    let (rows, collected) = CollectSink::new();
    let state = places.at("begun");
    let builder = engine().backend(FileSystem::at(&state)).from_savepoint(places.at("first"));
    let job = start(builder, &Limit::of(numbers), &rows);
    until("both subtasks have seen all", || collected.snapshot().len() == 2 * new);
    job.stop_blocking().unwrap();
    let mut rows = collected.snapshot();
    rows.sort_unstable();
    (rows, newest(&state))
}

#[test]
fn is_written_for_a_job_to_begin_with() {
    let places = Places::new();
    let initial = (vec![100u64, 101, 102], vec![200u64, 201], rules([7, 8]));
    let writer = SavepointWriter::new("keeping", 128).unwrap();
    writer.operator_state("keep", &states(), &initial).unwrap().write(places.at("first")).unwrap();
    let (rows, stored) = first_rows(&places, 1, 1);
    // Each subtask knew both rules, and learnt a third.
    assert_eq!(rows, [(0, 3), (0, 3)]);
    let mut waiting: Vec<_> = stored.operator_list::<u64>("keep", "waiting").unwrap().into_iter().flatten().collect();
    waiting.sort_unstable();
    assert_eq!(waiting, [0, 0, 100, 101, 102]);
    assert_eq!(stored.operator_list::<u64>("keep", "seen").unwrap(), [[200, 201, 0], [200, 201, 0]]);
}

#[test]
fn is_changed_in_a_checkpoint_of_several_subtasks() {
    let places = Places::new();
    stopped(&places.at("state"));
    let (waiting, seen, broadcast) = states();
    let writer = SavepointWriter::of(&newest(&places.at("state")));
    let writer = writer.operator_state("keep", &broadcast, &rules(10..15)).unwrap();
    let writer = writer.operator_state("keep", &waiting, &vec![1, 2, 3]).unwrap();
    let writer = writer.without_state("keep", "seen").unwrap();
    let writer = writer.operator_state("keep", &seen, &vec![9]).unwrap();
    writer.write(places.at("first")).unwrap();
    let written = StoredCheckpoint::from(Savepoint::open(places.at("first")).unwrap());
    assert_eq!(written.operator_list::<u64>("keep", "waiting").unwrap(), [vec![1, 3], vec![2]]);
    assert_eq!(written.operator_list::<u64>("keep", "seen").unwrap(), [vec![9], vec![]]);
    let (rows, stored) = first_rows(&places, 4, 1);
    assert_eq!(rows, [(3, 6), (3, 6)]);
    assert_eq!(stored.operator_list::<u64>("keep", "seen").unwrap(), [[9, 3], [9, 3]]);
    assert_eq!(stored.operator_list::<u64>("keep", "waiting").unwrap(), [vec![1, 3, 3], vec![2, 3]]);
}

#[test]
fn is_refused_for_a_step_of_another_kind() {
    let writer = SavepointWriter::new("keeping", 128).unwrap().keyed_state("keep", "value", [(1u64, 1u64)]).unwrap();
    let error = writer.operator_state("keep", &states().0, &vec![1]).map(drop).unwrap_err();
    assert!(error.to_string().contains("'keep' is a keyed step"), "{error}");
    let writer = SavepointWriter::new("keeping", 128).unwrap();
    let writer = writer.operator_state("keep", &states().0, &vec![1]).unwrap();
    let error = writer.keyed_state("keep", "value", [(1u64, 1u64)]).map(drop).unwrap_err();
    assert!(error.to_string().contains("has no state by key"), "{error}");
}
