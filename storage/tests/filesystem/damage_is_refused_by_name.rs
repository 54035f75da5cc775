//! An object that is flipped, cut short or gone is refused with its name, never read as if it were whole, as if there were an older checkpoint, or none.

use std::collections::BTreeMap;

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::FileSystem;

use crate::{
    files::{data, files, lay, log, show},
    support::*,
};

type Files = BTreeMap<String, Vec<u8>>;

/// Checkpoints 0 to 5, of which `num_retained` are kept, each of which the newest needs a piece of.
fn prepared(num_retained: u32, reopened: bool) -> Files {
    let directory = tempfile::tempdir().unwrap();
    let mut store = FileSystem::at(directory.path()).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..6 {
        let blocks = vec![full(number as u16, &[number as u8; 40]), full(7, &[number as u8; 5])];
        store.commit(&retaining(num_retained, attempt, number, vec![delta(number, "total", blocks)])).unwrap();
    }
    drop(store);
    if reopened {
        // Ends with a claim instead of a root.
        drop(FileSystem::at(directory.path()).open().unwrap());
    }
    files(directory.path()).into_iter().filter(|(name, _)| name != "LOCK").collect()
}

/// What is there but the claims of the past, of which nothing is read.
fn needed(files: &Files) -> Vec<String> {
    let log = log(files);
    let is_root = |name: &&String| String::from_utf8_lossy(&files[*name]).contains("{\"root\":{\"claim\"");
    let root = log.iter().rfind(is_root).unwrap().clone();
    let newest = log.last().unwrap().clone();
    // A root names its own claim.
    let claim = if root == newest { log[log.len() - 2].clone() } else { newest.clone() };
    let mut needed = data(files);
    needed.extend([root, newest, claim]);
    needed.sort();
    needed.dedup();
    needed
}

fn refused(files: &Files, name: &str, what: &str) {
    let directory = tempfile::tempdir().unwrap();
    lay(directory.path(), files);
    for _ in 0..2 {
        let (kind, message) = refusal(show(directory.path()));
        assert!(matches!(kind, StoreErrorKind::Damaged | StoreErrorKind::Newer), "{name} {what}: {message}");
        assert!(message.contains(name), "{name} {what}: {message}");
        assert!(message.contains("delete"), "no way out: {message}");
    }
    let left = crate::files::files(directory.path());
    assert!(
        files.iter().all(|(name, bytes)| left.get(name) == Some(bytes)),
        "{name} {what}: a refused start changes nothing that was there"
    );
}

#[test]
fn if_it_is_gone() {
    for reopened in [false, true] {
        let clean = prepared(1, reopened);
        let needed = needed(&clean);
        assert!(needed.len() > 5, "{needed:?}");
        for name in needed {
            let mut files = clean.clone();
            files.remove(&name);
            if reopened && log(&clean).last() == Some(&name) {
                // Without the newest claim there is what it had claimed.
                let directory = tempfile::tempdir().unwrap();
                lay(directory.path(), &files);
                assert_eq!(show(directory.path()).unwrap().0.unwrap().checkpoint.0, 5);
                continue;
            }
            // With the newest entry gone the one before it, or the data, says that something is missing.
            let said = if log(&clean).last() == Some(&name) { "log/" } else { &name };
            refused(&files, said, "is gone");
        }
    }
}

/// Nothing of an older checkpoint is read until it is asked for.
#[test]
fn if_only_an_older_checkpoint_needs_it_then_when_that_is_asked_for() {
    let clean = prepared(3, false);
    let directory = tempfile::tempdir().unwrap();
    lay(directory.path(), &clean);
    let expected = show(directory.path()).unwrap();
    let mut asked = 0;
    for name in data(&clean) {
        let mut files = clean.clone();
        files.remove(&name);
        lay(directory.path(), &files);
        match show(directory.path()) {
            Err(error) => assert!(error.kind == StoreErrorKind::Damaged && error.message.contains(&name), "{error}"),
            Ok(shown) => {
                assert_eq!(shown, expected);
                let retained = FileSystem::at(directory.path()).open().unwrap().retained().unwrap();
                let errors: Vec<_> = retained.into_iter().filter_map(|kept| kept.metadata.err()).collect();
                assert!(errors.iter().any(|error| error.message.contains(&name)), "{name}: {errors:?}");
                asked += 1;
            }
        }
    }
    assert!(asked > 0);
}

#[test]
fn if_all_of_a_kind_are_gone() {
    let clean = prepared(1, false);
    let without = |folder: &str| clean.clone().into_iter().filter(|(name, _)| !name.starts_with(folder)).collect();
    refused(&without("log/"), "log/", "is empty");
    refused(&without("data/"), "data/", "is empty");
}

#[test]
fn if_it_is_cut_short() {
    for reopened in [false, true] {
        let clean = prepared(1, reopened);
        for name in needed(&clean) {
            let length = clean[&name].len();
            for length in [0, 1, length / 2, length - 1] {
                let mut files = clean.clone();
                files.get_mut(&name).unwrap().truncate(length);
                // The pieces of an old object may all lie before the cut: then nothing is missing.
                if !cut_off(&clean, &name, length) {
                    refused(&files, &name, "is cut short");
                }
            }
        }
    }
}

/// Whether only an old checkpoint's manifest is cut: nobody asks for it any more. Its pieces are 53 and 18 bytes long.
fn cut_off(clean: &Files, name: &str, length: usize) -> bool {
    name.starts_with("data/") && data(clean).last().map(String::as_str) != Some(name) && length >= 53 + 18
}

#[test]
fn if_a_bit_is_flipped() {
    for reopened in [false, true] {
        let clean = prepared(1, reopened);
        let directory = tempfile::tempdir().unwrap();
        lay(directory.path(), &clean);
        let expected = show(directory.path()).unwrap();
        let (mut refused, mut accepted) = (0, 0);
        for name in clean.keys() {
            for at in (0..clean[name].len()).step_by(3) {
                let mut files = clean.clone();
                files.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
                lay(directory.path(), &files);
                match show(directory.path()) {
                    Ok(shown) => {
                        assert_eq!(shown, expected, "{name}: byte {at}");
                        accepted += 1;
                    }
                    Err(error) => {
                        assert!(matches!(error.kind, StoreErrorKind::Damaged | StoreErrorKind::Newer), "{error}");
                        assert!(error.message.contains(name.as_str()), "{name}: byte {at}: {error}");
                        refused += 1;
                    }
                }
            }
        }
        // Old manifests, and what was superseded, are read by nobody.
        assert!(refused > 200, "{refused} refused, {accepted} accepted");
    }
}

#[test]
fn if_it_is_another_of_ours() {
    let clean = prepared(1, false);
    let mut files = clean.clone();
    let names = data(&clean);
    let (one, other) = (names[names.len() - 2].clone(), names.last().unwrap().clone());
    files.insert(other.clone(), clean[&one].clone());
    refused(&files, &other, "is another one");
    let mut files = clean.clone();
    let (claim, root) = (log(&clean)[0].clone(), log(&clean).last().unwrap().clone());
    files.insert(root.clone(), clean[&claim].clone());
    refused(&files, &root, "is another one");
}

#[test]
fn but_claims_of_the_past_are_read_by_nobody() {
    let clean = prepared(1, false);
    let directory = tempfile::tempdir().unwrap();
    lay(directory.path(), &clean);
    let expected = show(directory.path()).unwrap();
    let mut files = files(directory.path());
    let past = log(&files)[0].clone();
    files.remove(&past).unwrap();
    lay(directory.path(), &files);
    assert_eq!(show(directory.path()).unwrap(), expected);
}
