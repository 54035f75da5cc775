//! Damage is reported by name, and is never a crash.

use std::{fs, path::Path};

use crate::{
    command::{DAMAGED, NOT_FOUND, Ran, run},
    support::*,
};

const PAGE: usize = 4096;

fn flipped(path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let original = bytes.clone();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
    original
}

fn verify(place: &Path) -> Ran {
    run(&[&"--json", &"checkpoints", &"verify", &place])
}

#[test]
fn wherever_it_is_in_the_directory() {
    let places = Places::new();
    stopped(&places, 1_000);
    let data = places.at("state").join("data.mdb");
    let length = fs::metadata(&data).unwrap().len() as usize;
    let (mut by_name, mut whole, mut listed, mut of_states) = (0, 0, 0, 0);
    let json = |ran: &Ran| -> serde_json::Value { serde_json::from_str(&ran.stdout).unwrap_or_default() };
    // The last bytes of pages, where LMDB puts values first.
    for page in 0..length / PAGE {
        let original = flipped(&data, page * PAGE + PAGE - 20);
        let ran = verify(&places.at("state"));
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        assert!(ran.stderr.is_empty(), "{ran:?}");
        match ran.code {
            // A page that no checkpoint uses.
            Some(0) => whole += usize::from(report["whole"] == true),
            Some(DAMAGED) => by_name += usize::from(ran.stdout.contains("state count/value, key group")),
            _ => panic!("{ran:?}"),
        }
        assert_eq!(report["whole"] == true, ran.code == Some(0));
        // The lists say as much of it as they read, and end with the same code.
        let list = run(&[&"--json", &"checkpoints", &"list", &places.at("state")]);
        let checkpoints = json(&list);
        let is_damaged = checkpoints["checkpoints"][0]["status"] == "damaged";
        assert!(!is_damaged || (checkpoints["checkpoints"][0]["damage"].is_string() && list.code == Some(DAMAGED)));
        let states = run(&[&"--json", &"state", &"list", &places.at("state")]);
        let has_damage = json(&states)["states"][0]["damage"].is_string();
        assert!(!has_damage || states.code == Some(DAMAGED), "{states:?}");
        (listed, of_states) = (listed + usize::from(is_damaged), of_states + usize::from(has_damage));
        fs::write(&data, original).unwrap();
    }
    assert!(by_name > 0 && of_states > 0, "no value was hit");
    assert!(listed > 0, "no record was hit");
    assert_eq!(verify(&places.at("state")).json()["whole"], true, "{whole}");
}

#[test]
fn of_a_file_that_is_cut_off_or_gone() {
    let places = Places::new();
    stopped(&places, 1_000);
    let state = places.at("state");
    let bytes = fs::read(state.join("data.mdb")).unwrap();
    fs::write(state.join("data.mdb"), &bytes[..bytes.len() / 2]).unwrap();
    let ran = verify(&state);
    assert_eq!(ran.code, Some(DAMAGED));
    assert!(ran.stdout.contains("cut short"), "{ran:?}");
    run(&[&"checkpoints", &"list", &state]).failed_with(DAMAGED, &["cut short"]);
    run(&[&"state", &"dump", &state, &"--operator", &"count"]).failed_with(DAMAGED, &["cut short"]);
    fs::remove_file(state.join("data.mdb")).unwrap();
    let ran = verify(&state);
    assert_eq!(ran.code, Some(DAMAGED));
    assert!(ran.stdout.contains("data.mdb is missing"), "{ran:?}");
    run(&[&"checkpoints", &"list", &state]).failed_with(DAMAGED, &["data.mdb is missing"]);
    fs::remove_file(state.join("NOTE")).unwrap();
    run(&[&"checkpoints", &"list", &state]).failed_with(NOT_FOUND, &["holds no state of Cofferdam's"]);
}

