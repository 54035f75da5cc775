//! A flipped bit in the pages that lead LMDB to values is noticed before LMDB follows it, at the start, and crashes nothing.

use std::fs;

use cofferdam_engine::checkpoint::{snapshot::StateBlock, store::StateBackend as _};
use cofferdam_storage::Lmdb;

use crate::{flip::survey, support::*};

const PAGE: usize = 4096;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;

/// Enough blocks for branches, superseded often enough for lists of free pages.
fn prepare(path: &std::path::Path) {
    let mut store = Lmdb::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..12u64 {
        let blocks: Vec<StateBlock> = (0..GROUPS)
            .map(|group| {
                let size = 1_300 + 2_000 * usize::from(group == 2);
                if number == 7 {
                    full(group, &vec![number as u8; size])
                } else {
                    changes(group, &vec![number as u8; size])
                }
            })
            .collect();
        commit(&mut *store, attempt, number, vec![delta(number, "total", blocks)]);
    }
}

fn flags(page: &[u8]) -> u16 {
    u16::from_ne_bytes([page[10], page[11]])
}

/// Offsets of all that is structure on a page of a tree: header, pointers, and the heads and keys of nodes.
fn structure(page: &[u8]) -> Vec<usize> {
    let lower = usize::from(u16::from_ne_bytes([page[12], page[13]]));
    let mut places: Vec<usize> = (0..lower).collect();
    for pointer in page[16..lower].chunks_exact(2) {
        let node = usize::from(u16::from_ne_bytes([pointer[0], pointer[1]]));
        places.extend(node..(node + 8 + 18 + 48).min(PAGE));
    }
    places
}

#[test]
fn flipped_tree_pages_are_never_followed() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    prepare(&original);
    let data = fs::read(original.join("data.mdb")).unwrap();
    let pages = data.chunks_exact(PAGE).enumerate().skip(2);
    let trees = pages.filter(|(_, page)| [BRANCH, LEAF].contains(&flags(page)));
    assert!(trees.clone().any(|(_, page)| flags(page) == BRANCH));
    let places = trees.flat_map(|(number, page)| structure(page).into_iter().map(move |at| number * PAGE + at));
    // Every seventh place, with a mask that changes from one to the next, so that a run is a matter of seconds.
    let flips = places.step_by(7).zip([1u8, 0x80, 2, 0x40, 4, 0x20, 8, 0x10, 0xff].into_iter().cycle());
    let survey = survey(&original, "data.mdb", &data, flips);
    assert!(survey.refused > survey.accepted / 10, "{survey:?}");
}
