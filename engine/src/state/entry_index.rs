//! Which entries each key has, in memory: so that they can be gone through.

use std::collections::BTreeSet;

use hashbrown::HashTable;

use crate::{
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
};

/// The user keys of each key, a table for each key group. A key without any is not in it.
pub(crate) struct EntryIndex<K, U> {
    range: KeyGroupRange,
    max_parallelism: u16,
    groups: Vec<HashTable<(K, BTreeSet<U>)>>,
}

impl<K: Key, U: Key + Ord> EntryIndex<K, U> {
    pub(crate) fn new(range: KeyGroupRange, max_parallelism: u16) -> Self {
        Self { range, max_parallelism, groups: range.iter().map(|_| HashTable::new()).collect() }
    }

    fn group(&self, key: &K) -> usize {
        usize::from(KeyGroup::of_hash(key.group_hash(), self.max_parallelism).0 - self.range.start)
    }

    /// The entries of `key`.
    pub(crate) fn of(&self, key: &K) -> Option<&BTreeSet<U>> {
        self.groups[self.group(key)].find(key.hash64(), |(other, _)| other == key).map(|(_, users)| users)
    }

    /// Notes an entry.
    pub(crate) fn add(&mut self, key: &K, user: U) {
        let group = self.group(key);
        let entry = self.groups[group].entry(key.hash64(), |(other, _)| other == key, |(key, _)| key.hash64());
        entry.or_insert_with(|| (key.clone(), BTreeSet::new())).into_mut().1.insert(user);
    }

    /// Forgets an entry.
    pub(crate) fn remove(&mut self, key: &K, user: &U) {
        let group = self.group(key);
        let Ok(mut found) = self.groups[group].find_entry(key.hash64(), |(other, _)| other == key) else { return };
        found.get_mut().1.remove(user);
        if found.get().1.is_empty() {
            found.remove();
            self.give_back(group);
        }
    }

    /// Forgets all entries of `key`, and gives them back.
    pub(crate) fn take(&mut self, key: &K) -> BTreeSet<U> {
        let group = self.group(key);
        let found = self.groups[group].find_entry(key.hash64(), |(other, _)| other == key);
        let users = found.map(|found| found.remove().0.1).unwrap_or_default();
        self.give_back(group);
        users
    }

    /// Gives back the memory of a group that has become much smaller.
    fn give_back(&mut self, group: usize) {
        let table = &mut self.groups[group];
        if table.len() < table.capacity() / 8 {
            table.shrink_to(table.len() * 2, |(key, _)| key.hash64());
        }
    }
}
