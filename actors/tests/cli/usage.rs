//! What is asked wrongly is said at once, and nothing is made or changed.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use cofferdam::{SavepointWriter, prelude::*};

use crate::{
    command::{DAMAGED, FAILED, NOT_FOUND, Ran, USAGE, command, run, spawn},
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
fn wrong_usage_is_said_in_json_to_those_who_ask_for_it() {
    run(&[&"--json", &"checkpoints", &"lst", &"x"]).failed_in_json_with(USAGE, &["lst", "Usage"]);
    run(&[&"state", &"dump", &"x", &"--json"]).failed_in_json_with(USAGE, &["--operator"]);
    run(&[&"checkpoints", &"delete", &"x", &"one", &"--json"]).failed_in_json_with(USAGE, &["one"]);
}

/// Every command that reads or changes what `place` is, with `--json`.
fn every_command(place: &Path) -> Vec<Vec<OsString>> {
    let commands = [
        "checkpoints list _",
        "checkpoints show _",
        "checkpoints show _ 3",
        "checkpoints verify _",
        "checkpoints delete _ 3",
        "checkpoints delete _ --all --give-up-newest",
        "state list _",
        "state list _ --checkpoint 3",
        "state dump _ --operator count",
        "state dump _ --operator count --key 3",
        "savepoint show _",
        "savepoint verify _",
    ];
    let word = |word: &str| if word == "_" { place.as_os_str().to_owned() } else { word.into() };
    commands.map(|command| ["--json"].into_iter().chain(command.split(' ')).map(word).collect()).into()
}

fn run_all(arguments: &[OsString]) -> Ran {
    let arguments: Vec<_> = arguments.iter().map(|argument| argument as &dyn AsRef<OsStr>).collect();
    run(&arguments)
}

/// A file has one checkpoint.
fn asks_a_file_for_a_number(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "--checkpoint")
}

#[test]
fn what_is_not_there_is_said_in_one_object() {
    let places = Places::new();
    let (missing, empty, text) = (places.at("missing"), places.at("empty"), places.at("text"));
    let (others, logs, lmdb) = (places.at("others"), places.at("logs"), places.at("lmdb"));
    for directory in [&empty, &others, &lmdb, &logs.join("log"), &logs.join("data")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(&text, "some text that is long enough to have held a savepoint's beginning").unwrap();
    fs::write(others.join("photo.jpg"), "a photo").unwrap();
    fs::write(logs.join("log/messages"), "not ours").unwrap();
    fs::write(lmdb.join("data.mdb"), vec![7; 8192]).unwrap();
    for place in [&missing, &empty, &text, &others, &logs, &lmdb] {
        for command in every_command(place) {
            let code = if *place == text && asks_a_file_for_a_number(&command) { USAGE } else { NOT_FOUND };
            run_all(&command).failed_in_json_with(code, &[place.to_str().unwrap()]);
        }
    }
    assert!(!missing.exists() && fs::read_dir(&empty).unwrap().next().is_none());
    assert_eq!(fs::read_dir(&logs).unwrap().count(), 2);
}

#[test]
fn a_savepoint_that_is_cut_short_is_damaged() {
    let places = Places::new();
    let savepoint = stopped(&places, 1_000).path;
    let bytes = fs::read(&savepoint).unwrap();
    for length in [bytes.len() - 1, bytes.len() / 2, 50] {
        fs::write(&savepoint, &bytes[..length]).unwrap();
        for command in every_command(&savepoint) {
            let ran = run_all(&command);
            let word = |at: usize| command[at].to_str().unwrap();
            match (word(1), word(2)) {
                ("checkpoints", _) => ran.failed_in_json_with(NOT_FOUND, &["is a file"]),
                ("savepoint", "verify") => {
                    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
                    assert_eq!((ran.code, &report["whole"]), (Some(DAMAGED), &false.into()), "{ran:?}");
                    assert!(report["damage"].as_str().unwrap().contains("copied whole"), "{ran:?}");
                }
                _ if asks_a_file_for_a_number(&command) => ran.failed_in_json_with(USAGE, &["--checkpoint"]),
                _ => ran.failed_in_json_with(DAMAGED, &["copied whole"]),
            }
        }
    }
}

/// As a user who may not.
#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_said_in_one_object() {
    use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};

    let places = Places::new();
    stopped(&places, 100);
    let files = engine().backend(FileSystem::at(places.at("files")));
    files.start_blocking(counting(&Limit::of(0), &places.at("elsewhere"))).unwrap().stop_blocking().unwrap();
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    // The way there is open.
    allow(places.at("state").parent().unwrap(), 0o755);
    for name in ["state", "files", "savepoint"] {
        let place = places.at(name);
        allow(&place, 0);
        for arguments in every_command(&place) {
            let arguments: Vec<_> = arguments.iter().map(|argument| argument as &dyn AsRef<OsStr>).collect();
            let mut command = command(&arguments);
            // Root may read anything.
            if fs::metadata(&place).is_ok() && fs::File::open(&place).is_ok() {
                command.uid(65_534).gid(65_534);
            }
            let output = command.output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            let ran = Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
            let asked = arguments.iter().map(|argument| argument.as_ref().to_str().unwrap()).collect::<Vec<_>>();
            match (asked[1], name) {
                ("savepoint", "state" | "files") | ("checkpoints", "savepoint") => {
                    ran.failed_in_json_with(NOT_FOUND, &[name]);
                }
                _ if name == "savepoint" && asked.contains(&"--checkpoint") => {
                    ran.failed_in_json_with(USAGE, &[name]);
                }
                _ => ran.failed_in_json_with(FAILED, &[name, "denied"]),
            }
        }
        allow(&place, 0o755);
    }
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

#[cfg(unix)]
#[test]
fn a_pipe_is_no_savepoint_and_is_not_waited_for() {
    let places = Places::new();
    let pipe = places.at("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["show", "verify"] {
        run(&[&"savepoint", &command, &pipe]).failed_with(NOT_FOUND, &["no regular file"]);
    }
}

#[test]
fn a_uri_that_means_another_place_is_wrong_usage() {
    for uri in ["s3:/bucket/prefix", "hdfs:h", "file:/absolute", "file:///state#1", "file:///state?x"] {
        run(&[&"checkpoints", &"list", &uri, &"--json"]).failed_in_json_with(USAGE, &[uri]);
    }
}
