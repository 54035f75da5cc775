//! One value per key.

use std::cell::Cell;

use crate::{
    key::Key,
    record::Record,
    state::{
        keyed_table::{KeyedTable, Slot},
        ttl::{Forever, Lifetime},
    },
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
    was_read: Cell<bool>,
}

/// What is to be carried out after a step has used a [`ValueState`].
pub struct ValueUse<S> {
    new: Option<S>,
    access: Access,
    was_read: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Written,
    Cleared,
}

impl<'a, S> ValueState<'a, S> {
    /// The value of the entry at `slot`, if there is one that has not expired.
    #[inline]
    pub(crate) fn of<K: Key, L: Lifetime>(
        table: &'a mut KeyedTable<K, L::Stored<S>>,
        slot: Slot,
        lifetime: &L,
        now: L::Now,
    ) -> Self
    where
        S: Record,
    {
        let stored = table.value_mut(slot).filter(|stored| lifetime.is_seen::<S>(stored, now)).map(L::get_mut);
        Self { stored, new: None, access: Access::Read, was_read: Cell::new(false) }
    }

    #[inline]
    pub(crate) fn into_use(self) -> ValueUse<S> {
        ValueUse { new: self.new, access: self.access, was_read: self.was_read.get() }
    }
}

impl<S> ValueState<'_, S> {
    /// The value, if the key has one.
    pub fn get(&self) -> Option<&S> {
        self.was_read.set(true);
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

impl<S: Record> ValueUse<S> {
    /// Carries out what was done to the entry at `slot`.
    #[inline]
    pub(crate) fn settle<K: Key, L: Lifetime>(
        self,
        table: &mut KeyedTable<K, L::Stored<S>>,
        slot: Slot,
        key: &K,
        lifetime: &L,
        now: L::Now,
    ) {
        if let Some(value) = self.new {
            let value = L::store(value, now);
            match table.value_mut(slot) {
                // It has expired.
                Some(stored) => *stored = value,
                None => {
                    table.insert(slot, key.clone(), value);
                    return;
                }
            }
            return table.mark_changed(slot);
        }
        match self.access {
            Access::Written => {
                table.value_mut(slot).into_iter().for_each(|stored| L::written::<S>(stored, now));
                table.mark_changed(slot);
            }
            Access::Cleared if slot.bucket().is_some() => drop(table.remove(slot, key)),
            Access::Read if self.was_read && lifetime.is_refreshed_on_read() => {
                let stored = table.value_mut(slot).filter(|stored| lifetime.is_seen::<S>(stored, now));
                if stored.is_some_and(|stored| lifetime.read::<S>(stored, now)) {
                    table.mark_changed(slot);
                }
            }
            Access::Read | Access::Cleared => {}
        }
    }
}

/// Lets `code` use the value of `key`, which was found at `slot`, and carries out what it did.
#[inline]
pub(crate) fn with_value_state<K: Key, S: Record, R>(
    table: &mut KeyedTable<K, S>,
    slot: Slot,
    key: &K,
    code: impl FnOnce(&mut ValueState<'_, S>) -> R,
) -> R {
    let mut state = ValueState::of(table, slot, &Forever, ());
    let result = code(&mut state);
    state.into_use().settle(table, slot, key, &Forever, ());
    result
}
