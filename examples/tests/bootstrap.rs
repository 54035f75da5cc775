//! The example `bootstrap`, run as a program, counts on top of what the file says.
#![allow(clippy::unwrap_used)]

mod program;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

fn counts(out: &Path) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        for line in fs::read_to_string(entry).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let highest = counts.entry(row["word"].as_str().unwrap().to_string()).or_default();
            *highest = row["count"].as_u64().unwrap().max(*highest);
        }
    }
    counts
}

#[test]
fn counts_go_on_from_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("counts.csv"), "word,count\nbe,40\nold,7\n").unwrap();
    fs::write(at("text"), "to be or not to be\n").unwrap();
    // Twice: the second start goes on, and has nothing left to do.
    let program = program::program("bootstrap");
    for _ in 0..2 {
        let status = Command::new(&program)
            .args([at("counts.csv"), at("text"), "--out".into(), at("out"), "--state".into(), at("state")])
            .status();
        assert!(status.unwrap().success());
    }
    let expected = [("be", 42), ("not", 1), ("or", 1), ("to", 2)].map(|(word, count)| (word.to_string(), count));
    assert_eq!(counts(&at("out")), BTreeMap::from(expected));
}
