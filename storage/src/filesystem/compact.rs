//! Which stored pieces a commit copies into its own object, so that old objects go and chains of pieces stay short.
//!
//! ```text
//! a group's pieces, lengths:   full 90   20   3 1 2 1 1 1 1   new 1        3 is no longer than all behind it, and 20 is: the last eight become one
//! an object of 100 KB:         24 KB needed                                they are copied, and the object goes
//! ```

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use cofferdam_engine::{KeyGroup, checkpoint::snapshot::StateAddress};

use super::{manifest::Catalog, name::DataId, piece::Piece};

/// Pieces that are merged at least.
const RUN: usize = 8;
/// An object of which a smaller part than one of so many is needed is emptied.
const SPARSE: u64 = 4;
/// What may be copied beside as much as the commit brings.
const SPARE: u64 = 1 << 20;

/// What happens to one group.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// A piece that comes behind the others.
    pub(super) new: Option<Bytes>,
    /// Pieces that become one each, in order; the new one has the number behind the last.
    pub(super) moves: Vec<Range<usize>>,
}

/// What happens to the groups of each state.
pub(super) type Changes = BTreeMap<StateAddress, BTreeMap<KeyGroup, Change>>;

/// Adds to `changes` what is to be copied. `catalog` is the newest checkpoint's without what is superseded.
pub(super) fn choose(catalog: &Catalog, changes: &mut Changes) {
    let new = changes.values().flat_map(BTreeMap::values).filter_map(|change| change.new.as_ref());
    let mut budget = SPARE + new.map(|bytes| bytes.len() as u64).sum::<u64>();
    merge_runs(catalog, changes, &mut budget);
    empty_objects(catalog, changes, &mut budget);
}

fn merge_runs(catalog: &Catalog, changes: &mut Changes, budget: &mut u64) {
    for (address, groups) in changes {
        let Some(stored) = catalog.states.get(address) else { continue };
        for (group, change) in groups {
            let (Some(pieces), Some(new)) = (stored.get(group), &change.new) else { continue };
            let lengths: Vec<_> = pieces.iter().map(|piece| piece.length).chain([new.len() as u64]).collect();
            let Some(start) = run(&lengths) else { continue };
            let cost: u64 = pieces[start..].iter().map(|piece| piece.length).sum();
            if cost <= *budget {
                *budget -= cost;
                change.moves.push(start..lengths.len());
            }
        }
    }
}

/// Where the last pieces begin of which none is longer than all behind it, if they are many.
fn run(lengths: &[u64]) -> Option<usize> {
    let (last, before) = lengths.split_last()?;
    let mut behind = *last;
    let start = before.iter().rposition(|length| {
        let ends = *length > behind;
        behind += length;
        ends
    });
    let start = start.map_or(0, |end| end + 1);
    (lengths.len() - start >= RUN).then_some(start)
}

/// The emptiest first, as long as there is budget.
fn empty_objects(catalog: &Catalog, changes: &mut Changes, budget: &mut u64) {
    let mut sparse: Vec<(u64, DataId)> = catalog.live().into_iter().map(|(object, live)| (live, object)).collect();
    sparse.retain(|(live, object)| catalog.objects.get(object).is_some_and(|length| live * SPARSE < *length));
    sparse.sort();
    let emptied: Vec<_> = sparse
        .into_iter()
        .take_while(|(live, _)| {
            let is_affordable = live <= budget;
            *budget = budget.saturating_sub(*live);
            is_affordable
        })
        .map(|(_, object)| object)
        .collect();
    if emptied.is_empty() {
        return;
    }
    for (address, groups) in &catalog.states {
        for (group, pieces) in groups.iter() {
            if pieces.iter().any(|piece| emptied.contains(&piece.object)) {
                let change = changes.entry(address.clone()).or_default().entry(*group).or_default();
                change.moves = with_moves(pieces, &change.moves, &emptied);
            }
        }
    }
}

/// `moves`, which lead to the end if there are any, and before them every piece of `emptied`.
fn with_moves(pieces: &[Piece], moves: &[Range<usize>], emptied: &[DataId]) -> Vec<Range<usize>> {
    let end = moves.first().map_or(pieces.len(), |first| first.start.min(pieces.len()));
    let single = (0..end).filter(|at| emptied.contains(&pieces[*at].object)).map(|at| at..at + 1);
    single.chain(moves.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_before_what_is_longer_than_all_behind_it() {
        assert_eq!(run(&[1; 7]), None);
        assert_eq!(run(&[1; 8]), Some(0));
        assert_eq!(run(&[90, 20, 3, 1, 2, 1, 1, 1, 1, 1]), Some(2));
        assert_eq!(run(&[8, 1, 1, 1, 1, 1, 1, 1]), None);
        assert_eq!(run(&[7, 1, 1, 1, 1, 1, 1, 1]), Some(0));
        assert_eq!(run(&[]), None);
    }

    #[test]
    fn a_chain_stays_short_however_many_pieces_come() {
        for size in [|_: usize| 1, |at| 1 + (at % 7) as u64, |at| if at % 10 == 0 { 100 } else { 1 }] {
            let (mut chain, mut copied, mut total) = (Vec::<u64>::new(), 0, 0);
            for at in 0..20_000 {
                chain.push(size(at));
                total += size(at);
                if let Some(start) = run(&chain) {
                    let merged: u64 = chain[start..].iter().sum();
                    copied += merged - size(at);
                    chain.truncate(start);
                    chain.push(merged);
                }
                assert!(chain.len() <= 8 * total.ilog2() as usize + 8, "{chain:?}");
                assert!(chain.len() < 40, "{chain:?}");
            }
            assert!(copied <= total * u64::from(total.ilog2()), "{copied} of {total}");
        }
    }
}