#[test]
fn wherever_it_is_in_a_savepoint() {
    let places = Places::new();
    let savepoint = stopped(&places, 1_000).path;
    let length = fs::metadata(&savepoint).unwrap().len() as usize;
    let mut by_name = 0;
    for at in (0..length).step_by(37) {
        let original = flipped(&savepoint, at);
        let ran = run(&[&"savepoint", &"verify", &savepoint]);
        by_name += usize::from(ran.stdout.contains("state count/value, key group"));
        match ran.code {
            Some(DAMAGED) => assert!(ran.stdout.starts_with("damaged: savepoint") && ran.stderr.is_empty(), "{ran:?}"),
            // Its first bytes say that it is one.
            _ => ran.failed_with(NOT_FOUND, &["is no savepoint"]),
        }
        fs::write(&savepoint, original).unwrap();
    }
    assert!(by_name > 0, "no block was hit");
    run(&[&"savepoint", &"verify", &savepoint]).said();
}

/// A directory with a value that was altered.
fn altered(places: &Places, name: &str) -> std::path::PathBuf {
    stopped(places, 1_000);
    let state = places.at(name);
    fs::rename(places.at("state"), &state).unwrap();
    let data = state.join("data.mdb");
    for page in 0..fs::metadata(&data).unwrap().len() as usize / PAGE {
        let original = flipped(&data, page * PAGE + PAGE - 20);
        if verify(&state).stdout.contains("state count/value, key group") {
            return state;
        }
        fs::write(&data, original).unwrap();
    }
    panic!("no value was hit");
}

#[cfg(unix)]
#[test]
fn is_told_of_the_directory_and_not_of_the_copy() {
    let places = Places::new();
    let state = altered(&places, r#"we"ird\n"#);
    let (real, link) = (places.at("real"), places.at("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    for temp_dir in [&real, &link] {
        let ran = run(&[&"--json", &"checkpoints", &"verify", &state, &"--temp-dir", temp_dir]);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        let damage = report["checkpoints"][0]["damage"].as_str().unwrap();
        assert!(damage.contains(state.to_str().unwrap()) && !damage.contains("cofferdam-"), "{damage}");
        assert_eq!(ran.code, Some(DAMAGED));
    }
}

#[test]
fn is_the_exit_code_even_if_nobody_reads() {
    let places = Places::new();
    let state = altered(&places, "altered");
    for command in [&["--json", "checkpoints", "verify"][..], &["checkpoints", "verify"], &["--json", "state", "list"]]
    {
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = command.iter().map(|word| word as _).collect();
        arguments.push(&state);
        let mut child = crate::command::spawn(&arguments);
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(DAMAGED), "{command:?}");
    }
}

/// As a page that the disk cannot read would end it.
#[cfg(target_os = "linux")]
#[test]
fn that_ends_the_verifying_process() {
    use std::{io::Read as _, process::Command};

    use crate::command::spawn;

    let places = Places::new();
    // The process waits for somebody to write to it.
    let note = places.at("NOTE");
    assert!(Command::new("mkfifo").arg(&note).status().unwrap().success());
    let mut verify = spawn(&[&"--json", &"checkpoints", &"verify", &note.parent().unwrap()]);
    let children = format!("/proc/{0}/task/{0}/children", verify.id());
    let mut child = String::new();
    until("it has a child", || {
        // From its own program on: before that it is a copy of its parent.
        let verifies = |child: &&str| {
            fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|program| program.contains("verify-copy"))
        };
        let all = fs::read_to_string(&children).unwrap_or_default();
        child = all.split_whitespace().find(verifies).unwrap_or_default().to_string();
        !child.is_empty()
    });
    let mut ended = None;
    until("it ends", || {
        // Rust's handler lets the first one pass, as a page would be read again.
        let _ = Command::new("kill").args(["-BUS", &child]).stderr(std::process::Stdio::null()).status();
        ended = verify.try_wait().unwrap();
        ended.is_some()
    });
    let code = ended.unwrap().code();
    let mut said = String::new();
    verify.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report["whole"]), (Some(DAMAGED), &serde_json::json!(false)));
    assert!(report["damage"].as_str().unwrap().contains("died of signal 7"), "{report}");
}
