//! State that belongs to no key, put into a checkpoint's record and taken out of it.
//!
//! ```text
//! one subtask, or none yet   has all
//! several                    list: dealt out in turn    union: the first has all    broadcast: each has all
//! ```

use crate::{
    checkpoint::snapshot::{OperatorRecord, OperatorSnapshot, StateKind, StateRecord},
    codec,
    error::BoxError,
    state::{Block, SavedState, begin_sorted, push_sorted},
};

/// Puts states in the place of those of their names. `saved` has a block for each of `states`.
pub(super) fn put(
    operator: &mut OperatorRecord,
    states: Vec<StateRecord>,
    saved: Vec<SavedState>,
) -> Result<(), BoxError> {
    if operator.subtasks.is_empty() {
        operator.subtasks.push(OperatorSnapshot::default());
    }
    for (state, saved) in states.into_iter().zip(saved) {
        take_out(operator, &state.name)?;
        for (subtask, block) in share(state.kind, saved.block(), operator.subtasks.len())?.into_iter().enumerate() {
            let snapshot = &mut operator.subtasks[subtask];
            let mut all = SavedState::all_of(snapshot)?;
            all.push(SavedState::new(&state.name, block));
            snapshot.state = codec::encode(&all)?;
        }
        operator.states.push(state);
    }
    Ok(())
}

/// Takes what subtasks have of a state, and its record, out; whether there was one.
pub(super) fn take_out(operator: &mut OperatorRecord, state: &str) -> Result<bool, BoxError> {
    let before = operator.states.len();
    operator.states.retain(|record| record.name != state);
    for snapshot in operator.subtasks.iter_mut().filter(|snapshot| !snapshot.state.is_empty()) {
        let mut all = SavedState::all_of(snapshot)?;
        all.retain(|saved| saved.name() != state);
        snapshot.state = codec::encode(&all)?;
    }
    Ok(operator.states.len() < before)
}

/// What each of `subtasks` gets of a state.
fn share(kind: StateKind, block: &[u8], subtasks: usize) -> Result<Vec<Vec<u8>>, BoxError> {
    let mut shares = vec![Vec::new(); subtasks];
    match kind {
        StateKind::Broadcast => shares.fill(block.to_vec()),
        StateKind::OperatorList if subtasks > 1 => {
            shares.iter_mut().for_each(begin_sorted);
            for (at, entry) in Block::parse(block)?.enumerate() {
                push_sorted(&mut shares[at % subtasks], entry?);
            }
        }
        _ => shares[0] = block.to_vec(),
    }
    Ok(shares)
}
