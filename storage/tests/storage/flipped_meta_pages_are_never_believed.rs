//! A flipped bit in LMDB's meta pages brings back no older checkpoint, and crashes nothing.

use std::fs;

use crate::{flip::survey, support::*};

const PAGE: usize = 4096;
/// Page header and meta, and some.
const STRUCT: usize = 192;

#[test]
fn flipped_meta_pages_are_never_believed() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    directory_up_to(&original, 3);
    let data = fs::read(original.join("data.mdb")).unwrap();
    assert!(data.len() > 2 * PAGE);

    let places = (0..2 * PAGE).filter(|at| at % PAGE < STRUCT || at % 61 == 0);
    let flips = places.flat_map(|at| [(at, 1), (at, 2), (at, 0x80), (at, 0xff)]);
    let refused = survey(&original, "data.mdb", &data, flips);
    // Nothing on a meta page is without the note's hash.
    assert_eq!(refused.accepted, 0);
}

#[test]
fn flipped_notes_are_never_believed() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    directory_up_to(&original, 3);
    let note = fs::read(original.join("NOTE")).unwrap();

    let places = (0..note.len()).filter(|at| at % PAGE < 128 || at % 97 == 0);
    let survey = survey(&original, "NOTE", &note, places.flat_map(|at| [(at, 1), (at, 0x80)]));
    // The newer slot may break: then the older one and LMDB make up for it.
    assert_eq!(survey.refused, 0);
}
