//! Whether an operator's stored states can be read as those it has now: by what is recorded of them, and value by value.

use serde_json::Value;

use crate::{
    checkpoint::{
        snapshot::{OperatorKind, OperatorRecord, StateAddress, StateRecord},
        store::{StoreError, StoreErrorKind},
    },
    error::BoxError,
    state::{Block, DeclaredState, SavedState, Unread},
    topology::{plan::Plan, restorable::Obstacle},
};

/// Where a savepoint has blocks of a state, and what calls back with each of them.
pub(crate) type EachBlock<'a> =
    dyn Fn(&StateAddress, &mut dyn FnMut(&[u8]) -> Result<(), StoreError>) -> Result<(), StoreError> + 'a;

impl Plan {
    /// Reads every value that `operators` have of the topology's states, and keeps none. The first that cannot be read is an error. `keyed` has the blocks of keyed state.
    pub(crate) fn check_values(&self, operators: &[OperatorRecord], keyed: &EachBlock<'_>) -> Result<(), StoreError> {
        for (_, layout) in self.operators() {
            let Some(stored) = operators.iter().find(|stored| stored.uid == layout.uid) else { continue };
            for state in layout.states.iter().filter(|state| stored.has_state(&state.record.name)) {
                let address = StateAddress { operator: layout.uid.clone(), state: state.record.name.clone() };
                keyed(&address, &mut |block| check_block(&address, state, block))?;
                for snapshot in stored.subtasks.iter().filter(|_| stored.kind == OperatorKind::Operator) {
                    let saved = SavedState::all_of(snapshot).map_err(|cause| damaged(&address, cause))?;
                    let mut blocks = saved.iter().filter(|saved| saved.name() == address.state);
                    blocks.try_for_each(|saved| check_block(&address, state, saved.block()))?;
                }
            }
        }
        Ok(())
    }
}

impl OperatorRecord {
    fn has_state(&self, name: &str) -> bool {
        self.states.iter().any(|state| state.name == name)
    }
}

fn check_block(address: &StateAddress, state: &DeclaredState, block: &[u8]) -> Result<(), StoreError> {
    let broken = |cause| damaged(address, cause);
    for entry in Block::parse(block).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let Some((values, value)) = entry.value else { continue };
        if let Err(cause) = state.check.check(values, value) {
            let key = state.record.key.to_json(&mut { entry.key }).unwrap_or(Value::Null);
            let otherwise =
                "or write a savepoint that has it otherwise, with `SavepointWriter::of`; nothing was changed";
            return Err(Unread::new(key, cause).in_state(address, otherwise));
        }
    }
    Ok(())
}

fn damaged(address: &StateAddress, cause: BoxError) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, format!("state {address} cannot be taken apart"), Some(cause))
}

/// What is in the way, if anything. A state that is new begins empty.
pub(super) fn mismatch(
    operator: &str,
    stored: &[StateRecord],
    now: &[DeclaredState],
    may_be_gone: bool,
) -> Option<Obstacle> {
    stored.iter().find_map(|stored| {
        let Some(DeclaredState { record: now, readable, .. }) = now.iter().find(|now| now.record.name == stored.name)
        else {
            let message = format!(
                "'{operator}' had a state '{}', and has none of that name now (if it is to go, say `Engine::builder().allow_non_restored_state(true)`)",
                stored.name
            );
            return (!may_be_gone).then_some(Obstacle::Foreign(message));
        };
        let name = format!("state '{}' of '{operator}'", stored.name);
        if now.kind != stored.kind {
            let what = format!("{name} was of kind '{}', and is of kind '{}' now", stored.kind, now.kind);
            return Some(Obstacle::Foreign(what));
        }
        if now.key != stored.key {
            let what = format!("{name} has keys of type {}, and the topology's are {}", stored.key, now.key);
            return Some(Obstacle::Foreign(what));
        }
        if readable.contains(&stored.version) {
            return None;
        }
        Some(Obstacle::Told(if now.version < stored.version {
            format!(
                "{name} is of version {}, and the topology's is {}: start the program that wrote it, or a newer one",
                stored.version, now.version
            )
        } else {
            let versions: Vec<_> = readable.iter().map(ToString::to_string).collect();
            let (version, versions) = (stored.version, versions.join(", "));
            format!("{name} is of version {version}, and those that can be read are {versions}: give it a `migrate_from({version}, ...)`")
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::snapshot::StateKind,
        key_format::KeyFormat,
        state::{ValueCheck, ValueFormat},
    };

    fn state(name: &str, key: KeyFormat, version: u32) -> StateRecord {
        StateRecord { name: name.to_string(), kind: StateKind::Value, key, version }
    }

    #[test]
    fn states_that_cannot_be_read_are_named() {
        let u64 = || KeyFormat::Unsigned(8);
        let check = || ValueCheck::of(ValueFormat::<u64>::default());
        let declared = |record, readable: &[u32]| DeclaredState {
            record,
            readable: readable.to_vec(),
            shares_heap: true,
            check: check(),
        };
        let now = [declared(state("a", u64(), 1), &[0, 1]), declared(state("new", u64(), 0), &[0])];
        let text = |obstacle| match obstacle {
            Some(Obstacle::Told(text) | Obstacle::Foreign(text)) => Some(text),
            None => None,
        };
        let check = |stored| text(mismatch("step", &[stored], &now, false));
        assert_eq!(check(state("a", u64(), 1)), None);
        assert_eq!(check(state("a", u64(), 0)), None);
        assert_eq!(
            text(mismatch("step", &[state("a", u64(), 1)], &[declared(state("a", u64(), 3), &[2, 3])], true)).unwrap(),
            "state 'a' of 'step' is of version 1, and those that can be read are 2, 3: give it a `migrate_from(1, ...)`"
        );
        assert_eq!(
            check(state("b", u64(), 0)).unwrap(),
            "'step' had a state 'b', and has none of that name now (if it is to go, say `Engine::builder().allow_non_restored_state(true)`)"
        );
        assert_eq!(mismatch("step", &[state("b", u64(), 0)], &now, true), None);
        assert_eq!(
            check(state("a", KeyFormat::String, 1)).unwrap(),
            "state 'a' of 'step' has keys of type string, and the topology's are u64"
        );
        assert_eq!(
            check(state("a", u64(), 2)).unwrap(),
            "state 'a' of 'step' is of version 2, and the topology's is 1: start the program that wrote it, or a newer one"
        );
    }
}
