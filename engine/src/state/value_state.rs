//! One value per key.

use crate::{
    key::Key,
    state::keyed_table::{KeyedTable, Slot},
};

/// The value that a keyed step keeps for the key of the record at hand.
///
/// See [`process`](crate::topology::KeyedStream::process) for an example.
///
/// Only a value that is written (`set`, `get_mut`, `update`, `clear`) is in the next checkpoint's changes; reading costs it nothing.
pub struct ValueState<'a, S> {
    /// The stored value, if there is one.
    stored: Option<&'a mut S>,
    /// A value where none was stored.
    new: Option<S>,
    access: Access,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Written,
    Cleared,
}

impl<S> ValueState<'_, S> {
    /// The value, if the key has one.
    pub fn get(&self) -> Option<&S> {
        match (&self.new, self.access) {
            (Some(new), _) => Some(new),
            (None, Access::Cleared) => None,
            (None, _) => self.stored.as_deref(),
        }
    }

    /// The value, if the key has one, to be changed in place.
    pub fn get_mut(&mut self) -> Option<&mut S> {
        if self.access == Access::Cleared || self.stored.is_none() {
            return self.new.as_mut();
        }
        self.access = Access::Written;
        self.stored.as_deref_mut()
    }

    /// Replaces the value.
    pub fn set(&mut self, value: S) {
        match &mut self.stored {
            Some(stored) => {
                **stored = value;
                self.access = Access::Written;
            }
            None => self.new = Some(value),
        }
    }

    /// Changes the value in place; `init` makes it first if the key has none. Gives back what `change` does.
    pub fn update<R>(&mut self, init: impl FnOnce() -> S, change: impl FnOnce(&mut S) -> R) -> R {
        if self.get().is_none() {
            self.set(init());
        }
        match self.get_mut() {
            Some(value) => change(value),
            None => unreachable!("the value was set just now"),
        }
    }

    /// Forgets the value.
    pub fn clear(&mut self) {
        self.new = None;
        self.access = Access::Cleared;
    }
}

/// Lets `code` use the value of `key`, which was found at `slot`, and carries out what it did.
#[inline]
pub(crate) fn with_value_state<K: Key, S, R>(
    table: &mut KeyedTable<K, S>,
    slot: Slot,
    key: &K,
    code: impl FnOnce(&mut ValueState<'_, S>) -> R,
) -> R {
    let stored = table.value_mut(slot);
    let mut state = ValueState { stored, new: None, access: Access::Read };
    let result = code(&mut state);
    let (new, access) = (state.new, state.access);
    match access {
        Access::Written => table.mark_changed(slot),
        Access::Cleared if slot.bucket().is_some() => drop(table.remove(slot, key)),
        Access::Read | Access::Cleared => {}
    }
    if let Some(value) = new {
        table.insert(slot, key.clone(), value);
    }
    result
}
