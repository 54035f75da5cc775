//! Which entries each key has, in memory: so that they can be gone through.

use std::{collections::BTreeSet, mem, ops::RangeBounds};

use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
};

/// The user keys of each key, a table for each key group. A key without any is not in it.
pub(crate) struct EntryIndex<K, U> {
    range: KeyGroupRange,
    max_parallelism: u16,
    groups: Vec<HashTable<(K, Users<U>)>>,
}

/// The user keys of a key, in their order. Most keys of windows and sessions have one: that takes no memory of its own, where the smallest tree has room for eleven.
#[derive(Debug)]
pub(crate) enum Users<U> {
    One(U),
    Many(BTreeSet<U>),
}

impl<U: Ord> Users<U> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(users) => users.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &U> {
        self.range(..)
    }

    pub(crate) fn range(&self, range: impl RangeBounds<U>) -> impl DoubleEndedIterator<Item = &U> {
        let (one, many) = match self {
            Self::One(user) => (range.contains(user).then_some(user), None),
            Self::Many(users) => (None, Some(users.range(range))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn add(&mut self, user: U) {
        match self {
            Self::One(one) if *one == user => {}
            Self::One(_) => {
                let Self::One(one) = mem::replace(self, Self::Many(BTreeSet::new())) else { return };
                self.add(one);
                self.add(user);
            }
            Self::Many(users) => drop(users.insert(user)),
        }
    }

    /// Whether none is left: then it is to be dropped.
    fn remove(&mut self, user: &U) -> bool {
        match self {
            Self::One(one) => one == user,
            Self::Many(users) => {
                users.remove(user);
                users.is_empty()
            }
        }
    }
}

impl<K: Key, U: Key + Ord> EntryIndex<K, U> {
    pub(crate) fn new(range: KeyGroupRange, max_parallelism: u16) -> Self {
        Self { range, max_parallelism, groups: range.iter().map(|_| HashTable::new()).collect() }
    }

    fn group(&self, key: &K) -> usize {
        usize::from(KeyGroup::of_hash(key.group_hash(), self.max_parallelism).0 - self.range.start)
    }

    /// The entries of `key`.
    pub(crate) fn of(&self, key: &K) -> Option<&Users<U>> {
        self.groups[self.group(key)].find(key.hash64(), |(other, _)| other == key).map(|(_, users)| users)
    }

    /// Notes an entry.
    pub(crate) fn add(&mut self, key: &K, user: U) {
        let group = self.group(key);
        match self.groups[group].entry(key.hash64(), |(other, _)| other == key, |(key, _)| key.hash64()) {
            Entry::Occupied(mut entry) => entry.get_mut().1.add(user),
            Entry::Vacant(entry) => drop(entry.insert((key.clone(), Users::One(user)))),
        }
    }

    /// Forgets an entry.
    pub(crate) fn remove(&mut self, key: &K, user: &U) {
        let group = self.group(key);
        let Ok(mut found) = self.groups[group].find_entry(key.hash64(), |(other, _)| other == key) else { return };
        if found.get_mut().1.remove(user) {
            found.remove();
            self.give_back(group);
        }
    }

    /// Forgets all entries of `key`, and gives them back.
    pub(crate) fn take(&mut self, key: &K) -> impl Iterator<Item = U> + use<K, U> {
        let group = self.group(key);
        let found = self.groups[group].find_entry(key.hash64(), |(other, _)| other == key);
        let (one, many) = match found.map(|found| found.remove().0.1) {
            Ok(Users::One(user)) => (Some(user), BTreeSet::new()),
            Ok(Users::Many(users)) => (None, users),
            Err(_) => (None, BTreeSet::new()),
        };
        self.give_back(group);
        one.into_iter().chain(many)
    }

    /// Gives back the memory of a group that has become much smaller.
    fn give_back(&mut self, group: usize) {
        let table = &mut self.groups[group];
        if table.len() < table.capacity() / 8 {
            table.shrink_to(table.len() * 2, |(key, _)| key.hash64());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 4 };

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8, u8),
        Remove(u8, u8),
        Take(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (key, user) = (0..3u8, 0..4u8);
        prop_oneof![
            4 => (key.clone(), user.clone()).prop_map(|(key, user)| Step::Add(key, user)),
            3 => (key.clone(), user).prop_map(|(key, user)| Step::Remove(key, user)),
            1 => key.prop_map(Step::Take),
        ]
    }

    proptest! {
        #[test]
        fn it_has_what_was_added_and_not_removed_in_order(steps in prop::collection::vec(step(), 0..40), from in 0..5u8, to in 0..5u8) {
            let mut index = EntryIndex::<u8, u8>::new(GROUPS, GROUPS.end);
            let mut model = BTreeMap::<u8, BTreeSet<u8>>::new();
            for step in steps {
                match step {
                    Step::Add(key, user) => {
                        index.add(&key, user);
                        model.entry(key).or_default().insert(user);
                    }
                    Step::Remove(key, user) => {
                        index.remove(&key, &user);
                        model.entry(key).or_default().remove(&user);
                    }
                    Step::Take(key) => {
                        let expected = model.remove(&key).unwrap_or_default();
                        prop_assert_eq!(index.take(&key).collect::<BTreeSet<_>>(), expected);
                    }
                }
                for key in 0..3u8 {
                    let Some(expected) = model.get(&key).filter(|users| !users.is_empty()) else {
                        prop_assert!(index.of(&key).is_none());
                        continue;
                    };
                    let users = index.of(&key).unwrap();
                    prop_assert_eq!(users.len(), expected.len());
                    prop_assert!(users.iter().eq(expected));
                    prop_assert!(users.iter().rev().eq(expected.iter().rev()));
                    if from <= to {
                        prop_assert!(users.range(from..to).eq(expected.range(from..to)));
                        prop_assert!(users.range(..=to).rev().eq(expected.range(..=to).rev()));
                    }
                }
            }
        }
    }
}
