//! Any number of entries per key, by a key of the user's.

use std::ops::RangeBounds;

use crate::{
    checkpoint::snapshot::StateKind,
    key::Key,
    record::Record,
    slice::Slice,
    state::{
        declared::DeclaredState,
        descriptor::{Entries, StateDescriptor},
        entry_key::EntryKey,
        entry_table::{EntriesOf, EntryTable},
        keyed_states::{KeyedStates, TablePlace},
        ttl::{Forever, Lifetime},
    },
};

/// The map that a keyed step keeps for the key of the record at hand: from `U` to `V`. See [`map`](crate::state::map) for an example.
///
/// Each entry is stored apart: only entries that are written are in the next checkpoint's changes, however many others there are. With a time to live each entry
/// has its own.
///
/// Finding, changing and replacing an entry takes one look-up. A new entry, and one that goes, is also noted in an ordered set of the key's entries, which is in memory and holds each `U` a
/// second time. Going through the entries takes a look-up for each.
pub struct MapState<'a, K, U, V: Record, L: Lifetime = Forever>(pub(super) EntriesOf<'a, K, U, V, L>);

impl<K: Key, U: Key + Ord, V: Record, L: Lifetime> MapState<'_, K, U, V, L> {
    /// The entry's value, if there is one.
    #[inline]
    pub fn get(&mut self, key: &U) -> Option<&V> {
        self.0.get(key)
    }

    /// The entry's value, if there is one, to be changed in place.
    #[inline]
    pub fn get_mut(&mut self, key: &U) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// Whether there is such an entry. Counts as reading it.
    pub fn contains(&mut self, key: &U) -> bool {
        self.0.get(key).is_some()
    }

    /// Adds an entry, or replaces its value; gives back the value that it had.
    pub fn insert(&mut self, key: U, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Changes an entry's value in place; `init` makes it first if there is none. Gives back what `change` does.
    pub fn update<R>(&mut self, key: U, init: impl FnOnce() -> V, change: impl FnOnce(&mut V) -> R) -> R {
        if let Some(value) = self.0.get_mut(&key) {
            return change(value);
        }
        let mut value = init();
        let result = change(&mut value);
        self.0.insert(key, value);
        result
    }

    /// Removes an entry; gives back the value that it had.
    pub fn remove(&mut self, key: &U) -> Option<V> {
        self.0.remove(key)
    }

    /// Every entry, in the order of their keys.
    pub fn iter(&mut self) -> impl Iterator<Item = (&U, &V)> {
        self.0.iter()
    }

    /// The key of every entry, in order.
    pub fn keys(&mut self) -> impl Iterator<Item = &U> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The value of every entry, in the order of their keys.
    pub fn values(&mut self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The entries in a range of keys, in their order. Does not count as reading them.
    pub(crate) fn range(&self, keys: impl RangeBounds<U>) -> impl DoubleEndedIterator<Item = (&U, &V)> {
        self.0.range(keys)
    }

    /// The least key of all entries, expired ones among them.
    pub(crate) fn first_key(&self) -> Option<&U> {
        self.0.users().next()
    }

    /// How many entries there are. With a time to live each of them is looked up.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes every entry. The next checkpoint's changes name each of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K: Key, U: Key + Ord, V: Record, L: Lifetime> KeyedStates<K> for StateDescriptor<Entries<U>, V, L> {
    type View<'a> = MapState<'a, K, U, V, L>;
    type Tables = EntryTable<K, U, V, L>;
    type Use = ();

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::Map, EntryKey::<K, U>::format())]
    }

    fn tables(&self, place: &TablePlace<'_>) -> Self::Tables {
        EntryTable::new(self, place)
    }

    #[inline]
    fn view<'a>(entries: &'a mut Self::Tables, (): (), key: &'a K, slice: &Slice<'_>) -> Self::View<'a> {
        MapState(EntriesOf { entries, key, now: L::now(slice) })
    }

    #[inline]
    fn into_use(_: Self::View<'_>) {}

    #[inline]
    fn settle((): (), _: &mut Self::Tables, (): (), _: &K, _: &Slice<'_>) {}
}
