//! Whether an operator's stored states can be read as those it has now.

use crate::{checkpoint::snapshot::StateRecord, state::DeclaredState};

/// What is in the way, if anything. A state that is new begins empty.
pub(super) fn mismatch(
    operator: &str,
    stored: &[StateRecord],
    now: &[DeclaredState],
    may_be_gone: bool,
) -> Option<String> {
    stored.iter().find_map(|stored| {
        let Some(DeclaredState { record: now, readable, .. }) = now.iter().find(|now| now.record.name == stored.name)
        else {
            let message = format!(
                "'{operator}' had a state '{}', and has none of that name now (if it is to go, say `Engine::builder().allow_non_restored_state(true)`)",
                stored.name
            );
            return (!may_be_gone).then_some(message);
        };
        let name = format!("state '{}' of '{operator}'", stored.name);
        if now.kind != stored.kind {
            return Some(format!("{name} was of kind '{}', and is of kind '{}' now", stored.kind, now.kind));
        }
        if now.key != stored.key {
            return Some(format!("{name} has keys of type {}, and the topology's are {}", stored.key, now.key));
        }
        if readable.contains(&stored.version) {
            return None;
        }
        Some(if now.version < stored.version {
            format!(
                "{name} is of version {}, and the topology's is {}: start the program that wrote it, or a newer one",
                stored.version, now.version
            )
        } else {
            let versions: Vec<_> = readable.iter().map(ToString::to_string).collect();
            let (version, versions) = (stored.version, versions.join(", "));
            format!("{name} is of version {version}, and those that can be read are {versions}: give it a `migrate_from({version}, ...)`")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::snapshot::StateKind, key_format::KeyFormat};

    fn state(name: &str, key: KeyFormat, version: u32) -> StateRecord {
        StateRecord { name: name.to_string(), kind: StateKind::Value, key, version }
    }

    #[test]
    fn states_that_cannot_be_read_are_named() {
        let u64 = || KeyFormat::Unsigned(8);
        let declared =
            |record, readable: &[u32]| DeclaredState { record, readable: readable.to_vec(), shares_heap: true };
        let now = [declared(state("a", u64(), 1), &[0, 1]), declared(state("new", u64(), 0), &[0])];
        let check = |stored| mismatch("step", &[stored], &now, false);
        assert_eq!(check(state("a", u64(), 1)), None);
        assert_eq!(check(state("a", u64(), 0)), None);
        assert_eq!(
            mismatch("step", &[state("a", u64(), 1)], &[declared(state("a", u64(), 3), &[2, 3])], true).unwrap(),
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
