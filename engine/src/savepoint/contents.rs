//! Which entries a keyed state of any kind is made of.

use std::{collections::BTreeMap, iter};

use serde::Serialize;

use crate::{
    checkpoint::snapshot::StateRecord,
    key::Key,
    record::Record,
    state::{
        Aggregate, Aggregated, Elements, Entries, EntryKey, KeyedStates, Lifetime, OneValue, Reduced, StateDescriptor,
    },
};

/// What [`keyed_state_as`](super::SavepointWriter::keyed_state_as) takes: a keyed step's descriptor of one [`state`](crate::state). Nobody else implements it.
pub trait KeyedContents<K: Key>: KeyedStates<K> {
    /// What a key has: a value (of [`aggregating`](crate::state::aggregating), an accumulator), a list's elements in a `Vec`, a map's entries in a `BTreeMap`.
    type Contents;
    #[doc(hidden)]
    type EntryKey: Key;
    #[doc(hidden)]
    type Value: Serialize;

    #[doc(hidden)]
    fn entries(key: K, contents: Self::Contents) -> impl Iterator<Item = (Self::EntryKey, Self::Value)>;

    #[doc(hidden)]
    fn record(&self) -> StateRecord {
        // A descriptor declares itself and nothing else.
        self.declared().swap_remove(0).record
    }
}

impl<K: Key, V: Record, L: Lifetime> KeyedContents<K> for StateDescriptor<OneValue, V, L> {
    type Contents = V;
    type EntryKey = K;
    type Value = V;

    fn entries(key: K, contents: V) -> impl Iterator<Item = (K, V)> {
        iter::once((key, contents))
    }
}

impl<K: Key, V: Record, F, L: Lifetime> KeyedContents<K> for StateDescriptor<Reduced<F>, V, L>
where
    F: FnMut(&mut V, V) + Clone + Send + 'static,
{
    type Contents = V;
    type EntryKey = K;
    type Value = V;

    fn entries(key: K, contents: V) -> impl Iterator<Item = (K, V)> {
        iter::once((key, contents))
    }
}

impl<K: Key, A: Aggregate, L: Lifetime> KeyedContents<K> for StateDescriptor<Aggregated<A>, A::Accumulator, L> {
    type Contents = A::Accumulator;
    type EntryKey = K;
    type Value = A::Accumulator;

    fn entries(key: K, contents: A::Accumulator) -> impl Iterator<Item = (K, A::Accumulator)> {
        iter::once((key, contents))
    }
}

impl<K: Key, V: Record, L: Lifetime> KeyedContents<K> for StateDescriptor<Elements, V, L> {
    type Contents = Vec<V>;
    type EntryKey = EntryKey<K, u64>;
    type Value = V;

    fn entries(key: K, contents: Vec<V>) -> impl Iterator<Item = (EntryKey<K, u64>, V)> {
        (0..).zip(contents).map(move |(user, value)| (EntryKey { key: key.clone(), user }, value))
    }
}

impl<K: Key, U: Key + Ord, V: Record, L: Lifetime> KeyedContents<K> for StateDescriptor<Entries<U>, V, L> {
    type Contents = BTreeMap<U, V>;
    type EntryKey = EntryKey<K, U>;
    type Value = V;

    fn entries(key: K, contents: BTreeMap<U, V>) -> impl Iterator<Item = (EntryKey<K, U>, V)> {
        contents.into_iter().map(move |(user, value)| (EntryKey { key: key.clone(), user }, value))
    }
}
