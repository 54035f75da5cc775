//! A command that is interrupted or killed leaves no copy of the state, and no process that goes on copying.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use cofferdam::prelude::*;

use crate::{command::spawn, support::*};

/// A stopped job with so much state that a copy takes its time.
fn large(places: &Places) {
    let checkpoints = CheckpointConfig::every(Duration::from_millis(100));
    let topology = Topology::new("large");
    let numbers = topology.source("numbers", Generator::bounded(100_000, |number| number));
    numbers
        .key_by(|number: &u64| *number)
        .fold("pads", String::new(), |pad: &mut String, number| *pad = format!("{number:0200}"))
        .sink("rows", CollectSink::new().0);
    let builder = engine().checkpoints(checkpoints).backend(Lmdb::at(places.at("state")));
    builder.start_blocking(topology).unwrap().wait_blocking().unwrap();
}

fn holds(directory: &Path, name: &str) -> bool {
    let mut entries = fs::read_dir(directory).unwrap().flatten();
    entries.any(|entry| name.is_empty() || entry.path().join(name).exists())
}

/// Processes of the command that were given `directory`.
fn processes(directory: &Path) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let programs = all.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    programs.filter(|program| program.contains(directory.to_str().unwrap())).count()
}

#[test]
fn leaves_no_copy_and_nobody_who_copies() {
    let places = Places::new();
    large(&places);
    let (state, temp_dir) = (places.at("state"), places.at("temporary"));
    fs::create_dir(&temp_dir).unwrap();
    // While it copies, and while it reads the copy.
    for (command, stage) in [("verify", "data.mdb"), ("verify", "lock.mdb"), ("dump", "")] {
        // Not INT, which a shell has those ignore that it starts in the background.
        for signal in ["-TERM", "-KILL"] {
            let mut child = match command {
                "verify" => spawn(&[&"checkpoints", &"verify", &state, &"--temp-dir", &temp_dir]),
                _ => spawn(&[&"state", &"dump", &state, &"--operator", &"pads", &"--temp-dir", &temp_dir]),
            };
            // A dump may have made its copy, and lost its name, before anybody looks: then it writes.
            let stdout = child.stdout.take().filter(|_| command == "dump");
            let writer = stdout.map(|mut stdout| thread::spawn(move || (stdout.read(&mut [0]).unwrap(), stdout)));
            until("there is a copy", || {
                assert!(child.try_wait().unwrap().is_none(), "it was over before there was a copy in {stage}");
                holds(&temp_dir, stage) || writer.as_ref().is_some_and(|writer| writer.is_finished())
            });
            assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
            child.wait().unwrap();
            until("nothing is left", || !holds(&temp_dir, "") && processes(&temp_dir) == 0);
        }
    }
}

#[test]
fn while_a_dump_is_paged_through_no_page_of_the_job_is_held() {
    let places = Places::new();
    large(&places);
    let state = places.at("state");
    let mut dump = spawn(&[&"state", &"dump", &state, &"--operator", &"pads"]);
    let mut line = String::new();
    BufReader::new(dump.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains('\t'), "{line}");
    let maps = fs::read_to_string(format!("/proc/{}/maps", dump.id())).unwrap();
    assert!(maps.contains("cofferdam") && !maps.contains("data.mdb"), "{maps}");
    dump.kill().unwrap();
    dump.wait().unwrap();
}
