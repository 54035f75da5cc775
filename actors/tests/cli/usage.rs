//! What is asked wrongly is said at once, and nothing is made or changed.

use std::io::{BufRead as _, BufReader, Read as _};

use cofferdam::SavepointWriter;

use crate::{
    command::{NOT_FOUND, USAGE, run, spawn},
    support::*,
};

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &[][..],
        &["checkpoints"],
        &["checkpoints", "lst", "x"],
        &["state", "dump", "x"],
        &["checkpoints", "delete", "x"],
    ] {
        let arguments: Vec<_> = arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>).collect();
        let ran = run(&arguments);
        assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains("Usage"), "{ran:?}");
    }
    assert!(run(&[&"--help"]).said().contains("checkpoints"));
    assert!(!run(&[&"--help"]).said().contains("verify-copy"));
}

#[test]
fn what_is_no_state_is_left_alone() {
    let places = Places::new();
    let (missing, empty, text) = (places.at("missing"), places.at("empty"), places.at("text"));
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(&text, "some text that is long enough to have held a savepoint's beginning").unwrap();
    for command in ["list", "show", "verify"] {
        run(&[&"checkpoints", &command, &missing]).failed_with(NOT_FOUND, &["missing"]);
        run(&[&"checkpoints", &command, &empty]).failed_with(NOT_FOUND, &["holds no state of Cofferdam's"]);
    }
    run(&[&"checkpoints", &"delete", &missing, &"--all", &"--give-up-newest"]).failed_with(NOT_FOUND, &["missing"]);
    run(&[&"checkpoints", &"delete", &empty, &"1"]).failed_with(NOT_FOUND, &["holds no state of Cofferdam's"]);
    run(&[&"savepoint", &"show", &text]).failed_with(NOT_FOUND, &["is no savepoint"]);
    run(&[&"state", &"list", &text]).failed_with(NOT_FOUND, &["is no savepoint"]);
    run(&[&"state", &"list", &text, &"--checkpoint", &"3"]).failed_with(USAGE, &["leave out --checkpoint"]);
    assert!(!missing.exists() && std::fs::read_dir(&empty).unwrap().next().is_none());
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let places = Places::new();
    let many = (0..100_000u64).map(|key| (key, key));
    let writer = SavepointWriter::new("many", 128).unwrap().keyed_state("numbers", "value", many).unwrap();
    writer.write(places.at("savepoint")).unwrap();
    let mut dump = spawn(&[&"--json", &"state", &"dump", &places.at("savepoint"), &"--operator", &"numbers"]);
    let mut line = String::new();
    BufReader::new(dump.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
    assert_eq!(dump.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    dump.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}
