//! Any number of elements per key, in the order in which they came.

use crate::{
    checkpoint::snapshot::StateKind,
    key::Key,
    record::Record,
    slice::Slice,
    state::{
        declared::DeclaredState,
        descriptor::{Elements, StateDescriptor},
        entry_key::EntryKey,
        entry_table::{EntriesOf, EntryTable},
        keyed_states::{KeyedStates, TablePlace},
        ttl::{Forever, Lifetime},
    },
};

/// The list that a keyed step keeps for the key of the record at hand. See [`list`](crate::state::list) for an example.
///
/// Each element is stored apart, by its position: adding one writes one, however many there are. With a time to live each element has its own, and the list is
/// what has not expired of it.
pub struct ListState<'a, K, V: Record, L: Lifetime = Forever>(EntriesOf<'a, K, u64, V, L>);

impl<K: Key, V: Record, L: Lifetime> ListState<'_, K, V, L> {
    /// Adds an element at the end.
    pub fn push(&mut self, value: V) {
        let position = self.0.users().next_back().map_or(0, |last| last + 1);
        self.0.insert(position, value);
    }

    /// Adds elements at the end.
    pub fn extend(&mut self, values: impl IntoIterator<Item = V>) {
        values.into_iter().for_each(|value| self.push(value));
    }

    /// Takes the first element off.
    pub fn pop_front(&mut self) -> Option<V> {
        loop {
            let first = self.0.users().next().copied()?;
            // What has expired is taken off on the way.
            if let Some(value) = self.0.remove(&first) {
                return Some(value);
            }
        }
    }

    /// Takes the last element off.
    pub fn pop(&mut self) -> Option<V> {
        loop {
            let last = self.0.users().next_back().copied()?;
            if let Some(value) = self.0.remove(&last) {
                return Some(value);
            }
        }
    }

    /// Every element, in order.
    pub fn iter(&mut self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// How many elements there are. With a time to live each of them is looked up.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes every element. The next checkpoint's changes name each of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K: Key, V: Record, L: Lifetime> KeyedStates<K> for StateDescriptor<Elements, V, L> {
    type View<'a> = ListState<'a, K, V, L>;
    type Tables = EntryTable<K, u64, V, L>;
    type Use = ();

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::List, EntryKey::<K, u64>::format())]
    }

    fn tables(&self, place: &TablePlace<'_>) -> Self::Tables {
        EntryTable::new(self, place)
    }

    #[inline]
    fn view<'a>(entries: &'a mut Self::Tables, (): (), key: &'a K, slice: &Slice<'_>) -> Self::View<'a> {
        ListState(EntriesOf { entries, key, now: L::now(slice) })
    }

    #[inline]
    fn into_use(_: Self::View<'_>) {}

    #[inline]
    fn settle((): (), _: &mut Self::Tables, (): (), _: &K, _: &Slice<'_>) {}
}
