//! The names of the fields in what `--json` says, which programs go by, are those that docs/operations.md lists.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::prelude::*;
use serde_json::Value;

use crate::{
    command::{DAMAGED, run},
    support::*,
};

/// What a job's own types, sources and sinks make of them.
const OF_THE_JOB: [&str; 5] = ["key", "value", "split", "position", "transaction"];

/// The fields of an object, and of those in it: `a b{c d} e[f]`, arrays in square brackets.
fn fields(documents: &[&Value]) -> String {
    let mut all: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (name, value) in documents.iter().flat_map(|document| document.as_object().unwrap()) {
        all.entry(name).or_default().push(value);
    }
    let of_field = |(name, values): (&str, Vec<&Value>)| {
        let is_of_the_job =
            OF_THE_JOB.contains(&name) || (name == "state" && !values.iter().all(|one| one.is_string()));
        let elements: Vec<_> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        if is_of_the_job {
            name.to_string()
        } else if values.iter().all(|value| value.is_object()) {
            format!("{name}{{{}}}", fields(&values))
        } else if !elements.is_empty() && elements.iter().all(|value| value.is_object()) {
            format!("{name}[{}]", fields(&elements))
        } else {
            name.to_string()
        }
    };
    all.into_iter().map(of_field).collect::<Vec<_>>().join(" ")
}

/// Lines that the documentation lacks.
#[derive(Default)]
struct Missing(Vec<String>);

impl Missing {
    fn unless_documented(&mut self, command: &str, documents: &[Value]) {
        let line = format!("{command}: {}", fields(&documents.iter().collect::<Vec<_>>()));
        let documented = include_str!("../../../docs/operations.md");
        if !documented.lines().any(|one| one == line) {
            self.0.push(line);
        }
    }
}

fn start_expiring(places: &Places, limit: &Limit) -> cofferdam::JobHandle {
    let topology = Topology::new("expiring");
    let last = state::value::<u64>("last").ttl(Ttl::after(Duration::from_secs(3_600)));
    let (sink, _) = CollectSink::new();
    topology
        .source("numbers", limit.clone())
        .key_by(|n: &u64| n % 10)
        .process_with("seen", last, |_, n, last, out| {
            last.set(n);
            out.emit(n);
        })
        .sink("rows", sink);
    engine().backend(Lmdb::at(places.at("expiring"))).start_blocking(topology).unwrap()
}

#[test]
fn are_those_that_the_documentation_lists() {
    let (places, mut missing) = (Places::new(), Missing::default());
    let savepoint = taken_while_running(&places, 1_000).path;
    let state = places.at("state");
    missing.unless_documented("checkpoints list", &[run(&[&"--json", &"checkpoints", &"list", &state]).json()]);
    missing.unless_documented("checkpoints verify", &[run(&[&"--json", &"checkpoints", &"verify", &state]).json()]);
    missing.unless_documented("savepoint verify", &[run(&[&"--json", &"savepoint", &"verify", &savepoint]).json()]);
    let shown = run(&[&"--json", &"savepoint", &"show", &savepoint]).json();
    missing.unless_documented("checkpoints show", &[shown["record"].clone()]);
    let of_show = run(&[&"--json", &"checkpoints", &"show", &state]).json();
    let names = |record: &Value| record.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&of_show), names(&shown["record"]));
    let mut without_record = shown;
    without_record["record"] = Value::Null;
    missing.unless_documented("savepoint show", &[without_record]);
    missing.unless_documented("state list", &[run(&[&"--json", &"state", &"list", &state]).json()]);
    let dump = |operator: &str, of: &dyn AsRef<std::ffi::OsStr>| {
        run(&[&"--json", &"state", &"dump", of, &"--operator", &operator]).json_lines()
    };
    missing.unless_documented("state dump", &dump("count", &state));
    missing.unless_documented("state dump, of a source", &dump("numbers", &state));

    let limit = Limit::of(100);
    let job = start_expiring(&places, &limit);
    until("all is in a checkpoint", || {
        let list = run(&[&"--json", &"state", &"list", &places.at("expiring")]);
        list.code == Some(0) && list.stdout.contains("\"entries\": 10")
    });
    job.stop_blocking().unwrap();
    missing.unless_documented("state dump, with a time to live", &dump("seen", &places.at("expiring")));

    let deleted = run(&[&"--json", &"checkpoints", &"delete", &state, &"--all", &"--give-up-newest"]).json();
    missing.unless_documented("checkpoints delete", &[deleted]);
    let failed = run(&[&"--json", &"checkpoints", &"list", &state]);
    missing.unless_documented("a failure, on standard error", &[serde_json::from_str(&failed.stderr).unwrap()]);
    assert!(missing.0.is_empty(), "docs/operations.md lacks these lines:\n{}", missing.0.join("\n"));
}

#[test]
fn of_damage_too() {
    let places = Places::new();
    let savepoint = stopped(&places, 1_000).path;
    let state = places.at("state");
    let bytes = std::fs::read(state.join("data.mdb")).unwrap();
    std::fs::write(state.join("data.mdb"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(&savepoint, &std::fs::read(&savepoint).unwrap()[..100]).unwrap();
    for ran in
        [run(&[&"--json", &"checkpoints", &"verify", &state]), run(&[&"--json", &"savepoint", &"verify", &savepoint])]
    {
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(ran.code == Some(DAMAGED) && report["damage"].is_string() && report["whole"] == false, "{ran:?}");
    }
}
